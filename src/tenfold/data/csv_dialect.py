"""How a text file holds its table: separator, header or none, where the rows begin; ARFF, too."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.csv_header import (
    ANY_COLUMNS,
    LABEL,
    ColumnNames,
    CsvSchema,
    column_names,
    is_row_id,
    parse_columns,
    shorten,
)
from tenfold.data.foreign import refuse_foreign
from tenfold.errors import DataError

MAX_HEADER_BYTES = 2**20
_MAX_ARFF_BYTES = 2**24
_N_SAMPLED_LINES, _MAX_SAMPLED_BYTES = 500, 2**16
_MIN_NUMBERED = 10  # fewer numbers in order may well be pixels
_MAX_LABEL = 100  # of a file that does not say which column is the label
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATORS = (b";", b"\t", b"|", b" ")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_PANDAS_REPEATED = re.compile(r"\d+\.\d+", re.ASCII)
_UNNAMED = re.compile(r"(v|x|c|col|column|column_|f|)\d{1,9}", re.ASCII | re.IGNORECASE)
_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a file holds its table.

    Attributes:
        schema: what each column holds.
        start: the byte at which the rows begin.
        first_line: the number of the line there, the first of the file being 1.
        separator: between the values of a row.
    """

    schema: CsvSchema
    start: int
    first_line: int = 2
    separator: bytes = b","

    def to_commas(self, path: Path, rows: bytes) -> bytes:
        """Return whole lines with commas between their values.

        Raises:
            DataError: there are commas in them already, as in 0,5.
        """
        if self.separator == b",":
            return rows
        if b"," in rows:
            line = self.first_line + rows[: rows.index(b",")].count(b"\n")
            raise DataError(
                f"{path}: line {line} holds a comma although {_name(self.separator)} separate its "
                "values, expected numbers such as 0.5, not 0,5"
            )
        if self.separator == b" ":
            return b"\n".join(b",".join(line.split()) for line in rows.split(b"\n"))
        return rows.replace(self.separator, b",")


def find_dialect(path: Path, text: NDArray[np.uint8], wanted: ColumnNames = ANY_COLUMNS) -> Dialect:
    """Return how the table in `text` is written.

    Args:
        path: the file, for messages.
        text: uint8 [B], the file, or the beginning of it.
        wanted: which columns the caller names.

    Raises:
        DataError: it is no table of images, or does not show where its labels are.
    """
    head = text[:MAX_HEADER_BYTES].tobytes()
    refuse_foreign(path, head)
    if _is_arff(head):
        return _arff_dialect(path, text[:_MAX_ARFF_BYTES].tobytes(), wanted)
    if not head.removeprefix(_BYTE_ORDER_MARK):
        raise DataError(f"{path}: is empty, expected a header line and a row for each image")
    line, start, number, separator = _first_line(head)
    line = _with_commas(line, separator)
    if line.startswith(b"#") and b"," in line:
        line = line.lstrip(b"# ")  # numpy.savetxt marks its header as a comment
    names = column_names(path, line)
    n_ids = next((i for i, name in enumerate(names) if not is_row_id(name.casefold())), 0)
    if all(_NUMBER.fullmatch(name) for name in names) and not _is_numbering(names):
        start, number = len(head) - len(head.removeprefix(_BYTE_ORDER_MARK)), 0
        rows = _Rows(path, text, start, separator)
        names = _positional_names(rows, len(names), wanted.label)
        wanted = ColumnNames()
    elif _says_nothing(names[n_ids:]):
        n_columns, ids = len(names), names[:n_ids]
        rows = _Rows(path, text, start, separator)
        names = _positional_names(rows, n_columns, wanted.label, ids)
        wanted = ColumnNames(row_id=wanted.row_id)
    schema = parse_columns(path, names, wanted)
    return Dialect(schema, start, number + 1, separator)


def _first_line(head: bytes) -> tuple[bytes, int, int, bytes]:
    """Return the first line of the table, where it ends, its number, and the separator.

    Comments before it are left out, and a line such as sep=; which Excel writes for itself.
    """
    begin, number, separator = len(head) - len(head.removeprefix(_BYTE_ORDER_MARK)), 1, b","
    while True:
        end = head.find(b"\n", begin) + 1 or len(head)
        line, following = head[begin:end].rstrip(b"\r\n"), head[end:].partition(b"\n")[0]
        is_comment = line.startswith(b"#") and line.count(b",") < following.count(b",")
        if line[:4] == b"sep=":
            separator = line.strip()[-1:]
        elif not is_comment:
            return line, end, number, _find_separator(line, separator)
        begin, number = end, number + 1


def _find_separator(line: bytes, default: bytes) -> bytes:
    """Return what separates the names, or the numbers, in a line."""
    if default != b",":
        return default
    counts = {each: line.strip().count(each) for each in _SEPARATORS}
    if b"," in line or not any(counts.values()):
        return b","
    return max(_SEPARATORS, key=counts.__getitem__)


def _name(separator: bytes) -> str:
    names = {b";": "semicolons", b"\t": "tabs", b"|": "bars", b" ": "spaces"}
    return names.get(separator, repr(separator.decode(errors="replace")))


def _with_commas(line: bytes, separator: bytes) -> bytes:
    if separator == b" ":
        return b",".join(line.split())
    return line if separator == b"," else line.replace(separator, b",")


def _is_numbering(names: Sequence[str]) -> bool:
    """Whether names that are numbers only count the columns, as data frames do by themselves.

    pandas makes them 0, 1, 2, …; and of a first row 0, 0, 0, which it takes for a header, 0, 0.1,
    0.2.
    """
    if len(names) < _MIN_NUMBERED or len(set(names)) < len(names):
        return False
    counted = [str(number) for number in range(len(names) + 1)]
    is_counted = list(names) in (counted[:-1], counted[1:])
    return is_counted or any(
        _PANDAS_REPEATED.fullmatch(name) and name.partition(".")[0] in names and name[-2:] == ".1"
        for name in names
    )


def _says_nothing(names: Sequence[str]) -> bool:
    """Whether the names, of one column more than images have pixels, do not tell the label."""
    n_pixels = len(names) - 1
    if n_pixels < _MIN_NUMBERED - 1 or not _is_square(n_pixels):
        return all(map(_NUMBER.fullmatch, names)) and _is_numbering(names)
    return all(_UNNAMED.fullmatch(name) or _NUMBER.fullmatch(name) is not None for name in names)


def _is_square(count: int) -> bool:
    return math.isqrt(count) ** 2 == count


# Files that do not say which column is the label


@dataclass(frozen=True)
class _Rows:
    """The rows of a file, from `start` on."""

    path: Path
    text: NDArray[np.uint8]
    start: int
    separator: bytes


def _positional_names(
    rows: _Rows, n_columns: int, label: str | None, ids: Sequence[str] = ()
) -> list[str]:
    """Return names for the columns of a file without any: pixels, and the label at one end."""
    path, n_values = rows.path, n_columns - len(ids)
    if _is_square(n_values) and label is None:
        return [*ids, *(f"pixel{number}" for number in range(n_values))]
    pixels = [f"pixel{number}" for number in range(n_values - 1)]
    if not _is_square(len(pixels)):
        raise DataError(
            f"{path}: has no header and {n_columns} columns, expected a square number of pixels "
            "such as 784 = 28 × 28, and one more for labels"
        )
    if label is None:
        label = _find_label_end(rows, len(ids))
    elif label not in {"first", "last"}:
        raise DataError(
            f"{path}: has no header and so no column called {shorten(label)}, expected --label "
            "first or --label last"
        )
    return [*ids, LABEL, *pixels] if label == "first" else [*ids, *pixels, LABEL]


def _find_label_end(rows: _Rows, first: int) -> str:
    """Return "first" or "last": which of the two columns at the ends holds labels.

    Pixels in corners are mostly 0; labels are a few whole numbers.
    """
    ends: tuple[set[float], set[float]] = (set(), set())
    for line in _sample_lines(rows.text, rows.start):
        cells = _with_commas(line.strip(), rows.separator).split(b",")
        for values, cell in zip(ends, (cells[min(first, len(cells) - 1)], cells[-1]), strict=True):
            content = cell.decode(errors="replace").strip(" '\"")
            values.add(float(content) if _NUMBER.fullmatch(content) else np.nan)
    plausible = [
        len(values) > 1 and all(v == v // 1 and -1 <= v <= _MAX_LABEL for v in values)
        for values in ends
    ]
    if plausible == [True, False]:
        return "first"
    if plausible == [False, True]:
        return "last"
    raise DataError(
        f"{rows.path}: has no column called 'label', and does not show whether the first or the "
        "last is it, expected --label first or --label last"
    )


def _sample_lines(text: NDArray[np.uint8], start: int) -> list[bytes]:
    """Return some whole lines from everywhere in the text after `start`."""
    lines = [_line_at(text, start)]
    for position in np.linspace(start, len(text), _N_SAMPLED_LINES, endpoint=False).tolist():
        rest = text[int(position) : int(position) + _MAX_SAMPLED_BYTES] == ord("\n")
        newline = int(position) + int(rest.argmax())
        if rest.any() and newline + 1 < len(text):
            lines.append(_line_at(text, newline + 1))
    return [line for line in lines if line.strip()]


def _line_at(text: NDArray[np.uint8], start: int) -> bytes:
    return text[start : start + MAX_HEADER_BYTES].tobytes().partition(b"\n")[0]


# ARFF


def _is_arff(head: bytes) -> bool:
    for line in head.removeprefix(_BYTE_ORDER_MARK).split(b"\n", 200)[:200]:
        if line.strip() and not line.lstrip().startswith(b"%"):
            return line.lstrip().lower().startswith(b"@relation")
    return False


def _arff_dialect(path: Path, head: bytes, wanted: ColumnNames) -> Dialect:
    """Return the dialect of an ARFF file: its attributes are the header, each in a line.

    https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
    """
    names, nominal, start = [], [], 0
    for line in head.split(b"\n"):
        start += len(line) + 1
        text = line.decode(errors="replace").strip()
        if attribute := _ATTRIBUTE.match(text):
            name = attribute[1].strip("'\"")
            names.append(name)
            nominal += [name] if attribute[2].startswith("{") else []
        if text.lower() == "@data":
            break
    else:
        raise DataError(f"{path}: is ARFF without a line @data, expected one before the rows")
    if not names:
        raise DataError(f"{path}: is ARFF without attributes, expected one for each column")
    if head[start : start + 100].lstrip().startswith(b"{"):
        raise DataError(f"{path}: is sparse ARFF, expected all values of each row")
    if wanted.label is None and len(nominal) == 1:
        wanted = replace(wanted, label=nominal[0])
    header = io.StringIO()
    csv.writer(header, lineterminator="").writerow(names)
    schema = parse_columns(path, column_names(path, header.getvalue().encode()), wanted)
    return Dialect(schema, min(start, len(head)), head[:start].count(b"\n") + 1)
