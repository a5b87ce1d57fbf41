"""IDX, the format of MNIST's own files: images and labels in a pair of files.

http://yann.lecun.com/exdb/mnist describes it.
"""

import logging
import math
import re
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.compression import read_bytes
from tenfold.data.dataset import Dataset
from tenfold.data.request import Request, label_names, make_dataset
from tenfold.errors import DataError
from tenfold.files import path_exists

_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MAX_DIMENSIONS = 4
# What the name of a file of images has where that of its labels has the other.
_PAIRS = (
    ("images", "labels"), ("image", "label"), ("imgs", "labels"), ("idx3", "idx1"),
    ("x_", "y_"), ("X_", "y_"), ("x-", "y-"),
)  # fmt: skip
_TWICE = ("", ".gz")

logger = logging.getLogger(__name__)


def is_idx(_path: Path, head: bytes) -> bool:
    """Return whether a file that begins so, decompressed, is IDX."""
    return (
        len(head) >= 8
        and head[:2] == b"\0\0"
        and head[2] in _DTYPES
        and 1 <= head[3] <= _MAX_DIMENSIONS
    )


def read_idx(path: Path, request: Request) -> Dataset:
    """Read a file of images, and the labels in the file beside it whose name says so.

    Raises:
        DataError: a file is damaged, holds labels alone, or its labels are missing.
    """
    images = _read_array(path)
    if images.ndim == 1:
        raise DataError(
            f"{path}: holds {len(images):,} labels and no images, expected the file of images; its "
            "labels are found by their name"
        )
    if "emnist" in path.name.lower():
        logger.info("%s: EMNIST keeps its images transposed: --transpose turns them", path)
    names = None
    if request.labels is not False:
        labels = find_labels(path)
        if labels is None and request.labels:
            raise DataError(
                f"{path}: has no labels beside it, expected {path.name.replace('images', 'labels')}"
            )
        names = None if labels is None else label_names(labels, _read_array(labels))
    return make_dataset(path, images, names, request)


def is_labels(path: Path) -> bool:
    """Return whether a name is that of labels whose images are in another file."""
    return any(label in path.name for _, label in _PAIRS)


def find_labels(path: Path) -> Path | None:
    """Return the file beside a file of images that is named as its labels would be."""
    stem = path.name.removesuffix(".gz")
    found = {stem}
    for images, labels in _PAIRS:
        found |= {re.sub(re.escape(images), labels, name, count=1) for name in found}
    for name in sorted(found - {stem}):
        for suffix in _TWICE:
            if path_exists(candidate := path.with_name(name + suffix)):
                return candidate
    return None


def _read_array(path: Path) -> NDArray[np.generic]:
    content = read_bytes(path).tobytes()
    if not is_idx(path, content):
        raise DataError(f"{path}: is not IDX, expected labels as its images are kept")
    dtype, n_dimensions = np.dtype(_DTYPES[content[2]]), content[3]
    start = 4 + 4 * n_dimensions
    if len(content) < start:
        raise DataError(f"{path}: is cut short, expected a whole IDX file")
    shape = struct.unpack_from(f">{n_dimensions}I", content, 4)
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise DataError(
            f"{path}: holds {len(content) - start:,} bytes for {' × '.join(map(str, shape))} "
            f"values, expected {expected:,}: download or copy it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
