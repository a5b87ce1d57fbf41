"""The recognizer as a scikit-learn classifier: for pipelines, cross-validation and comparisons."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.training.loop import fit
from tenfold.training.single import divide


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
        """Train on X [N, S·S] or [N, S, S] with pixels 0 to 255, and y [N] of any sortable kind."""
        recipe = Recipe.load(self.recipe, overrides=self.overrides, seed=self.seed)
        self.classes_, labels = np.unique(np.asarray(y), return_inverse=True)
        names = tuple(str(value) for value in self.classes_)
        dataset = Dataset(_images(X), labels.astype(np.int64), names, "X")
        self.recognizer_: Recognizer = fit(*divide(dataset, recipe), recipe)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of each class: float32 [N, classes]."""
        check_is_fitted(self)
        return self.recognizer_.probabilities(_images(X))

    def predict(self, X: ArrayLike) -> NDArray[np.generic]:
        """Return the most probable class of each row, as y named it."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[chosen])


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
