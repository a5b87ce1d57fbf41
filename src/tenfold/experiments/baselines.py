"""The table of methods: from naive Bayes to our own networks, and whatever else one brings.

A method is an estimator of scikit-learn's kind, or a recipe. Settings are ordinary ones from the
literature on MNIST or the library's own; nothing here was tuned on the images that are judged.
"""

import difflib
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tenfold.errors import ExperimentError
from tenfold.preprocessing import deskew
from tenfold.recipe import METADATA_FIELDS, Recipe, list_recipes

# The estimators import scikit-learn when they are made, in the process of their job.


def logistic() -> Any:
    """Multinomial logistic regression: ten weighted sums of all pixels."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    return LogisticRegression(C=0.1, max_iter=200)


def knn() -> Any:
    """The three nearest training images vote."""
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415

    return KNeighborsClassifier(n_neighbors=3, weights="distance", algorithm="brute")


def linear_svm() -> Any:
    """Linear support vector machine: ten planes with the widest margins."""
    from sklearn.svm import LinearSVC  # noqa: PLC0415

    return LinearSVC(C=0.01)


def rbf_svm() -> Any:
    """Support vector machine with a Gaussian kernel."""
    from sklearn.svm import SVC  # noqa: PLC0415

    return SVC(C=5)


def forest() -> Any:
    """A random forest of 300 trees."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    return RandomForestClassifier(n_estimators=300)


def boosting() -> Any:
    """Gradient boosting of 100 shallow trees for each class, by histograms."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    return HistGradientBoostingClassifier(max_iter=100, max_bins=32, early_stopping=False)


def naive_bayes() -> Any:
    """Naive Bayes on pixels that are ink or not, each on its own."""
    from sklearn.naive_bayes import BernoulliNB  # noqa: PLC0415

    return BernoulliNB(binarize=0.5)


def pca_svm() -> Any:
    """The 50 principal components, then a support vector machine with a Gaussian kernel."""
    from sklearn.decomposition import PCA  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    return make_pipeline(PCA(50), SVC(C=5))


CLASSIC: Final[Mapping[str, Callable[[], Any]]] = {
    "naive-bayes": naive_bayes,
    "logistic": logistic,
    "linear-svm": linear_svm,
    "knn": knn,
    "pca-svm": pca_svm,
    "rbf-svm": rbf_svm,
    "forest": forest,
    "boosting": boosting,
}
NETWORKS: Final = {"mlp": "logbook-mlp"}  # what people call it; other recipes go by their names
COMPARED: Final = (*CLASSIC, "mlp", "lenet5", "thelastdev", "deotte", "surma", "quick")


@dataclass(frozen=True)
class Method:
    """One method as it was asked for.

    Attributes:
        name: "knn", "knn+deskew", "quick", "package.module:Class".
        estimator: "module:function or class" that makes it without arguments; None for a recipe.
        features: what is done to the images first; a recipe takes none.
        recipe: None for an estimator.
        source: checksum of the file that a class of one's own comes from: who mends it wants it
            tried again.
    """

    name: str
    estimator: str | None
    features: tuple[str, ...] = ()
    recipe: Recipe | None = None
    source: str | None = None

    @classmethod
    def named(cls, name: str) -> "Method":
        """Understand a name.

        Raises:
            ExperimentError: there is no such method, or it cannot be imported.
            RecipeError: the recipe cannot work.
        """
        base, *extras = name.split("+")
        if odd := [extra for extra in extras if extra not in FEATURES]:
            raise ExperimentError(f"method {name}: {odd[0]!r} is none of {', '.join(FEATURES)}")
        check_library(extras)
        if base in CLASSIC:
            return cls(name, f"{__name__}:{CLASSIC[base].__name__}", tuple(extras))
        if ":" in base:
            make(base)  # a wrong one is told before anything is fitted
            return cls(name, base, tuple(extras), source=source_of(base))
        if base not in NETWORKS and base not in list_recipes() and not base.endswith(".toml"):
            known = [*COMPARED, *(other for other in list_recipes() if other not in COMPARED)]
            close = difflib.get_close_matches(base, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ExperimentError(
                f"method {base}: is not known; {hint}expected some of {', '.join(known)}, a recipe "
                "file, or module:Class"
            )
        if extras:
            raise ExperimentError(
                f"method {name}: networks learn their own features, expected {base}"
            )
        recipe = Recipe.load(NETWORKS.get(base, base))
        if not recipe.is_single_model:
            raise ExperimentError(
                f"method {name}: is more than one training, expected a single network, no teacher "
                "and no pseudo-labels"
            )
        return cls(name, None, recipe=recipe)

    def to_json(self) -> dict[str, Any]:
        """All that its results depend on, as JSON values."""
        recipe = self.recipe and self.recipe.model_dump(mode="json", exclude=METADATA_FIELDS)
        found = {"estimator": self.estimator, "features": list(self.features), "recipe": recipe}
        if self.source is not None:
            found["source"] = self.source
        return found


def methods_of(asked: str | None) -> list[Method]:
    """Return the methods in a list such as "knn,quick"; None is all that come with tenfold.

    Raises:
        ExperimentError: a name is not known, or a method stands there twice.
    """
    wanted: Sequence[str] = COMPARED
    if asked is not None:
        wanted = [name.strip() for name in asked.split(",")]
    if len(set(wanted)) < len(wanted) or not all(wanted):
        raise ExperimentError(
            f"--methods {asked!r}: expected names of methods with a comma between them, each once"
        )
    methods = [Method.named(name) for name in wanted]
    for one, other in combinations(methods, 2):
        if one.to_json() == other.to_json():
            raise ExperimentError(
                f"--methods {asked}: {one.name} and {other.name} are the same, expected each once"
            )
    return methods


def make(path: str) -> Any:
    """Make an estimator from "module:Class".

    Raises:
        ExperimentError: it cannot be imported or made, or cannot fit and predict.
    """
    try:
        made = getattr(module_of(path), path.partition(":")[2])()
    except Exception as error:
        raise ExperimentError(
            f"method {path}: cannot be made ({type(error).__name__}: {error}), expected "
            "module:Class that can be imported from here and made without arguments"
        ) from error
    if not (hasattr(made, "fit") and hasattr(made, "predict")):
        raise ExperimentError(f"method {path}: has no fit and predict, expected an estimator")
    return made


def module_of(path: str) -> ModuleType:
    """Import the module of "module:Class"; it may lie in the current folder."""
    if "" not in sys.path:
        sys.path.append("")  # at the end: a random.py there must not be taken for Python's own
    return importlib.import_module(path.partition(":")[0])


def source_of(path: str) -> str | None:
    """Return the checksum of the file that an estimator comes from; None if it has none."""
    module = module_of(path)
    try:
        content = Path(inspect.getsourcefile(module) or "").read_bytes()
    except (TypeError, OSError):  # built in, or made up at run time
        return None
    return hashlib.sha256(content).hexdigest()


AT_ONCE = 2000  # images: a few MB
CELLS = 7  # a side: 4 pixels each in an image of 28
ORIENTATIONS = 9


def check_library(names: Sequence[str]) -> None:
    """Make sure that what is named can be computed here.

    Raises:
        ExperimentError: gradients are wanted and scikit-image is not installed.
    """
    if "hog" in names and find_spec("skimage") is None:
        raise ExperimentError("+hog needs scikit-image: pip install 'tenfold[hog]'")


def features(images: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.float32]:
    """Return a row for each image: float32 [N, D].

    Args:
        images: uint8 [N, S, S].
        names: what is done to them in turn, of `FEATURES`; nothing leaves pixels from 0 to 1.
    """
    blocks = []
    for start in range(0, len(images), AT_ONCE):
        block = (images[start : start + AT_ONCE] / 255).astype("f4")
        for name in names:
            block = FEATURES[name](block)
        blocks.append(block.reshape(len(block), -1))
    return np.concatenate(blocks)


def deskewed(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre the ink and undo its slant: float32 [N, S, S] from 0 to 1, likewise returned."""
    ink = torch.from_numpy(images)
    grid = F.affine_grid(deskew(ink), list(ink[:, None].shape), align_corners=False)
    straight: NDArray[np.float32] = F.grid_sample(ink[:, None], grid, align_corners=False)[
        :, 0
    ].numpy()
    return straight


def gradients(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return histograms of oriented gradients of float32 [N, S, S]: float32 [N, D].

    7 × 7 cells of 9 directions, normalised over blocks of 2 × 2 cells.
    """
    from skimage.feature import hog  # noqa: PLC0415 - an optional extra

    cell = max(1, images.shape[-1] // CELLS)
    return np.stack(
        [
            hog(
                image,
                orientations=ORIENTATIONS,
                pixels_per_cell=(cell, cell),
                cells_per_block=(2, 2),
                feature_vector=True,
            )
            for image in images
        ]
    ).astype(np.float32)


FEATURES: Final[Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = {
    "deskew": deskewed,
    "hog": gradients,
}
