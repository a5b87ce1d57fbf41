"""The first line of a Kaggle CSV: which column is the label, and where each pixel goes."""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

LABEL = "label"
ROW_NUMBERS = frozenset({"imageid", "id", "index", ""})
_NUMBERED_PIXEL = re.compile(r"pixel(\d{1,9})", re.ASCII | re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"[+-]?\d*\.?\d+", re.ASCII)


@dataclass(frozen=True)
class CsvSchema:
    """Where in a row each thing stands.

    Attributes:
        names: every column's name, trimmed, in file order.
        label: position of the label column, or None.
        pixels: int64 [S·S], the positions of the pixel columns, top left pixel first.
        ignored: positions of columns that only number the rows.
    """

    names: tuple[str, ...]
    label: int | None
    pixels: NDArray[np.int64]
    ignored: tuple[int, ...]

    @property
    def image_size(self) -> int:
        """Height and width of each image."""
        return math.isqrt(len(self.pixels))

    @property
    def counting(self) -> tuple[int, ...]:
        """Those of `ignored` that must count up by one: answers go by the order of the rows.

        Where a label stands in each row, their order means nothing.
        """
        return self.ignored if self.label is None else ()


def layout(path: Path, line: bytes) -> CsvSchema:
    """Understand the header `line` of the file `path`.

    Raises:
        DataError: it is not text, not a header, or its pixels do not make a square.
    """
    names = _names(path, line)
    keys = [name.casefold() for name in names]
    labels = [column for column, key in enumerate(keys) if key == LABEL]
    if len(labels) > 1:
        places = " and ".join(str(column + 1) for column in labels)
        raise DataError(
            f"{path}: line 1, columns {places} are all called 'label', expected one such column"
        )
    ignored = tuple(
        column
        for column, key in enumerate(keys)
        if key in ROW_NUMBERS and keys.count(key) == 1 and key != LABEL
    )
    pixels = [column for column in range(len(names)) if column not in {*labels, *ignored}]
    _check_unique(path, [names[column] for column in pixels])
    order = _order(path, [names[column] for column in pixels])
    if not pixels or math.isqrt(len(pixels)) ** 2 != len(pixels):
        raise DataError(
            f"{path}: line 1 names {len(pixels)} pixel columns, "
            "expected a square number of them such as 784 = 28 × 28"
        )
    return CsvSchema(
        names=tuple(names),
        label=labels[0] if labels else None,
        pixels=np.array(pixels, dtype=np.int64)[order],
        ignored=ignored,
    )


def _names(path: Path, line: bytes) -> list[str]:
    if b"\0" in line:
        raise DataError(f"{path}: line 1 holds NUL bytes, expected CSV text, not a binary file")
    try:
        text = line.decode()
        names = [name.strip() for name in next(csv.reader([text], strict=True), [])]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: line 1 holds the byte 0x{line[error.start]:02x}, "
            "expected CSV text in UTF-8, not a binary file"
        ) from error
    except csv.Error as error:
        raise DataError(f"{path}: line 1 is not CSV ({error}), expected column names") from error
    if not any(names):
        raise DataError(f"{path}: line 1 is blank, expected column names: label,pixel0,…")
    if all(_PLAIN_NUMBER.fullmatch(name) for name in names):
        raise DataError(
            f"{path}: line 1 holds numbers, expected a header with column names: label,pixel0,…"
        )
    for other, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and other in text:
            raise DataError(f"{path}: line 1 is separated by {called}, expected commas")
    return names


def _check_unique(path: Path, names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        if name.casefold() in seen:
            raise DataError(
                f"{path}: line 1 names the column {name!r} twice, expected each name once"
            )
        seen.add(name.casefold())


def _order(path: Path, names: Sequence[str]) -> NDArray[np.int64]:
    """Return int64 [P]: the order that puts pixelK names by K; file order for other names."""
    matches = [_NUMBERED_PIXEL.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    if not numbers:
        return np.arange(len(names))
    if len(numbers) < len(names):
        stranger = names[matches.index(None)]
        raise DataError(
            f"{path}: line 1, column {stranger!r} is neither the label nor a pixel, "
            "expected pixel0, pixel1, …"
        )
    first = min(*numbers, 1)  # MNIST counts from pixel0, some of its relatives from pixel1
    expected = range(first, first + len(numbers))
    if missing := sorted(set(expected) - set(numbers)):
        raise DataError(
            f"{path}: line 1 has no column 'pixel{missing[0]}', "
            f"expected all of pixel{first} … pixel{max(numbers)}"
        )
    return np.argsort(numbers)
