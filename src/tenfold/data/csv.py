"""Read and write the competition's train.csv and test.csv."""

import csv
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data import csv_fast
from tenfold.data.compression import read_bytes
from tenfold.data.csv_dialect import MAX_HEADER_BYTES, find_dialect
from tenfold.data.csv_fallback import ALL_LINES, FallbackReader, LineRange, RowIdChecker
from tenfold.data.csv_header import ANY_COLUMNS, ColumnNames, CsvSchema
from tenfold.data.dataset import Dataset, dataset_name
from tenfold.data.pixels import PixelConverter, Scale
from tenfold.data.submission import write_submission
from tenfold.errors import DataError, OutputError
from tenfold.files import atomic_path, output_folder, path_exists

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_WHITESPACE, _NEWLINE = frozenset(b" \t\r\n"), ord("\n")
_ROWS_PER_WRITE = 2000

logger = logging.getLogger(__name__)


def read_csv(
    path: Path,
    *,
    labels: bool | None = None,
    classes: tuple[str, ...] | None = None,
    columns: ColumnNames = ANY_COLUMNS,
) -> Dataset:
    """Read a CSV with one image per row; see `tenfold.data.formats.read`.

    Columns whose names differ in a number alone, such as pixelK, are sorted by it, others taken in
    file order. A column that only numbers the rows (ImageId, id, index or nameless) is ignored,
    which is logged; without labels it must count up by one, since a submission numbers its
    predictions in the order of the rows. Without a header, a label is the first value or the last.

    Raises:
        DataError: the file cannot be read, or the first error in it.
    """
    text = to_utf8(path, read_bytes(path))
    dialect = find_dialect(path, text, columns)
    schema = select_label(path, dialect.schema, labels)
    start = dialect.start
    if dialect.separator != b",":
        rows = dialect.to_commas(path, text[start:].tobytes())
        text, start = np.frombuffer(rows, np.uint8), 0
    lines = LineRange(dialect.first_line)
    pixels, values = parse_rows(path, text, start, schema, classes, lines=lines)
    images = pixels.reshape(-1, schema.image_size, schema.image_size)
    if values is None:
        return Dataset(images, name=dataset_name(path))
    return Dataset(images, *encode_labels(values, classes), name=dataset_name(path))


def read_csv_column(path: Path, column: str) -> list[str]:
    """Return the cells of one column as text, stripped.

    Raises:
        DataError: there is no such column, or a line without it.
    """
    text = to_utf8(path, read_bytes(path))
    dialect = find_dialect(path, text, ColumnNames(row_id=column))
    position = dialect.schema.row_name
    rows = dialect.to_commas(path, text[dialect.start :].tobytes()).decode("utf-8", "replace")
    cells = []
    for number, row in enumerate(csv.reader(rows.rstrip().splitlines()), dialect.first_line):
        if position is None or len(row) <= position or not row[position].strip():
            raise DataError(f"{path}: line {number} has no {column!r}, expected one in each row")
        cells.append(row[position].strip())
    return cells


def to_utf8(path: Path, text: NDArray[np.uint8]) -> NDArray[np.uint8]:
    r"""Return text, uint8 [B], in UTF-8 with \n at the end of each line; mostly as it is.

    Raises:
        DataError: it is damaged UTF-16.
    """
    head = text[:MAX_HEADER_BYTES].tobytes()
    if not is_recoded(head):
        return text
    content = text.tobytes()
    if head[:2] in _UTF_16:
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: is damaged UTF-16 ({error.reason}), expected CSV text in UTF-8"
            ) from error
    if b"\n" not in content[:MAX_HEADER_BYTES]:
        content = content.replace(b"\r", b"\n")
    return np.frombuffer(content, np.uint8)


def is_recoded(head: bytes) -> bool:
    """Whether text that begins so is UTF-16, or has the line ends of an old Mac."""
    return head[:2] in _UTF_16 or (b"\r" in head[:-1] and b"\n" not in head)


def write_kaggle_folder(folder: Path, train: Dataset, test: Dataset) -> None:
    """Write two labelled datasets as the competition's files, and the test labels beside them.

    `folder` gets train.csv (label, pixel0, …), test.csv (pixel0, …), sample_submission.csv
    (ImageId, Label, all 0) and truth.csv (ImageId, Label), each written completely or not at all.
    Files of an earlier call are replaced, Kaggle's own are not.

    Raises:
        DataError: a dataset has no labels.
        OutputError: a file cannot be written, or the folder holds somebody else's.
    """
    train_labels, test_labels = train.label_names(), test.label_names()
    truth = folder / "truth.csv"  # written first: it marks the other files as ours
    others = [name for name in ("train.csv", "test.csv") if path_exists(folder / name)]
    if others and not path_exists(truth):
        raise OutputError(
            f"{folder}: holds {others[0]} and no truth.csv, so it was not written by this command; "
            "expected another folder"
        )
    output_folder(folder)
    write_submission(truth, test_labels)
    _write_csv(folder / "train.csv", train.images, train_labels)
    _write_csv(folder / "test.csv", test.images, None)
    write_submission(folder / "sample_submission.csv", ["0"] * len(test))


def select_label(path: Path, schema: CsvSchema, labels: bool | None) -> CsvSchema:
    """Return `schema` with the label column only if it shall be read; log what is ignored.

    Args:
        path: the file, for messages.
        schema: what each column holds.
        labels: True requires the label column, False ignores it, None reads it if there is one.

    Raises:
        DataError: it is required and not there.
    """
    if schema.row_ids:
        ignored = ", ".join(repr(schema.columns[column]) for column in schema.row_ids)
        logger.info("%s: ignored the column %s, which only numbers the rows", path, ignored)
    if labels and schema.label is None:
        raise DataError(
            f"{path}: line 1 has no column called 'label' among its {len(schema.columns)}, "
            "expected one, or --label: is this the test file?"
        )
    if labels is False and schema.label is not None:
        logger.info("%s: ignored the column %r", path, schema.columns[schema.label])
        return replace(schema, label=None)
    return schema


def parse_rows(
    path: Path,
    text: NDArray[np.uint8],
    start: int,
    schema: CsvSchema,
    classes: tuple[str, ...] | None = None,
    *,
    lines: LineRange = ALL_LINES,
    row_ids: RowIdChecker | None = None,
    converter: PixelConverter | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Return pixels uint8 [N, S·S] and labels, the numbers themselves, int64 [N] or None.

    Args:
        path: the file, for messages.
        text: uint8 [B], the file, or its header and a chunk of it.
        start: where the rows begin, after the header.
        schema: what each column holds.
        classes: the labels allowed; None allows every whole number.
        lines: which lines of the file the rows are.
        row_ids: the checker of the whole file, if `text` is a chunk of it.
        converter: of the pixels of the whole file, likewise.

    Raises:
        DataError: the first error in the text.
    """
    converter = converter or PixelConverter(path)
    rows_only = text[: _end_of_rows(text)] if lines.to_end else text
    if (table := csv_fast.parse_table(rows_only, start, schema)) is not None:
        pixels, values = table
        is_known = values is None or classes is None or _are_among(values, classes)
        if is_known and converter.decide(0, int(pixels.max()), is_whole=True) is Scale.BYTES:
            return pixels, None if values is None else values.astype(np.int64)
    body = text[start:].tobytes()
    reader = FallbackReader(
        path, body, schema, classes, lines, row_ids=row_ids, converter=converter
    )
    return reader.read()


def _are_among(values: NDArray[np.uint8], classes: tuple[str, ...]) -> bool:
    return set(map(str, np.unique(values))) <= set(classes)


def _end_of_rows(text: NDArray[np.uint8]) -> int:
    """Return where the last line that is not blank ends, its line end included."""
    end = len(text)
    while end > 0 and text[end - 1] in _WHITESPACE:
        end -= 1
    newlines = np.flatnonzero(text[end:] == _NEWLINE)
    return end + int(newlines[0]) + 1 if len(newlines) else end


def encode_labels(
    values: NDArray[np.int64], classes: tuple[str, ...] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as indices of classes, int64 [N], and the classes."""
    distinct, inverse = np.unique(values, return_inverse=True)
    if classes is None:
        return inverse.astype(np.int64), tuple(map(str, distinct))
    indices = np.array([classes.index(str(value)) for value in distinct], dtype=np.int64)
    return indices[inverse], classes


def _write_csv(path: Path, images: NDArray[np.uint8], labels: NDArray[np.str_] | None) -> None:
    """Write images uint8 [N, S, S] and the names of their labels, [N], as CSV."""
    pixels = images.reshape(len(images), -1)
    header = [f"pixel{column}" for column in range(pixels.shape[1])]
    if labels is not None:
        header.insert(0, "label")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write((",".join(header) + "\n").encode())
        for start in range(0, len(pixels), _ROWS_PER_WRITE):
            chunk = slice(start, start + _ROWS_PER_WRITE)
            file.write(_format_csv(pixels[chunk], None if labels is None else labels[chunk]))


def _format_csv(pixels: NDArray[np.uint8], labels: NDArray[np.str_] | None) -> bytes:
    """Return CSV lines of pixels uint8 [N, P], each after its label if there are labels.

    Every number is laid out four bytes wide with its comma, padded with NULs; dropping the NULs
    leaves the text.
    """
    cells = np.array([f"{value}," for value in range(256)], dtype="S4")
    lines = cells[pixels].view(np.uint8).reshape(len(pixels), -1)
    last_cells = lines[:, -4:]
    last_cells[last_cells == ord(",")] = ord("\n")
    if labels is not None:
        label_cells = np.char.add(labels.astype(np.bytes_), b",")
        lines = np.hstack([label_cells.view(np.uint8).reshape(len(pixels), -1), lines])
    return lines.tobytes().translate(None, b"\0")
