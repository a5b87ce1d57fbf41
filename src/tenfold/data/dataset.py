"""Dataset: images, their labels if known, and what the labels are called."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

DIGITS = tuple("0123456789")


IMAGES_AT_ONCE = 4096  # numpy counts in eight bytes a pixel


def name_of(path: Path) -> str:
    """Return what the images of a file are called: its name, with ? for what is not UTF-8."""
    return path.name.encode(errors="replace").decode()


@dataclass(frozen=True, eq=False)
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

    @property
    def image_size(self) -> int:
        """Height and width of each image in pixels."""
        return int(self.images.shape[1])

    def known_labels(self) -> NDArray[np.int64]:
        """Return the labels.

        Raises:
            DataError: the dataset has none.
        """
        if self.labels is None:
            raise DataError(f"{self.name}: has no labels, expected a column called 'label'")
        return self.labels

    def names(self) -> NDArray[np.str_]:
        """Return the labels by name: str [N].

        Raises:
            DataError: the dataset has none.
        """
        return np.array(self.classes)[self.known_labels()]

    def class_counts(self) -> dict[str, int]:
        """Count the images of each class; classes without any are there with 0.

        Raises:
            DataError: the dataset has no labels.
        """
        counts = np.bincount(self.known_labels(), minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def pixel_counts(self) -> NDArray[np.int64]:
        """Count the pixels of each value from 0 to 255: int64 [256]."""
        counts = np.zeros(256, np.int64)
        for start in range(0, len(self), IMAGES_AT_ONCE):
            block = self.images[start : start + IMAGES_AT_ONCE]
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

    def with_truth(self, names: NDArray[np.str_], classes: tuple[str, ...]) -> "Dataset":
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

    def select(self, indices: NDArray[np.int64], name: str | None = None) -> "Dataset":
        """Return the rows at `indices`, in that order, as a Dataset of their own."""
        return Dataset(
            images=self.images[indices],
            labels=None if self.labels is None else self.labels[indices],
            classes=self.classes,
            name=name or self.name,
        )

    def joined(self, other: "Dataset") -> "Dataset":
        """Return these images followed by those of `other`, which has the same classes.

        Raises:
            DataError: classes or sizes differ, or labels are missing.
        """
        if (self.classes, self.image_size) != (other.classes, other.image_size):
            raise DataError(f"{other.name}: its classes or image size are not those of {self.name}")
        labels = np.concatenate([self.known_labels(), other.known_labels()])
        images = np.concatenate([self.images, other.images])
        return Dataset(images, labels, self.classes, f"{self.name} and {other.name}")

    def fingerprint(self) -> str:
        """Sha256 over size, pixels, labels and classes: equal data, equal fingerprint."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()
