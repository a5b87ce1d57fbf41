"""NumPy's files: .npz with arrays as Keras' mnist.npz has them, and .npy with its labels beside."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tenfold.data.compression import (
    HARMLESS_BYTES,
    MAX_COMPRESSION_RATIO,
    MAX_FILE_BYTES,
    one_line,
)
from tenfold.data.dataset import Dataset
from tenfold.data.idx import find_labels
from tenfold.data.request import Request, label_names, make_dataset, part_of, select_part
from tenfold.errors import DataError

NPY_MAGIC = b"\x93NUMPY"
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def is_npy(_path: Path, head: bytes) -> bool:
    """Return whether a file that begins so is .npy."""
    return head.startswith(NPY_MAGIC)


def is_npz(path: Path, head: bytes) -> bool:
    """Return whether a file is .npz: a zip of .npy files."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npy(path: Path, request: Request) -> Dataset:
    """Read an array of images, and the labels in the file beside it: y_train.npy of x_train.npy.

    Raises:
        DataError: it is damaged or no array of images, or its labels are missing.
    """
    images = _load_npy(path)
    labels = None if request.labels is False else find_labels(path)
    if labels is None and request.labels:
        raise DataError(
            f"{path}: has no labels beside it, expected x_train.npy and y_train.npy, or one .npz"
        )
    names = None if labels is None else label_names(labels, _load_npy(labels))
    return make_dataset(path, images, names, request)


def read_npz(path: Path, request: Request) -> Dataset:
    """Read the arrays x_train and y_train, or x_test and y_test, or the only images in the file.

    Raises:
        DataError: it is damaged, or holds no such arrays.
    """
    labels = find_labels(path) if request.labels is not False else None
    arrays = _load_npz(path)
    images, names = _select(path, arrays, request)
    if names is None and labels is not None:  # as KMNIST: one array in each of two files
        others = _load_npz(labels)
        if len(others) == 1:
            names = label_names(labels, next(iter(others.values())))
    return make_dataset(path, images, names, request)


def _select(
    path: Path, arrays: Mapping[str, NDArray[Any]], request: Request
) -> tuple[NDArray[Any], NDArray[np.str_] | None]:
    """Return the images of the wanted part, and their labels if there are any."""
    all_images = [name for name, array in arrays.items() if _are_images(array)]
    chosen = select_part(all_images, request.part) or all_images
    listed = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    if len(chosen) != 1:
        raise DataError(
            f"{path}: holds {listed or 'no arrays'}, expected x_train, y_train, x_test and y_test, "
            "or one array of images and one of labels"
        )
    images = arrays[chosen[0]]
    part = part_of(chosen[0])
    labels = [
        name
        for name, array in arrays.items()
        if name not in all_images and len(array.shape) and len(array) == len(images)
    ]
    if len(labels) > 1:
        labels = [name for name in labels if part_of(name) == part]
    if len(labels) > 1:
        raise DataError(f"{path}: holds {listed}, expected one array of labels for {chosen[0]}")
    return images, label_names(path, arrays[labels[0]]) if labels else None


def _are_images(array: NDArray[Any]) -> bool:
    is_one_hot = array.ndim == 2 and array.shape[1] < 16
    return array.ndim in {3, 4} or (array.ndim == 2 and array.shape[1] >= 4 and not is_one_hot)


def _load_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = path.stat().st_size
            left = min(MAX_FILE_BYTES, max(HARMLESS_BYTES, MAX_COMPRESSION_RATIO * size))
            arrays = {}
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as stream:
                    arrays[name] = _read_npy(path, stream, left, f"{name} in ")
                left -= arrays[name].nbytes
            return arrays
    except DataError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, EOFError, KeyError) as error:
        raise DataError(
            f"{path}: is damaged or no .npz ({one_line(error)}), expected a whole one"
        ) from error
    except Exception as error:  # zlib and struct errors of damage in the right place
        if type(error).__module__ in {"zlib", "struct", "lzma"}:
            raise DataError(f"{path}: is damaged ({error}), expected a whole .npz") from error
        raise


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as stream:
            return _read_npy(path, stream, path.stat().st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected .npy") from error


def _read_npy(path: Path, stream: IO[bytes], max_bytes: int, where: str = "") -> NDArray[Any]:
    """Read one array; what its header says is compared with what there is before memory is asked.

    Raises:
        DataError: it is damaged, larger than `max_bytes`, or holds objects, which are a pickle.
    """
    try:
        version = npy.read_magic(stream)
        if version not in _READERS:
            raise ValueError(f"version {version}")
        shape, fortran_order, dtype = _READERS[version](stream)
    except DataError:
        raise
    except Exception as error:  # a damaged header is parsed as Python, and fails in many ways
        raise DataError(f"{path}: {where}.npy is damaged ({error}), expected an array") from error
    if dtype.hasobject:
        raise DataError(
            f"{path}: {where}.npy holds Python objects, a pickle, which can run any program and is "
            "never read, expected arrays of numbers"
        )
    expected = math.prod(shape) * dtype.itemsize
    if expected > max_bytes:
        raise DataError(
            f"{path}: {where}.npy announces {expected:,} bytes, expected at most {max_bytes:,}"
        )
    content = stream.read(expected + 1)
    if len(content) != expected:
        raise DataError(
            f"{path}: {where}.npy is cut short or too long, expected {expected:,} bytes"
        )
    array: NDArray[Any] = np.frombuffer(content, dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")
