"""MNIST's own file format, IDX: a magic number, the sizes, then plain bytes."""

import struct

import numpy as np

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError

_IMAGES, _LABELS = 2051, 2049  # unsigned bytes in three dimensions, and in one
_IMAGES_HEAD, _LABELS_HEAD = struct.Struct(">IIII"), struct.Struct(">II")


def dataset(images: bytes, labels: bytes, classes: tuple[str, ...], name: str) -> Dataset:
    """Return the Dataset that two IDX files hold.

    Raises:
        DataError: a file is not IDX, is cut short, or does not fit the other.
    """
    if len(images) < _IMAGES_HEAD.size or len(labels) < _LABELS_HEAD.size:
        raise DataError(f"{name}: an IDX file is cut short, expected a whole one")
    magic, count, height, width = _IMAGES_HEAD.unpack_from(images)
    label_magic, label_count = _LABELS_HEAD.unpack_from(labels)
    if (magic, label_magic) != (_IMAGES, _LABELS) or count != label_count:
        raise DataError(
            f"{name}: IDX files start with {magic} and {label_magic} for {count} images and "
            f"{label_count} labels, expected {_IMAGES} and {_LABELS} and equal counts"
        )
    pixels = np.frombuffer(images, np.uint8, offset=_IMAGES_HEAD.size)
    indices = np.frombuffer(labels, np.uint8, offset=_LABELS_HEAD.size)
    if len(pixels) != count * height * width or len(indices) != count:
        raise DataError(f"{name}: an IDX file does not have the length that it announces")
    return Dataset(
        pixels.reshape(count, height, width).copy(), indices.astype(np.int64), classes, name
    )


def files(dataset: Dataset) -> tuple[bytes, bytes]:
    """Return a labelled dataset as an images file and a labels file."""
    count, height, width = dataset.images.shape
    images = _IMAGES_HEAD.pack(_IMAGES, count, height, width) + dataset.images.tobytes()
    labels = dataset.known_labels().astype(np.uint8).tobytes()
    return images, _LABELS_HEAD.pack(_LABELS, count) + labels
