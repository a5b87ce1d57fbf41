"""Parse the header of a table: which column is the label, and where each pixel goes."""

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

LABEL = "label"
# Names that other datasets give it: OpenML, scikit-learn, spreadsheets.
OTHER_LABELS = ("labels", "class", "target", "digit", "y", "character", "species")
ROW_IDS = frozenset({"imageid", "image_id", "id", "idx", "index", ""})
MAX_COLUMNS = 2**20
MAX_SHOWN = 40  # characters of a name in a message
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PANDAS_INDEX = re.compile(r"unnamed: \d{1,9}(\.\d{1,9})?|__index_level_\d{1,9}__", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_PIXEL_NAME = re.compile(r"pixel.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class ColumnNames:
    """Which columns a caller names.

    Attributes:
        label: the label column, or "first" or "last"; None finds one called "label", or by another
            usual name, such as "class", where only that column is no pixel.
        row_id: a column that names the rows, in any order; None for none.
    """

    label: str | None = None
    row_id: str | None = None


ANY_COLUMNS = ColumnNames()


@dataclass(frozen=True)
class CsvSchema:
    """What each column of a file holds.

    Attributes:
        columns: the name of every column, stripped, in file order.
        label: position of the label column, or None.
        pixels: int64 [S·S], positions of the pixel columns, top left pixel first.
        row_ids: positions of the columns that only number the rows.
        blank: position of a column without a name at the end of each line, which holds nothing.
        row_name: position of the column that names the rows, if the caller named one.
    """

    columns: tuple[str, ...]
    label: int | None
    pixels: NDArray[np.int64]
    row_ids: tuple[int, ...]
    blank: tuple[int, ...] = ()
    row_name: int | None = None

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


def parse_header(path: Path, line: bytes, wanted: ColumnNames = ANY_COLUMNS) -> CsvSchema:
    """Parse the first `line` of the file `path`.

    Args:
        path: the file, for messages.
        line: the names of the columns, as CSV.
        wanted: which columns the caller names.

    Raises:
        DataError: it is missing, not text, not a header, or its pixels do not make a square.
    """
    line = line.removeprefix(_BYTE_ORDER_MARK)
    if not line:
        raise DataError(f"{path}: is empty, expected a header line and a row for each image")
    return parse_columns(path, column_names(path, line), wanted)


def parse_columns(
    path: Path, columns: Sequence[str], wanted: ColumnNames = ANY_COLUMNS
) -> CsvSchema:
    """Return what each of the named columns holds; see `parse_header`."""
    if len(columns) > MAX_COLUMNS:
        raise DataError(f"{path}: has {len(columns):,} columns, expected at most {MAX_COLUMNS:,}")
    keys = [name.casefold() for name in columns]
    blank = (len(keys) - 1,) if keys[-1] == "" and len(keys) > 1 else ()
    named = range(len(keys) - len(blank))
    if len(columns) == 1:
        raise DataError(
            f"{path}: line 1 is {shorten(columns[0])}, expected the names of several columns: "
            "label,pixel0,…"
        )
    label_column = _find_label(path, columns, wanted.label)
    row_name = None
    if wanted.row_id is not None:
        row_name = _find_named(path, columns, wanted.row_id, "--id")
    counts = Counter(keys[column] for column in named)
    row_ids = tuple(
        column
        for column in named
        if column not in {label_column, row_name}
        and counts[keys[column]] == 1
        and is_row_id(keys[column])
    )
    others = {label_column, row_name, *row_ids}
    pixels = [column for column in named if column not in others]
    _check_unique(path, [columns[column] for column in pixels])
    order = _pixel_order(path, [columns[column] for column in pixels])
    if len(pixels) < 4 or math.isqrt(len(pixels)) ** 2 != len(pixels):
        raise DataError(_not_square(path, len(pixels)))
    return CsvSchema(
        columns=tuple(columns),
        label=label_column,
        pixels=np.array(pixels, dtype=np.int64)[order],
        row_ids=row_ids,
        blank=blank,
        row_name=row_name,
    )


def is_row_id(key: str) -> bool:
    """Whether a column of this name, in lower case, only numbers the rows."""
    return key in ROW_IDS or _PANDAS_INDEX.fullmatch(key) is not None


def shorten(name: str) -> str:
    """Return a name in quotes for a message, however long it is."""
    return repr(name) if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]!r}…"


def _not_square(path: Path, count: int) -> str:
    expected = "expected a square number of them such as 784 = 28 × 28"
    found = f"{path}: line 1 names {count} pixel columns"
    if count in {254, 255}:
        return f"{found}, {expected}: old spreadsheets keep no more than 256 columns"
    for channels in (3, 4):
        if count % channels == 0 and count > channels and _is_square(count // channels):
            side = math.isqrt(count // channels)
            return f"{found}, {side} × {side} × {channels} as of colour images, {expected}"
    if count <= 1:
        expected += "; is this a file of labels alone?"
    return f"{found}, {expected}"


def _is_square(count: int) -> bool:
    return math.isqrt(count) ** 2 == count


def _find_label(path: Path, columns: Sequence[str], label: str | None) -> int | None:
    """Return the position of the label column; see `ColumnNames`."""
    keys = [name.casefold() for name in columns]
    if label in {"first", "last"} and label not in keys:
        return 0 if label == "first" else len(columns) - (not columns[-1]) - 1
    if label is not None or LABEL in keys:
        return _find_named(path, columns, label or LABEL, "--label")
    others = [column for column, key in enumerate(keys) if key in OTHER_LABELS]
    n_pixels = sum(not is_row_id(key) for key in keys) - 1
    return others[0] if len(others) == 1 and _is_square(n_pixels) else None


def _find_named(path: Path, columns: Sequence[str], name: str, option: str) -> int:
    """Return the position of the one column of this name."""
    found = [
        column for column, each in enumerate(columns) if each.casefold() == name.strip().casefold()
    ]
    if not found:
        raise DataError(
            f"{path}: line 1 has no column called {shorten(name)} among its {len(columns)}, "
            f"expected the one that {option} names"
        )
    if len(found) > 1:
        positions = " and ".join(str(column + 1) for column in found[:2])
        raise DataError(
            f"{path}: line 1, columns {positions} are all called {shorten(name)}, expected one "
            "such column"
        )
    return found[0]


def column_names(path: Path, line: bytes) -> list[str]:
    """Return the cells of a line of CSV, stripped.

    Raises:
        DataError: it is not CSV, or blank.
    """
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
    return columns


def _check_unique(path: Path, columns: Sequence[str]) -> None:
    seen = set()
    for name in columns:
        if name.casefold() in seen:
            raise DataError(
                f"{path}: line 1 names the column {shorten(name)} twice, expected each name once"
            )
        seen.add(name.casefold())


def _pixel_order(path: Path, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return int64 [P]: the order by the numbers in the names, or the file's for other names.

    Names that differ in their numbers alone are in the order of these: pixel0, pixel1, …, or 1x1,
    1x2, …, 2x1, whatever order a tool sorted the columns into.
    """
    families = [_NUMBER.sub("#", name.casefold()) for name in columns]
    family, size = Counter(families).most_common(1)[0] if families else ("", 0)
    is_family = "#" in family and size > len(columns) // 2
    strays = [name for name, own in zip(columns, families, strict=True) if own != family]
    if strays and (is_family or any(own == "pixel#" for own in families)):
        if len({_NUMBER.sub("#", name) for name in strays}) == 1 < len(strays):
            raise DataError(
                f"{path}: line 1 has {len(strays)} columns such as {shorten(strays[0])} beside the "
                "pixels, expected one column of labels, not one for each class"
            )
        raise DataError(
            f"{path}: line 1, column {shorten(strays[0])} is neither the label nor a pixel, "
            "expected pixel0, pixel1, …; --label names the label column"
        )
    if not is_family:
        return np.arange(len(columns))
    numbers = [tuple(map(int, _NUMBER.findall(name))) for name in columns]
    if len(numbers[0]) == 1:
        _check_complete(path, family, [each for (each,) in numbers])
    elif len(numbers[0]) == 2:
        _check_grid(path, family, numbers)
    return np.array(sorted(range(len(columns)), key=numbers.__getitem__), np.int64)


def _check_complete(path: Path, family: str, numbers: Sequence[int]) -> None:
    first = min(*numbers, 1) if len(numbers) > 1 else 0  # MNIST starts at pixel0, others at pixel1
    if family != "pixel#" and min(numbers) <= 2:
        first = min(numbers)  # R's V2 … V785 after the label, V1
    expected = range(first, first + len(numbers))
    if missing := sorted(set(expected) - set(numbers)):
        names = [family.replace("#", str(each)) for each in (missing[0], first, max(numbers))]
        raise DataError(
            f"{path}: line 1 has no column {names[0]!r}, expected all of {names[1]} … {names[2]}"
        )


def _check_grid(path: Path, family: str, numbers: Sequence[tuple[int, ...]]) -> None:
    """Check that the names count rows and columns of one square, each place once."""
    side = math.isqrt(len(numbers))
    places = set(numbers)
    row, column = (min(each[axis] for each in numbers) for axis in (0, 1))
    for place in ((row + i // side, column + i % side) for i in range(side * side)):
        if place not in places and side * side == len(numbers):
            name = family.replace("#", str(place[0]), 1).replace("#", str(place[1]), 1)
            raise DataError(
                f"{path}: line 1 has no column {name!r}, expected one for each row and column of "
                f"{side} × {side} pixels"
            )
