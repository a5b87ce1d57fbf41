"""Digits that are not MNIST's, read as pictures, and what makes them like it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sources import SOURCES

from tenfold.images import to_mnist


def normalize_all(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return uint8 [N, 28, 28] of pictures uint8 [H, W], ink bright on dark.

    As `tenfold predict` does once it has found the ink of a digit.
    """
    return np.stack([to_mnist(picture.astype(np.float32) / 255) for picture in pictures])


def read_usps(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the 2,007 pictures of the USPS test set, uint8 [N, 16, 16], and their labels.

    The file has a line for each: the label and 256 values from -1 to 1.
    """
    table = np.array(SOURCES["usps"].read(path).split(), np.float64).reshape(-1, 257)
    pictures = ((table[:, 1:] + 1) / 2 * 255).round().astype(np.uint8)
    return pictures.reshape(-1, 16, 16), table[:, 0].astype(np.int64)


def sklearn_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the 1,797 pictures that scikit-learn brings, uint8 [N, 8, 8], and their labels."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    pictures = (pictures / 16 * 255).round().astype(np.uint8)
    return pictures.reshape(-1, 8, 8), labels.astype(np.int64)
