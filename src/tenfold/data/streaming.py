"""Read files of any length, a chunk in memory at a time: text, compressed text, Parquet, Feather.

Rows are parsed and checked as in `tenfold.data.csv`: a file is cut at line ends, and each chunk
is parsed like a small file with the same header. Other formats are read whole and handed on in
chunks.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tenfold.data.arrow import batches, n_row_groups
from tenfold.data.compression import open_decompressed
from tenfold.data.csv import is_recoded, parse_rows, select_label, to_utf8
from tenfold.data.csv_dialect import MAX_HEADER_BYTES, find_dialect
from tenfold.data.csv_fallback import LineRange, RowIdChecker
from tenfold.data.csv_header import ColumnNames
from tenfold.data.dataset import Dataset, dataset_name
from tenfold.data.formats import ARROW, TEXT, find_format, on_disk
from tenfold.data.pixels import PixelConverter
from tenfold.data.request import ReadOptions, Request
from tenfold.errors import DataError

CHUNK_BYTES = 16 * 2**20  # of text: some 9,000 digits
CHUNK_ROWS = 8192  # of what is read whole


@dataclass(frozen=True)
class Shard:
    """A part of a file: the lines that begin in these bytes of a text, or Parquet row groups.

    Attributes:
        start: the first byte or row group.
        end: the one after the last; None for the end of the file.
    """

    start: int = 0
    end: int | None = None


WHOLE_FILE, NO_OPTIONS = Shard(), ReadOptions()


def split_file(path: Path, max_count: int) -> list[Shard]:
    """Divide a file into at most `max_count` shards of about equal length.

    What can only be read from its beginning, such as a compressed file, is one shard.

    Raises:
        DataError: the file cannot be read.
    """
    format_ = find_format(path)
    if format_ is ARROW:
        n_groups = n_row_groups(path)
        boundaries = np.linspace(0, n_groups, min(max_count, n_groups) + 1).astype(int)
        return [Shard(int(start), int(end)) for start, end in pairwise(boundaries)]
    size = 0
    if format_ is TEXT:
        with open_decompressed(path) as stream:
            is_plain = isinstance(stream, io.BufferedReader)
            size = path.stat().st_size if is_plain and not is_recoded(_head(stream)) else 0
    count = max(1, min(max_count, size // CHUNK_BYTES))
    boundaries = np.linspace(0, size, count + 1).astype(int)
    found = [Shard(int(start), int(end)) for start, end in pairwise(boundaries)]
    return [*found[:-1], Shard(found[-1].start, None)]


def chunks(
    path: Path, shard: Shard = WHOLE_FILE, options: ReadOptions = NO_OPTIONS
) -> Iterator[Dataset]:
    """Read a file of images to predict chunk by chunk; columns that are ignored are logged.

    Args:
        path: a file or folder of any format, or "-" for standard input.
        shard: which part of the file, as returned by `split_file`.
        options: what the caller asks for.

    Yields:
        Datasets of several thousand images each, without labels, named after the file.

    Raises:
        DataError: the file cannot be read, or the first error in it.
    """
    request = Request(labels=False, columns=options.columns, part="test")
    with on_disk(path) as file:
        for dataset in _datasets(file, shard, request):
            yield options.orient(dataset)


def _datasets(path: Path, shard: Shard, request: Request) -> Iterator[Dataset]:
    format_ = find_format(path)
    if format_ is TEXT:
        for images in _text_chunks(path, shard, request.columns):
            yield Dataset(images, name=dataset_name(path))
    elif format_ is ARROW:
        for images, _ in batches(path, request, shard.start, shard.end):
            yield Dataset(images, name=dataset_name(path))
    else:
        whole = format_.read(path, request)
        for start in range(0, len(whole), CHUNK_ROWS):
            yield whole[start : start + CHUNK_ROWS]


def _head(stream: IO[bytes]) -> bytes:
    """Return the first bytes of a stream, which stays at its beginning."""
    head = stream.read(max(CHUNK_BYTES, MAX_HEADER_BYTES))
    stream.seek(0)
    return head


def _text_chunks(path: Path, shard: Shard, columns: ColumnNames) -> Iterator[NDArray[np.uint8]]:
    with open_decompressed(path) as opened:
        stream, head = opened, _head(opened)
        if is_recoded(head):
            content = to_utf8(path, np.frombuffer(stream.read(), np.uint8)).tobytes()
            stream, head = io.BytesIO(content), content[: max(CHUNK_BYTES, MAX_HEADER_BYTES)]
        dialect = find_dialect(path, np.frombuffer(head, np.uint8), columns)
        schema = select_label(path, dialect.schema, False)
        row_ids, converter = RowIdChecker(path, schema), PixelConverter(path)
        length, line = None, dialect.first_line

        def parse(rows: bytes, first: int, *, to_end: bool) -> NDArray[np.uint8]:
            text = replace(dialect, first_line=first).to_commas(path, rows)
            pixels, _ = parse_rows(
                path,
                np.frombuffer(text, np.uint8),
                0,
                schema,
                lines=LineRange(first, to_end=to_end),
                row_ids=row_ids,
                converter=converter,
            )
            return pixels

        if shard.start > 0:  # the beginning decides where ids start, and on which scale pixels are
            rows = head[dialect.start : head.rfind(b"\n") + 1]
            if rows.strip():
                parse(rows, line, to_end=len(rows.rstrip()) < len(rows) - 2)
        start = _next_line_start(stream, shard.start, dialect.start)
        if shard.end is not None:
            length = _next_line_start(stream, shard.end, dialect.start) - start
        if shard.start > 0:
            line = _seek_counting_lines(stream, start) + 1
        else:
            stream.seek(start)
        for block, is_last in _line_blocks(path, stream, length):
            pixels = parse(block, line, to_end=is_last and shard.end is None)
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
