"""Read files of any length, a chunk in memory at a time: CSV, compressed CSV, Parquet.

Rows are parsed and checked as in `tenfold.data.csv`: a file is cut at line ends, and each chunk
is parsed like a small file with the same header.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.compression import open_decompressed
from tenfold.data.csv import MAX_HEADER_BYTES, parse_rows, scaled_pixels_error, select_label
from tenfold.data.csv_fallback import LineRange, RowIdChecker
from tenfold.data.csv_header import parse_header
from tenfold.data.dataset import Dataset, dataset_name
from tenfold.errors import DataError
from tenfold.files import os_error_message

CHUNK_BYTES = 16 * 2**20  # of CSV: some 9,000 digits
CHUNK_ROWS = 8192  # of Parquet
_PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Shard:
    """A part of a file: the lines that begin in these bytes of a CSV, or Parquet row groups.

    Attributes:
        start: the first byte or row group.
        end: the one after the last; None for the end of the file.
    """

    start: int = 0
    end: int | None = None


WHOLE_FILE = Shard()


def split_file(path: Path, max_count: int) -> list[Shard]:
    """Divide a file into at most `max_count` shards of about equal length.

    A compressed file is one shard, since it can only be read from its beginning.

    Raises:
        DataError: the file cannot be read.
    """
    if is_parquet(path):
        n_groups = _open_parquet(path).num_row_groups
        boundaries = np.linspace(0, n_groups, min(max_count, n_groups) + 1).astype(int)
        return [Shard(int(start), int(end)) for start, end in pairwise(boundaries)]
    with open_decompressed(path) as stream:
        size = path.stat().st_size if isinstance(stream, io.BufferedReader) else 0
    count = max(1, min(max_count, size // CHUNK_BYTES))
    boundaries = np.linspace(0, size, count + 1).astype(int)
    found = [Shard(int(start), int(end)) for start, end in pairwise(boundaries)]
    return [*found[:-1], Shard(found[-1].start, None)]


def chunks(path: Path, shard: Shard = WHOLE_FILE) -> Iterator[Dataset]:
    """Read a file of unlabelled images chunk by chunk; columns that are ignored are logged.

    Args:
        path: CSV, plain, .gz or .zip, or Parquet with the same columns.
        shard: which part of the file, as returned by `split_file`.

    Yields:
        Datasets of several thousand images each, named after the file.

    Raises:
        DataError: the file cannot be read, or the first error in it; that all pixels are from 0
            to 1 is known only at the end.
    """
    read = _parquet_chunks if is_parquet(path) else _csv_chunks
    brightest = 0
    for images in read(path, shard):
        brightest = max(brightest, int(images.max()))
        yield Dataset(images, name=dataset_name(path))
    if brightest == 1:
        raise scaled_pixels_error(path)


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its first bytes.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({os_error_message(error)}), expected a file"
        ) from error


# CSV


def _csv_chunks(path: Path, shard: Shard) -> Iterator[NDArray[np.uint8]]:
    with open_decompressed(path) as stream:
        header = stream.readline(MAX_HEADER_BYTES)
        schema = select_label(path, parse_header(path, header), False)
        row_ids = RowIdChecker(path, schema)
        length, line = None, 2
        if shard != WHOLE_FILE:
            first_row = stream.readline(CHUNK_BYTES)
            if schema.checked_row_ids and first_row.strip():  # it decides where the ids start
                text = np.frombuffer(header + first_row, np.uint8)
                lines = LineRange(to_end=False)
                parse_rows(path, text, len(header), schema, lines=lines, row_ids=row_ids)
            start = _next_line_start(stream, shard.start, len(header))
            if shard.end is not None:
                length = _next_line_start(stream, shard.end, len(header)) - start
            line = _seek_counting_lines(stream, start) + 1
        for block, is_last in _line_blocks(path, stream, length):
            text = np.frombuffer(header + block, np.uint8)
            lines = LineRange(line, to_end=is_last and shard.end is None)
            pixels, _ = parse_rows(path, text, len(header), schema, lines=lines, row_ids=row_ids)
            line += len(pixels)
            yield pixels.reshape(-1, schema.image_size, schema.image_size)


def _seek_counting_lines(stream: IO[bytes], end: int) -> int:
    """Move to byte `end` and return the number of lines before it; a second per gigabyte."""
    stream.seek(0)
    n_lines, remaining = 0, end
    while remaining > 0:
        block = stream.read(min(CHUNK_BYTES, remaining))
        n_lines += block.count(b"\n")
        remaining -= len(block)
    return n_lines


def _next_line_start(stream: IO[bytes], offset: int, header_bytes: int) -> int:
    """Return where the first line at or after `offset` begins, the header left out."""
    if offset <= header_bytes:
        return header_bytes
    stream.seek(offset - 1)
    stream.readline()
    return stream.tell()


def _line_blocks(path: Path, stream: IO[bytes], length: int | None) -> Iterator[tuple[bytes, bool]]:
    """Yield whole lines, about `CHUNK_BYTES` of them, and whether they are the last.

    Args:
        path: the file, for messages.
        stream: at the start of a line.
        length: how many bytes to read; None reads to the end.
    """
    remaining, rest = length, b""
    while True:
        data = stream.read(CHUNK_BYTES if remaining is None else min(CHUNK_BYTES, remaining))
        if remaining is not None:
            remaining -= len(data)
        block = rest + data
        filled = len(block.rstrip())
        if not data or remaining == 0:
            if filled:
                yield block, True
            return
        # Blank lines at the end go with the next block: nothing may follow them.
        cut = block.find(b"\n", filled) + 1 or block.rfind(b"\n") + 1
        if filled and not cut and len(block) > 2 * CHUNK_BYTES:
            raise DataError(f"{path}: has a line of more than {len(block):,} bytes, expected rows")
        rest = block[cut:] if filled else block
        if filled and cut:  # without a line end it may be the last line, or a longer one
            yield block[:cut], False


# Parquet


def _open_parquet(path: Path) -> Any:
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


def _parquet_chunks(path: Path, shard: Shard) -> Iterator[NDArray[np.uint8]]:
    file = _open_parquet(path)
    columns = file.schema_arrow.names
    schema = parse_header(path, ",".join(columns).encode())
    if len(schema.columns) != len(columns):
        raise DataError(f"{path}: has a comma in the name of a column, expected pixel0, pixel1, …")
    schema = select_label(path, schema, False)
    pixels = [columns[column] for column in schema.pixels]
    row_ids = [columns[column] for column in schema.checked_row_ids]
    first_ids = _first_row(path, file, row_ids)
    end = file.num_row_groups if shard.end is None else shard.end
    groups = list(range(shard.start, end))
    row = sum(file.metadata.row_group(group).num_rows for group in range(shard.start))
    for batch in _record_batches(path, file, groups, pixels + row_ids):
        for name in row_ids:
            _check_row_ids(path, row, name, batch.column(name), first_ids[name])
        values = _stack_pixels(path, row, [(name, batch.column(name)) for name in pixels])
        row += len(values)
        yield values.reshape(-1, schema.image_size, schema.image_size)


def _record_batches(path: Path, file: Any, groups: list[int], columns: list[str]) -> Iterator[Any]:
    from pyarrow import ArrowException  # noqa: PLC0415 - an optional extra

    try:
        yield from file.iter_batches(CHUNK_ROWS, row_groups=groups, columns=columns)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged ({error})") from error


def _first_row(path: Path, file: Any, columns: list[str]) -> dict[str, Any]:
    """Return the values of `columns` in the first row of the file; none if it has no rows."""
    if columns:
        for batch in _record_batches(path, file, list(range(file.num_row_groups)), columns):
            if len(batch):
                return {name: batch.column(name)[0].as_py() for name in columns}
    return {}


def _check_row_ids(path: Path, row: int, name: str, column: Any, first: Any) -> None:
    """Check that row ids count up by one from the `first` of the file; `row` counts from 0."""
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
            f"{expected[bad]}: predictions are numbered in the order of the rows"
        )


def _stack_pixels(path: Path, row: int, columns: list[tuple[str, Any]]) -> NDArray[np.uint8]:
    """Return the pixels of some rows, uint8 [N, P]; `row` is the first of them, from 0."""
    table = np.empty((len(columns[0][1]), len(columns)), np.uint8)
    for position, (name, column) in enumerate(columns):
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
        table[:, position] = values
    return table
