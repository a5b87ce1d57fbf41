"""Any Kaggle CSV, read one line at a time: slowly, leniently in form, strictly in value.

It accepts quotes, spaces around numbers, '+5' and '5.0', and it is where each thing wrong with
a file gets its sentence. `csv_fast` reads the common case; what that declines comes here.
"""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tenfold.data.csv_header import CsvSchema
from tenfold.errors import DataError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BLANKS = frozenset({"", "nan", "na", "n/a", "null", "none"})
_LONGEST_CELL = 40
_PIXEL = "a whole number from 0 to 255"


@dataclass(frozen=True)
class Lines:
    """Which lines of a file are read.

    Attributes:
        first: number of the first, counted from 1 for the header.
        to_the_end: whether the file ends with them; then blank lines may follow.
    """

    first: int = 2
    to_the_end: bool = True


ALL_LINES = Lines()


class FallbackReader:
    """Reads the rows of one file; the first thing wrong, in file order, is what it raises."""

    def __init__(
        self,
        path: Path,
        rows: bytes,
        layout: CsvSchema,
        classes: tuple[str, ...] | None = None,
        where: Lines = ALL_LINES,
        *,
        counts: dict[int, int] | None = None,
    ) -> None:
        """Prepare to read `rows`, what follows the header line or a piece of it.

        Args:
            path: the file's name, for messages.
            rows: whole lines.
            layout: what the header says. Its label column is read if it has one.
            classes: the labels allowed; None allows every whole number.
            where: which lines of the file they are.
            counts: what each column that counts the rows is ahead of the line numbers, by its
                position. The first row read says it; kept from piece to piece of a file.
        """
        self._path = path
        self._layout = layout
        self._classes = classes
        self._cut_short = not rows.endswith(b"\n")
        self._first = where.first
        self._lines = (rows.rstrip() if where.to_the_end else rows.removesuffix(b"\n")).split(b"\n")
        self._pixel_columns = layout.pixels.tolist()
        # Each spelling is understood once; nearly all cells then cost one look-up.
        self._pixels = {str(value): value for value in range(256)}
        self._labels: dict[str, int] = {}
        self._counts = {} if counts is None else counts

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        """Return pixels, uint8 [N, P] in the layout's order, and label values, int64 [N] or None.

        Raises:
            DataError: the first problem, with line, column, what was found and expected.
        """
        if self._lines == [b""]:
            raise DataError(f"{self._path}: has a header and no rows, expected at least one image")
        pixels = bytearray()
        labels = []
        for number, cells in self._rows():
            for column in self._layout.counting:
                self._check_count(number, column, cells[column])
            try:
                row = bytes([self._pixels[cells[column]] for column in self._pixel_columns])
            except KeyError:
                row = None
            label = None if self._layout.label is None else cells[self._layout.label]
            if row is None or (label is not None and label not in self._labels):
                self._learn(number, cells)
                row = bytes([self._pixels[cells[column]] for column in self._pixel_columns])
            pixels += row
            if label is not None:
                labels.append(self._labels[label])
        images = np.frombuffer(pixels, np.uint8).reshape(-1, len(self._pixel_columns))
        return images, None if self._layout.label is None else np.array(labels, dtype=np.int64)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each line's number, counted from 1 for the header, and its cells."""
        expected = len(self._layout.names)
        for number, line in enumerate(self._lines, start=self._first):
            cells = self._cells(number, line.rstrip(b"\r"))
            is_last = number == self._first + len(self._lines) - 1
            if is_last and self._cut_short and (len(cells) < expected or not cells[-1].strip()):
                raise DataError(
                    f"{self._path}: the file ends in the middle of line {number} "
                    f"({len(cells)} of {expected} values, no line end), "
                    "expected whole rows: fetch or copy it again"
                )
            if not line.strip():
                raise DataError(f"{self._path}: line {number} is blank, expected {expected} values")
            if len(cells) != expected:
                raise DataError(
                    f"{self._path}: line {number} has {len(cells)} values, "
                    f"expected {expected} as in the header"
                )
            yield number, cells

    def _cells(self, number: int, line: bytes) -> list[str]:
        if b"\0" in line:
            raise DataError(
                f"{self._path}: line {number} holds NUL bytes, expected CSV text, not binary data"
            )
        try:
            text = line.decode()
            return next(csv.reader([text], strict=True, skipinitialspace=True), [""])
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._path}: line {number} holds the byte 0x{line[error.start]:02x}, "
                "expected CSV text in UTF-8"
            ) from error
        except csv.Error as error:
            raise DataError(
                f"{self._path}: line {number} is not CSV ({error}), "
                f"expected {len(self._layout.names)} values joined by commas"
            ) from error

    def _learn(self, number: int, cells: list[str]) -> None:
        """Understand every new spelling in a row, from left to right, or raise at the first."""
        pixel_columns = set(self._pixel_columns)
        for column, cell in enumerate(cells):
            if column == self._layout.label and cell not in self._labels:
                self._labels[cell] = self._label(number, column, cell)
            elif column in pixel_columns and cell not in self._pixels:
                self._pixels[cell] = self._pixel(number, column, cell)

    def _check_count(self, number: int, column: int, cell: str) -> None:
        value = _value(cell)
        if value is None or not value.is_integer() or abs(value) >= 2**53:
            self._refuse(number, column, cell, "a whole number that counts the rows")
        expected = number + self._counts.setdefault(column, int(value) - number)
        if value != expected:
            self._refuse(
                number, column, cell, f"{expected}: answers are numbered in the order of the rows"
            )

    def _label(self, number: int, column: int, cell: str) -> int:
        value = _value(cell)
        if value is None or not value.is_integer() or abs(value) >= 2**53:
            self._refuse(number, column, cell, "a whole number as label")
        if self._classes is not None and str(int(value)) not in self._classes:
            self._refuse(number, column, cell, f"one of the labels {', '.join(self._classes)}")
        return int(value)

    def _pixel(self, number: int, column: int, cell: str) -> int:
        value = _value(cell)
        if value is not None and 0 < value < 1 and self._is_scaled():
            raise DataError(
                f"{self._path}: line {number}, column {self._layout.names[column]!r} "
                f"holds {cell.strip()!r} and no pixel is above 1, expected {_PIXEL}: "
                "the pixels are scaled to 0–1, multiply them by 255"
            )
        if value is None or not value.is_integer() or not 0 <= value <= 255:
            self._refuse(number, column, cell, _PIXEL)
        return int(value)

    def _refuse(self, number: int, column: int, cell: str, expected: str) -> NoReturn:
        found = cell.strip()
        shown = repr(found) if len(found) <= _LONGEST_CELL else f"{found[:_LONGEST_CELL]!r}…"
        what = f"is blank ({shown})" if found.casefold() in _BLANKS else f"holds {shown}"
        raise DataError(
            f"{self._path}: line {number}, column {self._layout.names[column]!r} {what}, "
            f"expected {expected}"
        )

    def _is_scaled(self) -> bool:
        """Tell whether every number among the pixels, in the whole file, is from 0 to 1."""
        others = sorted(set(range(len(self._layout.names))) - set(self._pixel_columns))
        harmless: set[str] = set()
        for line in self._lines:
            cells = line.decode(errors="replace").split(",")
            for column in reversed(others):
                del cells[column : column + 1]
            for cell in set(cells) - harmless:
                value = _value(cell.strip(' "\r'))
                if value is not None and not 0 <= value <= 1:
                    return False
                harmless.add(cell)
        return True


def _value(cell: str) -> float | None:
    """Return the number that `cell` spells, or None where it spells none."""
    text = cell.strip()
    if len(text) > _LONGEST_CELL or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
