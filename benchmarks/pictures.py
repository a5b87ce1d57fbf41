"""Digits that are not MNIST's, read as pictures, and the normalisation that makes them like it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sources import SOURCES

SIDE, INK_SIDE = 28, 20  # pixels of an image of MNIST, and of the box that holds its ink


def normalize(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 [28, 28] of a picture uint8 [H, W] with ink bright on dark, as MNIST has it.

    The ink's box is scaled to 20 pixels, its centre of mass put in the middle.
    """
    ink = picture > picture.max() // 5
    if not ink.any():
        return np.zeros((SIDE, SIDE), np.uint8)
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    box = Image.fromarray(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    zoom = INK_SIDE / max(box.size)
    width, height = (max(1, round(side * zoom)) for side in box.size)
    small = np.asarray(box.resize((width, height), Image.Resampling.BICUBIC))
    weights = small / small.sum()
    top = SIDE / 2 - weights.sum(axis=1) @ (np.arange(height) + 0.5)
    left = SIDE / 2 - weights.sum(axis=0) @ (np.arange(width) + 0.5)
    top = min(max(0, round(top)), SIDE - height)
    left = min(max(0, round(left)), SIDE - width)
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + height, left : left + width] = small
    return image


def normalize_all(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Normalise each picture: uint8 [N, 28, 28]."""
    return np.stack([normalize(picture) for picture in pictures])


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
