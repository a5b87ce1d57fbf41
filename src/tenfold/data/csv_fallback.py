"""Read any Kaggle CSV line by line: slow, tolerant of formats, strict about values.

Quotes, spaces around numbers, '+5', '5.0' and pixels on another scale are accepted, and every
error in a file gets its message here. `csv_fast` reads the common case and leaves everything else
to this module.
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.csv_header import CsvSchema
from tenfold.data.pixels import PixelConverter, Scale
from tenfold.errors import DataError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MISSING_VALUES = frozenset({"", "nan", "na", "n/a", "null", "none"})
_MAX_CELL_LENGTH = 40
_MAX_KNOWN_CELLS = 2**20  # of fractions there may be as many as pixels


@dataclass(frozen=True)
class LineRange:
    """Which lines of a file some text holds.

    Attributes:
        first: number of the first line; the header is line 1.
        to_end: whether the text ends with the file; then blank lines may follow.
    """

    first: int = 2
    to_end: bool = True


ALL_LINES = LineRange()


class RowIdChecker:
    """Checks that row ids count up by one, through all chunks of a file.

    A submission numbers its predictions in the order of the rows, so ids in another order would
    be wrong there. The first row that is checked decides where each column starts.
    """

    def __init__(self, path: Path, schema: CsvSchema) -> None:
        self._path = path
        self._schema = schema
        self._offsets: dict[int, int] = {}  # by column: its ids minus the line numbers

    def check(self, line: int, cells: Sequence[str]) -> None:
        """Check the ids in the `cells` of one line.

        Raises:
            DataError: an id is not a whole number, or does not follow from the first one.
        """
        for column in self._schema.checked_row_ids:
            row_id = _parse_integer(cells[column])
            expected = "a whole number that counts the rows; --id takes a column of names"
            if row_id is not None:
                expected_id = line + self._offsets.setdefault(column, row_id - line)
                if row_id == expected_id:
                    continue
                expected = f"{expected_id}: predictions are numbered in the order of the rows"
            raise _cell_error(
                self._path, self._schema, line, column, cells[column], expected=expected
            )


class FallbackReader:
    """Reads the rows of one file; the first error in file order is the one it raises."""

    def __init__(
        self,
        path: Path,
        text: bytes,
        schema: CsvSchema,
        classes: tuple[str, ...] | None = None,
        lines: LineRange = ALL_LINES,
        *,
        row_ids: RowIdChecker | None = None,
        converter: PixelConverter | None = None,
    ) -> None:
        """Prepare to read `text`, all that follows the header line or a chunk of it.

        Args:
            path: the file, for messages.
            text: whole lines.
            schema: what each column holds. The label column is read if there is one.
            classes: the labels allowed; None allows every whole number.
            lines: which lines of the file the text holds.
            row_ids: the checker of the whole file, if the text is a chunk of it.
            converter: of the pixels of the whole file, likewise.
        """
        self._path = path
        self._converter = converter or PixelConverter(path)
        self._schema = schema
        self._classes = classes
        self._cut_short = not text.endswith(b"\n")
        self._first = lines.first
        self._lines = (text.rstrip() if lines.to_end else text.removesuffix(b"\n")).split(b"\n")
        self._pixel_columns = schema.pixels.tolist()
        # Each distinct cell is parsed once; nearly all cells then cost one dictionary lookup.
        self._pixel_values: dict[str, int] = {}
        self._label_values: dict[str, int] = {}
        self._row_ids = row_ids or RowIdChecker(path, schema)

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        """Return pixels, uint8 [N, P] in the schema's order, and labels, int64 [N] or None.

        Raises:
            DataError: the first error, with line, column, what was found and expected.
        """
        if self._lines == [b""]:
            raise DataError(f"{self._path}: has a header and no rows, expected at least one image")
        self._find_scale()
        if self._converter.scale in {None, Scale.BYTES}:
            self._pixel_values = {str(value): value for value in range(256)}
        pixels = bytearray()
        labels = []
        for line, cells in self._split_lines():
            self._row_ids.check(line, cells)
            self._check_blanks(line, cells)
            try:
                row = bytes([self._pixel_values[cells[column]] for column in self._pixel_columns])
            except KeyError:
                row = None
            label = None if self._schema.label is None else cells[self._schema.label]
            if row is None or (label is not None and label not in self._label_values):
                self._parse_new_cells(line, cells)
                row = bytes([self._pixel_values[cells[column]] for column in self._pixel_columns])
            pixels += row
            if label is not None:
                labels.append(self._label_values[label])
        images = np.frombuffer(pixels, np.uint8).reshape(-1, len(self._pixel_columns))
        return images, None if self._schema.label is None else np.array(labels, dtype=np.int64)

    def _split_lines(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each line, the header being 1, and its cells."""
        expected = len(self._schema.columns)
        for number, line in enumerate(self._lines, start=self._first):
            cells = self._split_cells(number, line.rstrip(b"\r"))
            is_last = number == self._first + len(self._lines) - 1
            if is_last and self._cut_short and (len(cells) < expected or not cells[-1].strip()):
                raise DataError(
                    f"{self._path}: the file ends in the middle of line {number} "
                    f"({len(cells)} of {expected} values, no line end), "
                    "expected whole rows: download or copy it again"
                )
            if not line.strip():
                raise DataError(f"{self._path}: line {number} is blank, expected {expected} values")
            if len(cells) != expected:
                raise DataError(
                    f"{self._path}: line {number} has {len(cells)} values, "
                    f"expected {expected} as in the header"
                )
            yield number, cells

    def _split_cells(self, number: int, line: bytes) -> list[str]:
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
                f"expected {len(self._schema.columns)} values separated by commas"
            ) from error

    def _parse_new_cells(self, line: int, cells: list[str]) -> None:
        """Parse every cell of a line that is not known yet, from left to right."""
        if len(self._pixel_values) > _MAX_KNOWN_CELLS:
            self._pixel_values.clear()
        pixel_columns = set(self._pixel_columns)
        for column, cell in enumerate(cells):
            if column == self._schema.label and cell not in self._label_values:
                self._label_values[cell] = self._parse_label(line, column, cell)
            elif column in pixel_columns and cell not in self._pixel_values:
                self._pixel_values[cell] = self._parse_pixel(line, column, cell)

    def _parse_label(self, line: int, column: int, cell: str) -> int:
        value = _parse_integer(cell.strip().strip("'"))  # OpenML quotes its classes so
        if value is None:
            raise self._cell_error(line, column, cell, "a whole number as label")
        if self._classes is not None and str(value) not in self._classes:
            expected = f"one of the labels {', '.join(self._classes)}"
            raise self._cell_error(line, column, cell, expected)
        return value

    def _parse_pixel(self, line: int, column: int, cell: str) -> int:
        value = _parse_number(cell)
        pixel = None if value is None else self._converter.to_byte(value)
        if pixel is None:
            expected = self._converter.expected
            if value is not None and -10 < value < 0 and not value.is_integer():
                expected += "; if they are standardised, give the pixels as they were before"
            raise self._cell_error(line, column, cell, expected)
        return pixel

    def _check_blanks(self, line: int, cells: list[str]) -> None:
        for column in self._schema.blank:
            if cells[column].strip():
                expected = "nothing in a last column without a name"
                raise self._cell_error(line, column, cells[column], expected)

    def _cell_error(self, line: int, column: int, cell: str, expected: str) -> DataError:
        return _cell_error(self._path, self._schema, line, column, cell, expected=expected)

    def _find_scale(self) -> None:
        """Let the range of all pixels in these lines decide their scale, unless it is known."""
        if self._converter.scale is not None:
            return
        other_columns = sorted(set(range(len(self._schema.columns))) - set(self._pixel_columns))
        checked: set[str] = set()
        low, high, is_whole = 0.0, 0.0, True
        for line in self._lines:
            cells = line.decode(errors="replace").split(",")
            for column in reversed(other_columns):
                del cells[column : column + 1]
            for cell in set(cells) - checked:
                value = _parse_number(cell.strip(' "\r'))
                if value is not None:
                    low, high = min(low, value), max(high, value)
                    is_whole = is_whole and "." not in cell and "e" not in cell.casefold()
            if low < -1 or high > 1:
                break
            checked.update(cells)
            if len(checked) > _MAX_KNOWN_CELLS:
                checked.clear()
        self._converter.decide(low, high, is_whole=is_whole)


def _parse_number(cell: str) -> float | None:
    """Return the finite number in `cell`, or None if it holds none."""
    text = cell.strip()
    if len(text) > _MAX_CELL_LENGTH or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _parse_integer(cell: str) -> int | None:
    """Return the whole number in `cell`, or None if it holds none that a float holds exactly."""
    value = _parse_number(cell)
    if value is None or not value.is_integer() or abs(value) >= 2**53:
        return None
    return int(value)


def _cell_error(
    path: Path, schema: CsvSchema, line: int, column: int, cell: str, *, expected: str
) -> DataError:
    """Return the error about one cell: where it is, what it holds and what was expected."""
    found = cell.strip()
    shown = repr(found)
    if len(found) > _MAX_CELL_LENGTH:
        shown = f"{found[:_MAX_CELL_LENGTH]!r}…"
    problem = f"is blank ({shown})" if found.casefold() in _MISSING_VALUES else f"holds {shown}"
    return DataError(
        f"{path}: line {line}, column {schema.columns[column]!r} {problem}, expected {expected}"
    )
