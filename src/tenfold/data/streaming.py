"""Files of any length, a piece of them in memory at a time: CSV, packed CSV, Parquet.

What a row may hold is decided where whole files are read, in `kaggle`; here the file is cut at line
ends, and each piece read like a small file with the same header.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.compression import opened
from tenfold.data.csv import LONGEST_HEADER_BYTES, header_of, rows, scaled, without_label
from tenfold.data.csv_fallback import Lines
from tenfold.data.csv_header import CsvSchema, layout
from tenfold.data.dataset import Dataset, dataset_name
from tenfold.errors import DataError
from tenfold.files import os_error_message

BYTES_AT_ONCE = 16 * 2**20  # of CSV: some 9,000 digits
ROWS_AT_ONCE = 8192  # of Parquet
_PARQUET = b"PAR1"

Note = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A piece of a file: the lines that begin in these bytes, or these row groups.

    Attributes:
        start: the first.
        end: the one behind the last; None is the end of the file.
    """

    start: int = 0
    end: int | None = None


WHOLE = Part()


def parts(path: Path, count: int) -> list[Part]:
    """Divide a file into at most `count` parts of about equal length.

    A packed file is one part: nobody can begin in the middle of it.

    Raises:
        DataError: the file cannot be read.
    """
    if is_parquet(path):
        groups = _parquet(path).num_row_groups
        cuts = np.linspace(0, groups, min(count, groups) + 1).astype(int)
        return [Part(int(a), int(b)) for a, b in pairwise(cuts)]
    with opened(path) as stream:
        size = path.stat().st_size if isinstance(stream, io.BufferedReader) else 0
    cuts = np.linspace(0, size, max(1, min(count, size // BYTES_AT_ONCE)) + 1).astype(int)
    whole = [Part(int(a), int(b)) for a, b in pairwise(cuts)]
    return [*whole[:-1], Part(whole[-1].start, None)]


def chunks(path: Path, part: Part = WHOLE, on_note: Note = lambda _: None) -> Iterator[Dataset]:
    """Read a file of unlabelled images piece by piece.

    Args:
        path: CSV, plain, .gz or .zip, or Parquet with the same columns.
        part: which part of it, as `parts` cut it.
        on_note: is called with one sentence for each column left out.

    Yields:
        Datasets named after the file, of some thousand images each.

    Raises:
        DataError: the first thing in the file that is not as it should be; where all pixels are
            from 0 to 1, that is known only at the end.
    """
    read = _parquet_chunks if is_parquet(path) else _csv_chunks
    brightest = 0
    for images in read(path, part, on_note):
        brightest = max(brightest, int(images.max()))
        yield Dataset(images, name=dataset_name(path))
    if brightest == 1:
        raise scaled(path)


def is_parquet(path: Path) -> bool:
    """Tell by the first bytes of a file whether it is Parquet."""
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({os_error_message(error)}), expected a file"
        ) from error


# CSV


def _csv_chunks(path: Path, part: Part, on_note: Note) -> Iterator[NDArray[np.uint8]]:
    with opened(path) as stream:
        header = stream.readline(LONGEST_HEADER_BYTES)
        columns = without_label(path, header_of(path, header), on_note)
        length, line, counts = None, 2, dict[int, int]()
        if part != WHOLE:
            first = stream.readline(BYTES_AT_ONCE)
            if columns.counting and first.strip():  # each part counts on from the file's first row
                text = np.frombuffer(header + first, np.uint8)
                rows(path, text, len(header), columns, where=Lines(to_the_end=False), counts=counts)
            begin = _line_start(stream, part.start, len(header))
            if part.end is not None:
                length = _line_start(stream, part.end, len(header)) - begin
            line = _lines_before(stream, begin) + 1
        for block, is_last in _blocks(path, stream, length):
            text = np.frombuffer(header + block, np.uint8)
            where = Lines(line, to_the_end=is_last and part.end is None)
            pixels, _ = rows(path, text, len(header), columns, where=where, counts=counts)
            line += len(pixels)
            yield pixels.reshape(-1, columns.image_size, columns.image_size)


def _lines_before(stream: IO[bytes], end: int) -> int:
    """Count the lines before byte `end`, and leave the stream there; a second for a gigabyte."""
    stream.seek(0)
    lines, left = 0, end
    while left > 0:
        block = stream.read(min(BYTES_AT_ONCE, left))
        lines += block.count(b"\n")
        left -= len(block)
    return lines


def _line_start(stream: IO[bytes], offset: int, header: int) -> int:
    """Return where the first line at or behind `offset` begins."""
    if offset <= header:
        return header
    stream.seek(offset - 1)
    stream.readline()
    return stream.tell()


def _blocks(path: Path, stream: IO[bytes], length: int | None) -> Iterator[tuple[bytes, bool]]:
    """Yield whole lines of about `BYTES_AT_ONCE`, and whether they are the last."""
    left, rest = length, b""
    while True:
        wanted = BYTES_AT_ONCE if left is None else min(BYTES_AT_ONCE, left)
        got = stream.read(wanted)
        if left is not None:
            left -= len(got)
        block = rest + got
        filled = len(block.rstrip())
        if not got or left == 0:
            if filled:
                yield block, True
            return
        # Blank lines at the end go with the next block: nothing may follow them.
        cut = block.find(b"\n", filled) + 1 or block.rfind(b"\n") + 1
        if filled and not cut and len(block) > 2 * BYTES_AT_ONCE:
            raise DataError(f"{path}: has a line of more than {len(block):,} bytes, expected rows")
        rest = block[cut:] if filled else block
        if filled and cut:  # without a line end it may be the last line, or a longer one
            yield block[:cut], False


# Parquet


def _parquet(path: Path) -> Any:
    try:
        from pyarrow import ArrowException  # noqa: PLC0415 - an optional extra
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError as error:
        raise DataError(
            f"{path}: is Parquet, which needs pyarrow: pip install 'tenfold[parquet]'"
        ) from error
    try:
        return ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged or no Parquet file ({error})") from error


def _parquet_chunks(path: Path, part: Part, on_note: Note) -> Iterator[NDArray[np.uint8]]:
    file = _parquet(path)
    names = file.schema_arrow.names
    columns: CsvSchema = layout(path, ",".join(names).encode())
    if len(columns.names) != len(names):
        raise DataError(f"{path}: has a comma in the name of a column, expected pixel0, pixel1, …")
    columns = without_label(path, columns, on_note)
    pixels = [names[column] for column in columns.pixels]
    counting = [names[column] for column in columns.counting]
    first = _first_row(path, file, counting)
    end = file.num_row_groups if part.end is None else part.end
    groups = list(range(part.start, end))
    row = sum(file.metadata.row_group(group).num_rows for group in range(part.start))
    for batch in _batches(path, file, groups, pixels + counting):
        for name in counting:
            _check_counts(path, row, name, batch.column(name), first[name])
        values = _numbers(path, row, [(name, batch.column(name)) for name in pixels])
        row += len(values)
        yield values.reshape(-1, columns.image_size, columns.image_size)


def _batches(path: Path, file: Any, groups: list[int], columns: list[str]) -> Iterator[Any]:
    from pyarrow import ArrowException  # noqa: PLC0415 - an optional extra

    try:
        yield from file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=columns)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged ({error})") from error


def _first_row(path: Path, file: Any, columns: list[str]) -> dict[str, Any]:
    """Return what the first row of the file holds in `columns`."""
    if columns:
        for batch in _batches(path, file, list(range(file.num_row_groups)), columns):
            if len(batch):
                return {name: batch.column(name)[0].as_py() for name in columns}
    return {}


def _check_counts(path: Path, row: int, name: str, column: Any, first: Any) -> None:
    """Make sure that a column that numbers the rows counts up by one from the `first` of all."""
    if not isinstance(first, int | float) or first != first // 1:
        raise DataError(
            f"{path}: row 1, column {name!r} holds {first!r}, expected a whole number that counts "
            "the rows"
        )
    expected = first + np.arange(row, row + len(column))
    wrong = np.flatnonzero(column.to_numpy(zero_copy_only=False) != expected)
    if len(wrong):
        bad = int(wrong[0])
        raise DataError(
            f"{path}: row {row + bad + 1}, column {name!r} holds {column[bad].as_py()!r}, expected "
            f"{expected[bad]}: answers are numbered in the order of the rows"
        )


def _numbers(path: Path, row: int, columns: list[tuple[str, Any]]) -> NDArray[np.uint8]:
    """Return the pixels of some rows, uint8 [N, P]."""
    table = np.empty((len(columns[0][1]), len(columns)), np.uint8)
    for place, (name, column) in enumerate(columns):
        if column.null_count:
            bad = row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise DataError(f"{path}: row {bad + 1}, column {name!r} is blank, expected a pixel")
        try:
            values = column.to_numpy(zero_copy_only=False)
            wrong = ~((values >= 0) & (values <= 255) & (values == np.round(values)))
        except TypeError as error:
            raise DataError(
                f"{path}: column {name!r} holds {column.type}, expected numbers from 0 to 255"
            ) from error
        if wrong.any():
            bad = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{path}: row {row + bad + 1}, column {name!r} holds {values[bad]}, expected a "
                "whole number from 0 to 255"
            )
        table[:, place] = values
    return table
