"""The recognizer as a scikit-learn classifier: for pipelines, searches and comparisons."""

import difflib
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, isqrt
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from tenfold.config import ConfigSection
from tenfold.data.dataset import Dataset
from tenfold.errors import RecipeError
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.training.loop import fit_single
from tenfold.training.train import calibrated

FROM_RECIPE: Final = "recipe"  # the value of a recipe field that was not set
RECIPE_FIELDS: Final = tuple(
    f"{section}__{field}"
    for section, info in Recipe.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, ConfigSection)
    for field in info.annotation.model_fields
)
ROUNDING = 1e-6  # of a pixel range: scalers miss its ends by so much


def _with_recipe_fields(init: Callable[..., None]) -> Callable[..., None]:
    """Name each recipe field in the signature of `init`, in place of its `**fields`.

    scikit-learn learns the parameters of an estimator, and their defaults, from the signature of
    its `__init__`: for `get_params`, `clone`, searches and the repr. Written out by hand, the
    fields would stand here a second time. `__signature__` is what `inspect.signature` returns.
    """
    signature = inspect.signature(init)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=FROM_RECIPE)
        for name in RECIPE_FIELDS
    ]
    init.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return init


class DigitClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of grey images, given as rows of pixels, ink bright on dark.

    Every field of a recipe is a parameter, called section__field: `optimizer__learning_rate`,
    `training__max_epochs`. docs/recipe-reference.md lists them. The value "recipe", their default,
    leaves a field as `recipe` has it, so that `recipe` can be searched too; `resolve_recipe` says
    what that is. None switches a field off.

    X is [N, pixels] or [N, height, width]. What its values mean is decided in `fit`, remembered in
    `pixel_scale_`, and `predict` refuses values of another scale. Inside, a pixel has 8 bits: other
    values are rounded to the nearest of 256 levels. What does not look like square images is
    refused unless it is declared; with `pixel_range="minmax", image_shape=(1, -1)`, any table of
    numbers is taken, and all of scikit-learn's `check_estimator` passes.

    Args:
        recipe: a Recipe, the name of one, or a TOML file.
        random_state: seed of split, weights and augmentation; a RandomState is drawn from. None
            takes the recipe's seed, and then two fits give the same weights.
        pixel_range: the values of a background pixel and of full ink.

            - "auto": (0, 255) where X holds whole numbers, (0, 1) where it holds floats up to 1 or
              booleans. Anything else is an error, and so are integers without any above 1, which
              may be meant either way.
            - (low, high): as declared; `fit` refuses values outside.
            - "minmax": the smallest and the largest value of X in `fit`, for images that were
              standardized or otherwise rescaled as a whole.

        image_shape: (height, width) of the images in X. None takes square images. One of the two
            may be -1, as in numpy's reshape: (1, -1) takes any number of features as a strip one
            pixel high. Images that are not square are centred on a square background.

    Attributes:
        classes_: the labels, sorted.
        n_features_in_: pixels of an image.
        pixel_scale_: how values become pixels.
        image_shape_: (height, width) of the images in X.
        recipe_: the Recipe that was used.
        recognizer_: the trained Recognizer.
    """

    @_with_recipe_fields
    def __init__(
        self,
        recipe: str | Path | Recipe = "quick",
        *,
        random_state: int | RandomState | None = None,
        pixel_range: str | tuple[float, float] = "auto",
        image_shape: tuple[int, int] | None = None,
        **fields: Any,
    ) -> None:
        self.recipe = recipe
        self.random_state = random_state
        self.pixel_range = pixel_range
        self.image_shape = image_shape
        for name in RECIPE_FIELDS:
            setattr(self, name, fields.pop(name, FROM_RECIPE))
        for name in fields:
            raise TypeError(
                f"DigitClassifier.__init__() got an unexpected keyword argument {name!r}"
                f"{_did_you_mean(name)}"
            )

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; nothing is set if one of them does not exist.

        `BaseEstimator.set_params` takes what stands before "__" for the name of a nested
        estimator. Here the whole name is that of one parameter.

        Raises:
            ValueError: a parameter does not exist.
        """
        known = self._get_param_names()
        for name in params:
            if name not in known:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}{_did_you_mean(name)}. "
                    f"Valid parameters are: {known!r}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Tags:
        """Say that images may be 3-D, and whether values may be negative."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.positive_only = _is_non_negative(self.pixel_range)
        return tags

    def resolve_recipe(self) -> Recipe:
        """Return `recipe` with the fields and the seed that were set.

        Raises:
            RecipeError: with every problem found; also if it asks for more than one training.
        """
        recipe = self.recipe if isinstance(self.recipe, Recipe) else Recipe.load(self.recipe)
        overrides: dict[str, dict[str, Any]] = {}
        for name in RECIPE_FIELDS:
            value = getattr(self, name)
            if not (isinstance(value, str) and value == FROM_RECIPE):
                section, _, field = name.partition("__")
                # Searches draw numpy's scalars, which a recipe does not hold.
                value = value.item() if isinstance(value, np.generic) else value
                overrides.setdefault(section, {})[field] = value
        recipe = recipe.with_overrides(overrides, seed=self._seed())
        if not recipe.is_single_model:
            raise RecipeError(recipe.name, ["is more than one training, expected a single network"])
        return recipe

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on X [N, pixels] or [N, height, width], and y [N] of any sortable kind.

        What the recipe holds out for validation also calibrates the probabilities.

        Raises:
            ValueError: X has other values or another shape than declared, or y has no classes.
            RecipeError: the recipe cannot work, or asks for more than one training.
        """
        values, given_shape = _flatten(X)
        values, targets = validate_data(self, values, y, ensure_min_features=2)
        classes, labels = _classes(targets)
        image_shape = _image_shape(self.image_shape, values.shape[1], given_shape)
        pixel_scale = PixelScale.find(values, self.pixel_range)
        images = _square_images(pixel_scale.to_uint8(values), image_shape)
        recipe = self.resolve_recipe()
        names = tuple(str(value) for value in classes)
        dataset = Dataset(images, labels, names, "X")
        self.recognizer_: Recognizer = calibrated(fit_single(dataset, recipe)).recognizer
        self.classes_, self.recipe_ = classes, recipe
        self.image_shape_, self.pixel_scale_ = image_shape, pixel_scale
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of each class: float32 [N, classes].

        Raises:
            NotFittedError: before `fit`.
            ValueError: X has other features than in `fit`, or values of another scale.
        """
        check_is_fitted(self, "recognizer_")
        values, given_shape = _flatten(X)
        values = validate_data(self, values, reset=False)
        _image_shape(self.image_shape_, values.shape[1], given_shape)
        images = _square_images(self.pixel_scale_.to_uint8(values), self.image_shape_)
        return self.recognizer_.predict_proba(images)

    def predict(self, X: ArrayLike) -> NDArray[np.generic]:
        """Return the most probable class of each row, as y named it; errors as `predict_proba`."""
        indices = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[indices])

    def _seed(self) -> int | None:
        if self.random_state is None:
            return None
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))


@dataclass(frozen=True)
class PixelScale:
    """What the values of X mean.

    Attributes:
        low: of a background pixel.
        high: of full ink.
        is_whole: only whole numbers are values on this scale.
    """

    low: float
    high: float
    is_whole: bool = False

    @classmethod
    def find(cls, values: NDArray[Any], pixel_range: Any) -> Self:
        """Return the scale of X, finite numbers, as `DigitClassifier` describes `pixel_range`.

        Raises:
            ValueError: the values do not fit `pixel_range`, or "auto" cannot tell.
        """
        if _is_non_negative(pixel_range):
            check_non_negative(
                values, f"DigitClassifier, whose pixel_range is {pixel_range!r}; 'minmax' takes any"
            )
        if isinstance(pixel_range, str) and pixel_range == "auto":
            return cls._detect(values)
        if isinstance(pixel_range, str) and pixel_range == "minmax":
            pixel_range = float(values.min()), float(values.max())
        is_pair = isinstance(pixel_range, tuple | list) and len(pixel_range) == 2
        if not is_pair or not all(isinstance(e, Real) and isfinite(e) for e in pixel_range):
            expected = "'auto', 'minmax' or (low, high)"
            raise ValueError(f"pixel_range is {pixel_range!r}, expected {expected}")
        scale = cls(float(pixel_range[0]), float(pixel_range[1]))
        if scale.low >= scale.high:
            raise ValueError(f"pixel_range is {pixel_range!r}, expected low < high")
        if scale._outside(values).any():
            raise ValueError(f"{_values(values)}, expected those of pixel_range {pixel_range!r}")
        return scale

    @classmethod
    def _detect(cls, values: NDArray[Any]) -> Self:
        most = values.max()
        if values.dtype.kind == "b" or (values.dtype.kind == "f" and most <= 1 + ROUNDING):
            return cls(0.0, 1.0)
        if not _is_whole(values) or most > 255:
            raise ValueError(
                f"{_values(values)}, expected whole numbers up to 255, fractions up to 1, or a "
                "pixel_range of (low, high) or 'minmax'"
            )
        if most <= 1:
            raise ValueError(
                f"{_values(values)} in whole numbers, expected a pixel_range of (0, 1) or (0, 255)"
            )
        if most < 128:
            warnings.warn(
                f"{_values(values)}, which are taken for pixels from 0 to 255: if {most:g} is full "
                f"ink, declare pixel_range=(0, {most:g})",
                stacklevel=4,
            )
        return cls(0.0, 255.0, is_whole=True)

    def to_uint8(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Turn values on this scale, of any shape, into pixels from 0 to 255, rounded.

        Single values outside are clipped with a warning: a scaler that was fitted on other images
        leaves some.

        Raises:
            ValueError: X is on another scale.
        """
        scale = f"the scale of fit, {self.low:g} to {self.high:g}"
        outside = self._outside(values)
        if self.is_whole and (outside.any() or not _is_whole(values)):
            raise ValueError(f"{_values(values)}, expected whole numbers on {scale}")
        if outside.any():
            if 2 * outside.sum() > (values != self.low).sum():  # most of what is not background
                raise ValueError(f"{_values(values)}, expected {scale}")
            share = f"{outside.mean():.2%} are outside"
            warnings.warn(f"{_values(values)}, {share} {scale}, and clipped", stacklevel=3)
        if self.low < values.max() <= self.low + (self.high - self.low) / 255:
            warnings.warn(f"{_values(values)}, all but blank on {scale}", stacklevel=3)
        if self.is_whole:
            return np.asarray(values, np.uint8)
        pixels = values.astype(np.promote_types(values.dtype, np.float32))
        np.clip(pixels, self.low, self.high, out=pixels)
        pixels -= self.low
        pixels *= 255 / (self.high - self.low)
        return np.asarray(np.rint(pixels, out=pixels), np.uint8)

    def _outside(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        margin = ROUNDING * (self.high - self.low)
        return np.asarray((values < self.low - margin) | (values > self.high + margin))


def _is_non_negative(pixel_range: Any) -> bool:
    if isinstance(pixel_range, str):
        return pixel_range != "minmax"
    return isinstance(pixel_range, tuple | list) and not any(end < 0 for end in pixel_range)


def _is_whole(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "biu" or not np.any(values % 1)


def _values(values: NDArray[Any]) -> str:
    return f"X holds values from {float(values.min()):g} to {float(values.max()):g}"


def _classes(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes, sorted, and labels as indices into them, int64 [N].

    Raises:
        ValueError: labels are missing or continuous, or all of one class.
    """
    if y.dtype.kind == "O" and any(label is None for label in y):
        raise ValueError("Input y contains None, expected a label for every image")
    check_classification_targets(y)
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y contains one class, {classes[0]}, expected at least 2 classes")
    return classes, labels.astype(np.int64)


def _flatten(X: Any) -> tuple[Any, tuple[int, int] | None]:
    """Return X as [N, pixels], and (height, width) of its images where they are 3-D."""
    X = X if hasattr(X, "shape") else np.asarray(X)
    if len(X.shape) != 3:
        return X, None
    n, height, width = X.shape
    return np.reshape(X, (n, height * width)), (height, width)


def _image_shape(declared: Any, n_pixels: int, given: tuple[int, int] | None) -> tuple[int, int]:
    """Return (height, width) of images of `n_pixels`; `given` is that of a 3-D X.

    Raises:
        ValueError: `declared` is no shape, or X has another.
    """
    found = f"X has {n_pixels} features"
    if given is not None:
        found = f"X has images of {given[0]} × {given[1]} pixels"
    if declared is None:
        side = isqrt(n_pixels)
        if side**2 != n_pixels or given not in {None, (side, side)}:
            is_extra = given is None and side > 3 and side**2 == n_pixels - 1
            hint = " (is one a label or a row number?)" if is_extra else ""
            raise ValueError(
                f"{found}{hint}, expected square images, or others that image_shape declares"
            )
        return side, side
    lengths = list(declared) if isinstance(declared, tuple | list) else []
    valid = all(isinstance(n, int | np.integer) and (n > 0 or n == -1) for n in lengths)
    if len(lengths) != 2 or lengths == [-1, -1] or not valid:
        raise ValueError(f"image_shape is {declared!r}, expected (height, width) or None")
    height, width = (int(length) for length in lengths)
    height = n_pixels // width if height == -1 else height
    width = n_pixels // height if width == -1 else width
    if height * width != n_pixels or given not in {None, (height, width)}:
        raise ValueError(f"{found}, expected those of image_shape {declared!r}")
    return height, width


def _square_images(pixels: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Turn rows of pixels, uint8 [N, pixels], into images, uint8 [N, S, S], centred on 0."""
    side = max(shape)
    (above, below), (left, right) = (
        ((side - length) // 2, (side - length + 1) // 2) for length in shape
    )
    return np.pad(pixels.reshape(-1, *shape), ((0, 0), (above, below), (left, right)))


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, DigitClassifier._get_param_names(), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
