"""Pictures of one digit each as images of a dataset: as they are if they are small and grey."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.images import decode, find_ink, to_mnist
from tenfold.images.decode import SUFFIXES

MAX_STORED_SIDE: Final = 64  # what is larger is a photo or drawing, and is made like MNIST's


def is_picture_file(path: Path) -> bool:
    """Return whether a file is a picture, by its name."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by their value: "page2.png" before "page10.png"."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]


def read_picture(source: Path | bytes, name: str | None = None) -> NDArray[np.uint8]:
    """Return a picture of one digit as an image of a dataset.

    Args:
        source: a path, or the bytes of a file.
        name: for messages; the path by default.

    Returns:
        uint8 [S, S], the pixels themselves, if the picture is square, grey and at most 64 pixels
        wide. Of any other, uint8 [28, 28] as MNIST would show its ink, bright on black.

    Raises:
        ImageError: it is missing, damaged, or no picture.
    """
    pixels = decode(source, name).pixels
    height, width, _ = pixels.shape
    is_grey = (pixels[..., :1] == pixels).all()
    if height == width and 2 <= width <= MAX_STORED_SIDE and is_grey:
        return np.ascontiguousarray(pixels[..., 0])
    ink = find_ink(pixels)
    return to_mnist(ink.strength * ink.mask)


def check_one_size(path: Path, images: Sequence[NDArray[np.uint8]], where: Sequence[str]) -> None:
    """Make sure that pictures are all of one size.

    Raises:
        DataError: two are not.
    """
    first = images[0].shape[0]
    for image, place in zip(images, where, strict=True):
        if (side := image.shape[0]) != first:
            raise DataError(
                f"{path}: {place} is {side} × {side} pixels, expected {first} × {first} as in "
                f"{where[0]}"
            )
