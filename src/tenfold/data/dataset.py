"""Dataset: images, their labels if known, and what the labels are called."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.files import load_arrays, save_arrays
from tenfold.formatting import pluralize

DIGITS = tuple("0123456789")
FORMAT = "tenfold-dataset-2"


COUNT_BATCH = 4096  # numpy counts in eight bytes a pixel


def name_of(path: Path) -> str:
    """Return what the images of a file are called: its name, with ? for what is not UTF-8."""
    return path.name.encode(errors="replace").decode()


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A set of equally sized grey images, held whole in memory.

    Attributes:
        images: uint8 [N, S, S], ink bright on dark; S is 28 for MNIST and its relatives.
        labels: int64 [N], each an index into `classes`; None where the truth is not known.
        classes: what each label is called; ("0", …, "9") for digits. Empty when unlabelled.
        name: where it came from, for messages: "train.csv".
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
        """Return some rows as a Dataset: a slice, one row, an array of rows, or a mask bool [N]."""
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
        """Return the labels by name: str [N].

        Raises:
            DataError: the dataset has none.
        """
        return np.array(self.classes)[self.require_labels()]

    def class_counts(self) -> dict[str, int]:
        """Count the images of each class; classes without any are there with 0.

        Raises:
            DataError: the dataset has no labels.
        """
        counts = np.bincount(self.require_labels(), minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def pixel_counts(self) -> NDArray[np.int64]:
        """Count the pixels of each value from 0 to 255: int64 [256]."""
        counts = np.zeros(256, np.int64)
        for start in range(0, len(self), COUNT_BATCH):
            block = self.images[start : start + COUNT_BATCH]
            counts += np.bincount(block.ravel(), minlength=256)
        return counts

    def pixel_mean_and_std(self) -> tuple[float, float]:
        """Return mean and standard deviation of all pixels, from 0 to 255."""
        shares, values = self.pixel_counts() / max(self.images.size, 1), np.arange(256)
        mean = float(shares @ values)
        return mean, float(np.sqrt(shares @ (values - mean) ** 2))

    def without_labels(self) -> "Dataset":
        """Return the images alone, as the competition's test file has them."""
        return Dataset(self.images, name=self.name)

    def with_labels(self, names: NDArray[np.str_], classes: tuple[str, ...]) -> "Dataset":
        """Return the images with their labels by name, str [N], each one of `classes`.

        Raises:
            DataError: a name is none of the classes, or they are not as many as the images.
        """
        unknown = sorted(set(names.tolist()) - set(classes))
        if unknown:
            raise DataError(
                f"{self.name}: has a label {unknown[0]!r}, expected one of {', '.join(classes)}"
            )
        labels = np.array([classes.index(name) for name in names.tolist()], np.int64)
        return Dataset(self.images, labels, classes, self.name)

    def with_classes(self, classes: tuple[str, ...]) -> "Dataset":
        """Return the same images and labels, the labels as indices into other `classes`.

        Raises:
            DataError: there are no labels, or one is none of the classes.
        """
        return self if classes == self.classes else self.with_labels(self.label_names(), classes)

    def select(self, indices: NDArray[np.int64], name: str | None = None) -> "Dataset":
        """Return the rows at `indices`, in that order, as a Dataset of their own."""
        return Dataset(
            images=self.images[indices],
            labels=None if self.labels is None else self.labels[indices],
            classes=self.classes,
            name=name or self.name,
        )

    def concat(self, other: "Dataset") -> "Dataset":
        """Return these images followed by those of `other`, which has the same classes.

        Raises:
            DataError: classes or sizes differ, or labels are missing.
        """
        if (self.classes, self.image_size) != (other.classes, other.image_size):
            raise DataError(f"{other.name}: its classes or image size are not those of {self.name}")
        labels = np.concatenate([self.require_labels(), other.require_labels()])
        images = np.concatenate([self.images, other.images])
        return Dataset(images, labels, self.classes, f"{self.name} and {other.name}")

    def content_hash(self) -> str:
        """Sha256 over size, pixels, labels and classes: equal data, equal fingerprint."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def save_dataset(dataset: Dataset, path: Path) -> dict[str, str]:
    """Write labelled images to `path` for jobs to read, and return the reference to them.

    Returns:
        "file" and "sha256", the content hash.

    Raises:
        DataError: there are no labels.
        OutputError: the file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {
        "images": np.ascontiguousarray(dataset.images),
        "labels": np.ascontiguousarray(dataset.require_labels()),
    }
    save_arrays(path, arrays, FORMAT, {"classes": dataset.classes, "name": dataset.name})
    return {"file": path.name, "sha256": dataset.content_hash()}


def load_dataset(folder: Path, reference: Mapping[str, str]) -> Dataset:
    """Read from `folder` what `save_dataset` wrote.

    Raises:
        DataError: the file holds other images than the `reference` names.
        RecognizerError: the file is missing or damaged.
    """
    path = folder / reference["file"]
    arrays, metadata = load_arrays(path, FORMAT)
    classes = tuple(metadata["classes"])
    dataset = Dataset(arrays["images"], arrays["labels"], classes, metadata["name"])
    if dataset.content_hash() != reference["sha256"]:
        raise DataError(f"{path}: holds other images than the job describes")
    return dataset
