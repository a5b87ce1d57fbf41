"""What a caller wants of a file, and how every format gives it: labels encoded, images square."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenfold.data.csv_header import ANY_COLUMNS, ColumnNames
from tenfold.data.dataset import Dataset, dataset_name
from tenfold.data.pixels import PixelConverter
from tenfold.errors import DataError

Part = Literal["train", "test"]
_MARKS: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "test": ("test", "t10k", "valid", "val_"),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a caller wants of a file.

    Attributes:
        labels: True requires labels, False ignores them, None takes them if there are any.
        classes: the labels allowed; None for those found.
        columns: the columns that the caller names.
        part: which part is wanted of what holds both.
    """

    labels: bool | None = None
    classes: tuple[str, ...] | None = None
    columns: ColumnNames = ANY_COLUMNS
    part: Part = "train"


@dataclass(frozen=True)
class ReadOptions:
    """How a caller wants the images of a file: the options of the command line.

    Attributes:
        label: the label column of a table, or "first" or "last"; None finds it.
        row_id: the column that names the rows; None for none.
        invert: exchange bright and dark.
        transpose: exchange rows and columns.
    """

    label: str | None = None
    row_id: str | None = None
    invert: bool = False
    transpose: bool = False

    @property
    def columns(self) -> ColumnNames:
        """The columns that the caller names."""
        return ColumnNames(self.label, self.row_id)

    def orient(self, dataset: Dataset) -> Dataset:
        """Return the images as the caller wants them."""
        dataset = dataset.inverted() if self.invert else dataset
        return dataset.transposed() if self.transpose else dataset


def part_of(name: str) -> Part | None:
    """Return which part a name speaks of: "train" of x_train or train.csv, "test" of t10k."""
    lower = name.lower()
    for part, marks in _MARKS.items():
        if any(mark in lower for mark in marks):
            return part
    return None


def select_part(names: Sequence[str], part: Part) -> list[str]:
    """Return the names that speak of a part; if none do, those that speak of neither."""
    own = [name for name in names if part_of(name) == part]
    return own or [name for name in names if part_of(name) is None]


def make_dataset(
    path: Path,
    images: NDArray[Any],
    names: NDArray[np.str_] | None,
    request: Request,
    *,
    describe: Callable[[int], str] | None = None,
) -> Dataset:
    """Return the Dataset of an array of images and the names of their labels.

    Args:
        path: the file, which names the Dataset.
        images: of any numbers, [N, S, S], [N, 1, S, S], [N, S, S, 1] or [N, S·S].
        names: str [N]; None without labels.
        request: what is wanted.
        describe: says where in the file an image stands; by default "image 3", from 1.

    Raises:
        DataError: the arrays are of other shapes or values, or labels are missing.
    """
    if request.labels and names is None:
        raise DataError(f"{path}: has images without labels, expected labels: is this for TEST?")
    square = as_square(path, images)
    size = square.shape[1] * square.shape[2]

    def where(position: int) -> str:
        row = position // size
        return describe(row) if describe else f"image {row + 1}"

    pixels = PixelConverter(path).to_bytes(square, where)
    name = dataset_name(path)
    if names is None or request.labels is False:
        return Dataset(pixels, name=name)
    if len(names) != len(pixels):
        raise DataError(
            f"{path}: has {len(pixels):,} images and {len(names):,} labels, expected one for each"
        )
    return Dataset(pixels, *encode_names(path, names, request.classes), name=name)


def as_square(path: Path, images: NDArray[Any]) -> NDArray[Any]:
    """Return images as [N, S, S].

    Raises:
        DataError: they have another shape.
    """
    shape = images.shape
    if len(shape) == 4 and 1 in {shape[1], shape[3]}:
        images = images[:, 0] if shape[1] == 1 else images[..., 0]
    elif len(shape) == 2 and (side := round(shape[1] ** 0.5)) ** 2 == shape[1] and side > 1:
        images = images.reshape(-1, side, side)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.shape[1] < 2:
        raise DataError(
            f"{path}: holds an array of the shape {list(shape)}, expected square grey images: "
            "[N, 28, 28] or [N, 784]"
        )
    return images


def encode_names(
    path: Path, names: NDArray[np.str_], classes: tuple[str, ...] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as indices of classes, int64 [N], and the classes.

    Args:
        path: the file, for messages.
        names: str [N].
        classes: the names allowed; None takes those found, numbers in numeric order.

    Raises:
        DataError: a name is not among the classes.
    """
    distinct, inverse = np.unique(names, return_inverse=True)
    if classes is None:
        is_numeric = all(name.lstrip("-").isdecimal() for name in distinct.tolist())
        order = sorted(distinct.tolist(), key=int if is_numeric else str)
        classes = tuple(order)
    unknown = [name for name in distinct.tolist() if name not in classes]
    if unknown:
        raise DataError(
            f"{path}: has the label {unknown[0]!r}, expected one of {', '.join(classes)}"
        )
    indices = np.array([classes.index(name) for name in distinct.tolist()], np.int64)
    return indices[inverse.reshape(-1)], classes


def label_names(path: Path, values: NDArray[Any]) -> NDArray[np.str_]:
    """Return labels, numbers or text [N] or [N, 1] or one-hot [N, C], as names: str [N].

    Raises:
        DataError: they are of another kind.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if _is_one_hot(values):
        logger.info("%s: its labels are one-hot, read as 0 to %d", path, values.shape[1] - 1)
        values = values.argmax(axis=1)
    is_fractional = values.dtype.kind == "f" and not (values == np.floor(values)).all()
    if values.ndim != 1 or values.dtype.kind not in "buifU" or is_fractional:
        raise DataError(
            f"{path}: has labels of {values.dtype} {list(values.shape)}, expected a whole number "
            "or a name for each image"
        )
    if values.dtype.kind in "bf":
        values = values.astype(np.int64)
    return values.astype(np.str_)


def _is_one_hot(values: NDArray[Any]) -> bool:
    if values.ndim != 2 or values.dtype.kind not in "buif":
        return False
    return bool((values.sum(axis=1) == 1).all()) and set(np.unique(values).tolist()) <= {0, 1}
