"""The recognizer as a scikit-learn classifier: for pipelines, cross-validation and comparisons."""

from math import isnan
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, RecipeError
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.training.loop import fit_single
from tenfold.training.train import calibrated


class DigitClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of square grey images, given as rows of pixels.

    Args:
        recipe: the name of a recipe, or a TOML file.
        seed: of split, weights and augmentation; None takes the recipe's.
        overrides: "section.field=value" each, as for `--set`.

    Attributes:
        classes_: what the labels are, sorted.
        recognizer_: the trained Recognizer.
    """

    def __init__(
        self, recipe: str = "quick", seed: int | None = None, overrides: tuple[str, ...] = ()
    ) -> None:
        self.recipe = recipe
        self.seed = seed
        self.overrides = overrides

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on X [N, S·S] or [N, S, S] with pixels 0 to 255, and y [N] of any sortable kind.

        What the recipe holds out calibrates the probabilities.

        Raises:
            DataError: X is no images, or y has blanks.
            RecipeError: the recipe cannot work, or is more than one training.
        """
        recipe = Recipe.load(self.recipe, overrides=self.overrides, seed=self.seed)
        if not recipe.is_single_model:
            raise RecipeError(recipe.name, ["is more than one training, expected a single network"])
        self.classes_, labels = np.unique(_column(y), return_inverse=True)
        names = tuple(str(value) for value in self.classes_)
        dataset = Dataset(_images(X), labels.astype(np.int64), names, "X")
        self.recognizer_: Recognizer = calibrated(fit_single(dataset, recipe)).recognizer
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of each class: float32 [N, classes]."""
        check_is_fitted(self)
        return self.recognizer_.predict_proba(_images(X))

    def predict(self, X: ArrayLike) -> NDArray[np.generic]:
        """Return the most probable class of each row, as y named it."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[chosen])


def _column(values: ArrayLike) -> NDArray[np.generic]:
    """Return labels [N], from [N] or [N, 1]."""
    labels: NDArray[np.generic] = column_or_1d(np.asarray(values))
    blank = (each is None or (isinstance(each, float) and isnan(each)) for each in labels.tolist())
    if any(blank):
        raise DataError("y: has blanks, expected a label for every image")
    return labels


def _images(values: ArrayLike) -> NDArray[np.uint8]:
    """Turn rows of whole pixels 0 to 255 into uint8 [N, S, S]."""
    array = np.asarray(values)
    pixels = array if array.dtype == np.uint8 else array.astype(np.uint8)
    if array.dtype != np.uint8 and not np.array_equal(pixels, array):
        raise DataError("X: holds other values than whole numbers from 0 to 255, expected pixels")
    side = round(np.sqrt(pixels[0].size)) if len(pixels) else 0
    if len(pixels) == 0 or pixels.shape[1:] not in {(side * side,), (side, side)}:
        raise DataError(f"X: has the shape {list(array.shape)}, expected [N, S·S] or [N, S, S]")
    return pixels.reshape(-1, side, side)
