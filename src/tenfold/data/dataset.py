"""Dataset: images, their labels if known, and the names of the classes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.artifact import ArtifactSchema, ClassNames, load_artifact
from tenfold.errors import DataError
from tenfold.files import save_arrays
from tenfold.formatting import pluralize

DIGITS = tuple("0123456789")
FORMAT = "tenfold-dataset-2"
_IMAGES_PER_COUNT = 4096  # np.bincount converts every pixel to eight bytes


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Greyscale images of one size, all in memory.

    Attributes:
        images: uint8 [N, S, S], bright ink on a dark background; S is 28 for MNIST.
        labels: int64 [N], indices into `classes`; None for unlabelled images.
        classes: the name of each class, ("0", …, "9") for digits; empty without labels.
        name: where the images come from, for messages: "train.csv".
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    name: str = "dataset"

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 3:
            raise DataError(
                f"{self.name}: images are {self.images.dtype} {list(self.images.shape)}, "
                "expected uint8 [N, S, S] with pixels from 0 to 255"
            )
        if self.images.shape[1] != self.images.shape[2]:
            raise DataError(
                f"{self.name}: images are {self.images.shape[1]} × {self.images.shape[2]} pixels, "
                "expected square ones"
            )
        if self.labels is not None:
            self._check_labels(self.labels)

    def _check_labels(self, labels: NDArray[np.int64]) -> None:
        if labels.dtype != np.int64 or labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{self.name}: labels are {labels.dtype} {list(labels.shape)}, "
                f"expected int64 [{len(self.images)}]"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise DataError(
                f"{self.name}: labels run from {labels.min()} to {labels.max()}, "
                f"expected indices of its {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = f"{self.image_size} × {self.image_size}"
        known = f", {len(self.classes)} classes" if self.labels is not None else ", unlabelled"
        return f"Dataset({self.name!r}: {pluralize(len(self), 'image')} of {size}{known})"

    def __getitem__(self, rows: slice | int | NDArray[np.int64] | NDArray[np.bool_]) -> "Dataset":
        """Return a Dataset of the selected rows, a copy.

        Args:
            rows: a slice, one row, indices int64 [K], or a mask bool [N].

        Raises:
            IndexError: a row is out of range, or the mask has another length.
        """
        return self.select(np.atleast_1d(np.arange(len(self))[rows]))

    @property
    def image_size(self) -> int:
        """Height and width of each image in pixels."""
        return int(self.images.shape[1])

    def require_labels(self) -> NDArray[np.int64]:
        """Return the labels.

        Raises:
            DataError: the dataset has none.
        """
        if self.labels is None:
            raise DataError(f"{self.name}: has no labels, expected a column called 'label'")
        return self.labels

    def label_names(self) -> NDArray[np.str_]:
        """Return the name of each label, str [N].

        Raises:
            DataError: the dataset has no labels.
        """
        return np.array(self.classes)[self.require_labels()]

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class, 0 for a class without images.

        Raises:
            DataError: the dataset has no labels.
        """
        per_class = np.bincount(self.require_labels(), minlength=len(self.classes))
        return dict(zip(self.classes, per_class.tolist(), strict=True))

    def pixel_counts(self) -> NDArray[np.int64]:
        """Return how many pixels have each value from 0 to 255: int64 [256]."""
        histogram = np.zeros(256, np.int64)
        for start in range(0, len(self), _IMAGES_PER_COUNT):
            block = self.images[start : start + _IMAGES_PER_COUNT]
            histogram += np.bincount(block.ravel(), minlength=256)
        return histogram

    def pixel_mean_and_std(self) -> tuple[float, float]:
        """Return the mean and the standard deviation of all pixels, on the scale 0 to 255."""
        fractions, values = self.pixel_counts() / max(self.images.size, 1), np.arange(256)
        mean = float(fractions @ values)
        return mean, float(np.sqrt(fractions @ (values - mean) ** 2))

    def without_labels(self) -> "Dataset":
        """Return the images alone, as in the competition's test.csv."""
        return Dataset(self.images, name=self.name)

    def inverted(self) -> "Dataset":
        """Return the images with bright and dark exchanged."""
        return replace(self, images=255 - self.images)

    def transposed(self) -> "Dataset":
        """Return the images with rows and columns exchanged, as EMNIST keeps them."""
        return replace(self, images=np.ascontiguousarray(self.images.transpose(0, 2, 1)))

    def with_labels(self, names: NDArray[np.str_], classes: tuple[str, ...]) -> "Dataset":
        """Return the same images with other labels.

        Args:
            names: the name of each label, str [N].
            classes: the names of the classes.

        Raises:
            DataError: a name is not among the classes, or there is not one for each image.
        """
        unknown = sorted(set(names.tolist()) - set(classes))
        if unknown:
            raise DataError(
                f"{self.name}: has the label {unknown[0]!r}, expected one of {', '.join(classes)}"
            )
        labels = np.array([classes.index(name) for name in names.tolist()], np.int64)
        return Dataset(self.images, labels, classes, self.name)

    def check_classes(self, classes: tuple[str, ...]) -> None:
        """Make sure that labels which are indices into `classes` mean the same here.

        Raises:
            DataError: the dataset has other classes.
        """
        if self.classes != classes:
            raise DataError(
                f"{self.name}: its classes are {', '.join(self.classes)}, and those of the "
                f"recognizer {', '.join(classes)}, so its labels mean something else; expected "
                "dataset.with_classes(recognizer.classes), or evaluate(recognizer, dataset)"
            )

    def with_classes(self, classes: tuple[str, ...]) -> "Dataset":
        """Return the same images and label names, encoded as indices into other `classes`.

        Raises:
            DataError: there are no labels, or the name of one is not among the classes.
        """
        return self if classes == self.classes else self.with_labels(self.label_names(), classes)

    def select(self, indices: NDArray[np.int64], name: str | None = None) -> "Dataset":
        """Return a Dataset of the rows at `indices`, int64 [K], in that order."""
        return Dataset(
            images=self.images[indices],
            labels=None if self.labels is None else self.labels[indices],
            classes=self.classes,
            name=name or self.name,
        )

    def concat(self, other: "Dataset") -> "Dataset":
        """Return these images followed by those of `other`.

        Raises:
            DataError: the classes or the image sizes differ, or labels are missing.
        """
        if other.classes != self.classes:
            raise DataError(
                f"{other.name}: has the classes {', '.join(other.classes)}, "
                f"expected {', '.join(self.classes)} as in {self.name}"
            )
        if other.image_size != self.image_size:
            raise DataError(
                f"{other.name}: images are {other.image_size} × {other.image_size} pixels, "
                f"expected {self.image_size} × {self.image_size} as in {self.name}"
            )
        labels = np.concatenate([self.require_labels(), other.require_labels()])
        images = np.concatenate([self.images, other.images])
        return Dataset(images, labels, self.classes, f"{self.name} and {other.name}")

    def content_hash(self) -> str:
        """Return the SHA-256 of size, pixels, labels and classes; the name does not count."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def dataset_name(path: Path) -> str:
    """Return the name of a Dataset read from `path`: the file's, with ? for what is not UTF-8."""
    return path.name.encode(errors="replace").decode()


class DatasetFile(ArtifactSchema):
    """The description in the file of a labelled dataset."""

    classes: ClassNames
    name: str


ARRAYS = {"images": "uint8 [N, S, S]", "labels": "int64 [N]"}


def save_dataset(dataset: Dataset, path: Path) -> dict[str, str]:
    """Write a labelled dataset to `path`, for jobs to read.

    Returns:
        A reference for `load_dataset`: the "file" name and the content hash, "sha256".

    Raises:
        DataError: the dataset has no labels.
        OutputError: the file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {
        "images": np.ascontiguousarray(dataset.images),
        "labels": np.ascontiguousarray(dataset.require_labels()),
    }
    save_arrays(path, arrays, FORMAT, {"classes": dataset.classes, "name": dataset.name})
    return {"file": path.name, "sha256": dataset.content_hash()}


def load_dataset(folder: Path, reference: Mapping[str, str]) -> Dataset:
    """Read the dataset that `save_dataset` wrote to `folder`.

    Raises:
        DataError: the file's content is not that of the `reference`.
        RecognizerError: the file is missing or damaged.
    """
    path = folder / reference["file"]
    arrays, metadata = load_artifact(path, FORMAT, DatasetFile, ARRAYS)
    classes = tuple(metadata["classes"])
    dataset = Dataset(arrays["images"], arrays["labels"], classes, metadata["name"])
    if dataset.content_hash() != reference["sha256"]:
        raise DataError(f"{path}: holds other images than the job describes")
    return dataset
