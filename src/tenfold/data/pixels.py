"""Pixels on another scale than 0 to 255: recognized, converted, and said in one line."""

import logging
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

logger = logging.getLogger(__name__)


class Scale(Enum):
    """From black to white."""

    BYTES = (0, 255)
    UNIT = (0, 1)
    SIGNED = (-1, 1)

    def __str__(self) -> str:
        return f"{self.value[0]} to {self.value[1]}".replace("-", "−")


class PixelConverter:
    """Turns the pixels of one file into bytes, all on the scale that its first pixels show.

    One converter goes through all chunks of a file. The scale is known once a pixel is not 0.

    Args:
        path: the file, for messages.
        scale: of its pixels; None finds it.
    """

    def __init__(self, path: Path, scale: Scale | None = None) -> None:
        self._path = path
        self.scale = scale
        self._said_rounding = False

    def decide(self, low: float, high: float, *, is_whole: bool = False) -> Scale:
        """Return the scale, found in the range of the first pixels if it is not known yet.

        Args:
            low: the smallest pixel.
            high: the largest.
            is_whole: all are whole numbers.
        """
        if self.scale is None and not low == high == 0:
            self.scale = Scale.BYTES
            if low >= 0 and high <= 1:
                self.scale = Scale.UNIT
            elif low >= -1 and high <= 1:
                self.scale = Scale.SIGNED
            if self.scale is not Scale.BYTES:
                is_binary = is_whole and self.scale is Scale.UNIT
                found = "are 0 and 1 alone" if is_binary else f"run from {self.scale}"
                logger.info("%s: its pixels %s, converted to 0 to 255", self._path, found)
        return self.scale or Scale.BYTES

    @property
    def expected(self) -> str:
        """What a pixel should be, for messages."""
        if self.scale in {None, Scale.BYTES}:
            return "a whole number from 0 to 255"
        return f"a number from {self.scale} as before"

    def to_byte(self, value: float) -> int | None:
        """Return one pixel as a byte; None if it is not on the scale."""
        low, high = (self.scale or Scale.BYTES).value
        if not low <= value <= high:
            return None
        if self.scale in {None, Scale.BYTES} and value != round(value):
            self._say_rounding()
        return round((value - low) * 255 / (high - low))

    def to_bytes(self, values: NDArray[Any], describe: Callable[[int], str]) -> NDArray[np.uint8]:
        """Return pixels as bytes, in their shape.

        Args:
            values: of any numbers.
            describe: says where the value at a position of the flattened array stands.

        Raises:
            DataError: one is not a number, or not on the scale.
        """
        if values.dtype.kind not in "buif":
            raise DataError(
                f"{self._path}: {describe(0)} holds {values.dtype}, expected {self.expected}"
            )
        if not values.size:
            return values.astype(np.uint8)
        if values.dtype.kind == "b":
            values = values.astype(np.uint8)
        low, high = values.min(), values.max()  # NaN if there is one
        is_whole = values.dtype.kind in "ui"
        self.decide(float(low), float(high), is_whole=is_whole)
        scale = self.scale or Scale.BYTES
        least, most = scale.value
        if not (least <= low and high <= most):
            flat = values.reshape(-1)
            position = int(np.flatnonzero(~((flat >= least) & (flat <= most)))[0])
            hint = ""
            if -10 < low < -0.1 and high < 10:
                hint = "; these seem to be standardised, give the pixels as they were before"
            raise DataError(
                f"{self._path}: {describe(position)} holds {flat[position]}, expected "
                f"{self.expected}{hint}"
            )
        if scale is not Scale.BYTES:
            values = np.rint((values.astype(np.float32) - least) * (255 / (most - least)))
        elif not is_whole and (values != (rounded := np.rint(values))).any():
            self._say_rounding()
            values = rounded
        pixels: NDArray[np.uint8] = values.astype(np.uint8)
        return pixels

    def _say_rounding(self) -> None:
        if not self._said_rounding:
            self._said_rounding = True
            logger.info("%s: its pixels have fractions, rounded to whole numbers", self._path)
