"""The methods that can be compared: scikit-learn estimators, recipes, and your own classes.

Hyperparameters are ordinary ones from the literature on MNIST, or the library's defaults; none was
tuned on the images that methods are evaluated on.
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

BATCH_SIZE = 2000  # images whose features are computed at once: a few MB
HOG_CELLS = 7  # along each side: 4 × 4 pixels each in an image of 28 × 28
HOG_ORIENTATIONS = 9


# The estimators import scikit-learn when they are created, in the process of their job.


def logistic() -> Any:
    """Multinomial logistic regression."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    return LogisticRegression(C=0.1, max_iter=200)


def knn() -> Any:
    """The three nearest neighbours, weighted by distance."""
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415

    return KNeighborsClassifier(n_neighbors=3, weights="distance", algorithm="brute")


def linear_svm() -> Any:
    """Linear support vector machine, one against the rest."""
    from sklearn.svm import LinearSVC  # noqa: PLC0415

    return LinearSVC(C=0.01)


def rbf_svm() -> Any:
    """Support vector machine with an RBF kernel."""
    from sklearn.svm import SVC  # noqa: PLC0415

    return SVC(C=5)


def forest() -> Any:
    """A random forest of 300 trees."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    return RandomForestClassifier(n_estimators=300)


def boosting() -> Any:
    """Histogram-based gradient boosting, 100 iterations."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    return HistGradientBoostingClassifier(max_iter=100, max_bins=32, early_stopping=False)


def naive_bayes() -> Any:
    """Bernoulli naive Bayes on binarized pixels."""
    from sklearn.naive_bayes import BernoulliNB  # noqa: PLC0415

    return BernoulliNB(binarize=0.5)


def pca_svm() -> Any:
    """The first 50 principal components, then a support vector machine with an RBF kernel."""
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
NETWORKS: Final = {"mlp": "logbook-mlp"}  # short names; all other recipes go by their own
DEFAULT_METHODS: Final = (*CLASSIC, "mlp", "lenet5", "thelastdev", "deotte", "surma", "quick")


@dataclass(frozen=True)
class Method:
    """One method of a comparison.

    Attributes:
        name: "knn", "knn+deskew", "quick", "package.module:Class".
        estimator: "module:function or class" that creates it without arguments; None for a recipe.
        features: applied to the images in turn, of `FEATURES`; a recipe takes none.
        recipe: None for an estimator.
        source_sha256: of the file that a "module:Class" comes from: a changed class is another
            method.
    """

    name: str
    estimator: str | None
    features: tuple[str, ...] = ()
    recipe: Recipe | None = None
    source_sha256: str | None = None

    @classmethod
    def from_name(cls, name: str) -> "Method":
        """Look up a method by name.

        Raises:
            ExperimentError: there is no such method, or it cannot be imported.
            RecipeError: the recipe is invalid.
        """
        base, *feature_names = name.split("+")
        if unknown := [feature for feature in feature_names if feature not in FEATURES]:
            raise ExperimentError(
                f"method {name}: {unknown[0]!r} is not one of {', '.join(FEATURES)}"
            )
        check_feature_libraries(feature_names)
        if base in CLASSIC:
            return cls(name, f"{__name__}:{CLASSIC[base].__name__}", tuple(feature_names))
        if ":" in base:
            make_estimator(base)  # fails before anything is fitted
            return cls(name, base, tuple(feature_names), source_sha256=source_checksum(base))
        if base not in NETWORKS and base not in list_recipes() and not base.endswith(".toml"):
            raise ExperimentError(_unknown_method(base))
        if feature_names:
            raise ExperimentError(
                f"method {name}: networks learn their own features, expected {base}"
            )
        recipe = Recipe.load(NETWORKS.get(base, base))
        if not recipe.is_single_model:
            raise ExperimentError(
                f"method {name}: trains more than one network, expected a single network, no "
                "teacher and no pseudo-labels"
            )
        return cls(name, None, recipe=recipe)

    def to_json(self) -> dict[str, Any]:
        """Return everything that its results depend on, as JSON values."""
        recipe = self.recipe and self.recipe.model_dump(mode="json", exclude=METADATA_FIELDS)
        fields = {"estimator": self.estimator, "features": list(self.features), "recipe": recipe}
        if self.source_sha256 is not None:
            fields["source_sha256"] = self.source_sha256
        return fields


def _unknown_method(name: str) -> str:
    """Return the error message for an unknown name, with the closest known one."""
    recipes = [recipe for recipe in list_recipes() if recipe not in DEFAULT_METHODS]
    known = [*DEFAULT_METHODS, *recipes]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return (
        f"method {name}: is not known; {hint}expected some of {', '.join(known)}, a recipe file, "
        "or module:Class"
    )


def parse_methods(names: str | None) -> list[Method]:
    """Return the methods in a list such as "knn,quick"; None means `DEFAULT_METHODS`.

    Raises:
        ExperimentError: a name is unknown, or a method is listed twice.
    """
    wanted: Sequence[str] = DEFAULT_METHODS
    if names is not None:
        wanted = [name.strip() for name in names.split(",")]
    if len(set(wanted)) < len(wanted) or not all(wanted):
        raise ExperimentError(
            f"--methods {names!r}: expected names of methods separated by commas, each once"
        )
    methods = [Method.from_name(name) for name in wanted]
    for one, other in combinations(methods, 2):
        if one.to_json() == other.to_json():
            raise ExperimentError(
                f"--methods {names}: {one.name} and {other.name} are the same, expected each once"
            )
    return methods


def make_estimator(path: str) -> Any:
    """Create an estimator from "module:Class".

    Raises:
        ExperimentError: it cannot be imported or created, or has no fit and predict.
    """
    try:
        estimator = getattr(import_module_of(path), path.partition(":")[2])()
    except Exception as error:
        raise ExperimentError(
            f"method {path}: cannot be created ({type(error).__name__}: {error}), expected "
            "module:Class that can be imported from this folder and created without arguments"
        ) from error
    if not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise ExperimentError(f"method {path}: has no fit and predict, expected an estimator")
    return estimator


def fix_random_state(estimator: Any) -> Any:
    """Set every random_state that an estimator has to 0, inside pipelines too, and return it."""
    if hasattr(estimator, "get_params"):
        states = [name for name in estimator.get_params() if name.endswith("random_state")]
        estimator.set_params(**dict.fromkeys(states, 0))
    return estimator


def import_module_of(path: str) -> ModuleType:
    """Import the module of "module:Class"; it may be in the current folder."""
    if "" not in sys.path:
        sys.path.append("")  # last: a random.py in the folder must not hide Python's own
    return importlib.import_module(path.partition(":")[0])


def source_checksum(path: str) -> str | None:
    """Return the checksum of the file that an estimator comes from; None if it has none."""
    module = import_module_of(path)
    try:
        content = Path(inspect.getsourcefile(module) or "").read_bytes()
    except (TypeError, OSError):  # built in, or created at run time
        return None
    return hashlib.sha256(content).hexdigest()


def check_feature_libraries(names: Sequence[str]) -> None:
    """Make sure that the libraries of the named features are installed.

    Raises:
        ExperimentError: "hog" needs scikit-image, which is not installed.
    """
    if "hog" in names and find_spec("skimage") is None:
        raise ExperimentError("+hog needs scikit-image: pip install 'tenfold[hog]'")


def extract_features(images: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.float32]:
    """Return a row of features for each image: float32 [N, D].

    Args:
        images: uint8 [N, S, S].
        names: of `FEATURES`, applied in turn; none leaves the pixels, scaled to 0 … 1.
    """
    blocks = []
    for first in range(0, len(images), BATCH_SIZE):
        block = (images[first : first + BATCH_SIZE] / 255).astype("f4")
        for name in names:
            block = FEATURES[name](block)
        blocks.append(block.reshape(len(block), -1))
    return np.concatenate(blocks)


def deskew_images(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre the ink and undo its slant: float32 [N, S, S] in 0 … 1, likewise returned."""
    ink = torch.from_numpy(images)[:, None]
    grid = F.affine_grid(deskew(ink[:, 0]), list(ink.shape), align_corners=False)
    deskewed: NDArray[np.float32] = F.grid_sample(ink, grid, align_corners=False)[:, 0].numpy()
    return deskewed


def hog_features(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return histograms of oriented gradients of float32 [N, S, S]: float32 [N, D].

    7 × 7 cells of 9 orientations, normalized over blocks of 2 × 2 cells.
    """
    from skimage.feature import hog  # noqa: PLC0415 - an optional extra

    cell = max(1, images.shape[-1] // HOG_CELLS)
    return np.stack(
        [
            hog(
                image,
                orientations=HOG_ORIENTATIONS,
                pixels_per_cell=(cell, cell),
                cells_per_block=(2, 2),
                feature_vector=True,
            )
            for image in images
        ]
    ).astype(np.float32)


FEATURES: Final[Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = {
    "deskew": deskew_images,
    "hog": hog_features,
}
