"""Parse the header of a Kaggle CSV: which column is the label, and where each pixel goes."""

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
ROW_IDS = frozenset({"imageid", "id", "index", ""})
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NUMBERED_PIXEL = re.compile(r"pixel(\d{1,9})", re.ASCII | re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"[+-]?\d*\.?\d+", re.ASCII)


@dataclass(frozen=True)
class CsvSchema:
    """What each column of a file holds.

    Attributes:
        columns: the name of every column, stripped, in file order.
        label: position of the label column, or None.
        pixels: int64 [S·S], positions of the pixel columns, top left pixel first.
        row_ids: positions of the columns that only number the rows.
    """

    columns: tuple[str, ...]
    label: int | None
    pixels: NDArray[np.int64]
    row_ids: tuple[int, ...]

    @property
    def image_size(self) -> int:
        """Height and width of each image."""
        return math.isqrt(len(self.pixels))

    @property
    def checked_row_ids(self) -> tuple[int, ...]:
        """Those of `row_ids` that must count up by one: a submission numbers rows in file order.

        With a label in each row their order means nothing, and none is checked.
        """
        return self.row_ids if self.label is None else ()


def parse_header(path: Path, line: bytes) -> CsvSchema:
    """Parse the first `line` of the file `path`.

    Raises:
        DataError: it is missing, not text, not a header, or its pixels do not make a square.
    """
    line = line.removeprefix(_BYTE_ORDER_MARK)
    if not line:
        raise DataError(f"{path}: is empty, expected a header line and a row for each image")
    columns = _column_names(path, line)
    keys = [name.casefold() for name in columns]
    labels = [column for column, key in enumerate(keys) if key == LABEL]
    if len(labels) > 1:
        found = " and ".join(str(column + 1) for column in labels)
        raise DataError(
            f"{path}: line 1, columns {found} are all called 'label', expected one such column"
        )
    row_ids = tuple(
        column
        for column, key in enumerate(keys)
        if key in ROW_IDS and keys.count(key) == 1 and key != LABEL
    )
    pixels = [column for column in range(len(columns)) if column not in {*labels, *row_ids}]
    _check_unique(path, [columns[column] for column in pixels])
    order = _pixel_order(path, [columns[column] for column in pixels])
    if not pixels or math.isqrt(len(pixels)) ** 2 != len(pixels):
        raise DataError(
            f"{path}: line 1 names {len(pixels)} pixel columns, "
            "expected a square number of them such as 784 = 28 × 28"
        )
    return CsvSchema(
        columns=tuple(columns),
        label=labels[0] if labels else None,
        pixels=np.array(pixels, dtype=np.int64)[order],
        row_ids=row_ids,
    )


def _column_names(path: Path, line: bytes) -> list[str]:
    if b"\0" in line:
        raise DataError(f"{path}: line 1 holds NUL bytes, expected CSV text, not a binary file")
    try:
        text = line.decode()
        columns = [name.strip() for name in next(csv.reader([text], strict=True), [])]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: line 1 holds the byte 0x{line[error.start]:02x}, "
            "expected CSV text in UTF-8, not a binary file"
        ) from error
    except csv.Error as error:
        raise DataError(f"{path}: line 1 is not CSV ({error}), expected column names") from error
    if not any(columns):
        raise DataError(f"{path}: line 1 is blank, expected column names: label,pixel0,…")
    if all(_PLAIN_NUMBER.fullmatch(name) for name in columns):
        raise DataError(
            f"{path}: line 1 holds numbers, expected a header with column names: label,pixel0,…"
        )
    for separator, plural in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and separator in text:
            raise DataError(f"{path}: line 1 is separated by {plural}, expected commas")
    return columns


def _check_unique(path: Path, columns: Sequence[str]) -> None:
    seen = set()
    for name in columns:
        if name.casefold() in seen:
            raise DataError(
                f"{path}: line 1 names the column {name!r} twice, expected each name once"
            )
        seen.add(name.casefold())


def _pixel_order(path: Path, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return int64 [P]: the order by K of columns pixelK, the file's order for other names."""
    matches = [_NUMBERED_PIXEL.fullmatch(name) for name in columns]
    numbers = [int(match[1]) for match in matches if match]
    if not numbers:
        return np.arange(len(columns))
    if len(numbers) < len(columns):
        unexpected = columns[matches.index(None)]
        raise DataError(
            f"{path}: line 1, column {unexpected!r} is neither the label nor a pixel, "
            "expected pixel0, pixel1, …"
        )
    first = min(*numbers, 1)  # MNIST starts at pixel0, some similar datasets at pixel1
    expected = range(first, first + len(numbers))
    if missing := sorted(set(expected) - set(numbers)):
        raise DataError(
            f"{path}: line 1 has no column 'pixel{missing[0]}', "
            f"expected all of pixel{first} … pixel{max(numbers)}"
        )
    return np.argsort(numbers)
