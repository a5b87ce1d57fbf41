"""Read and write the competition's train.csv and test.csv."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data import csv_fast
from tenfold.data.compression import read_bytes
from tenfold.data.csv_fallback import ALL_LINES, FallbackReader, LineRange, RowIdChecker
from tenfold.data.csv_header import CsvSchema, parse_header
from tenfold.data.dataset import Dataset, dataset_name
from tenfold.data.submission import write_submission
from tenfold.errors import DataError, OutputError
from tenfold.files import atomic_path, output_folder, path_exists

MAX_HEADER_BYTES = 2**20
_WHITESPACE, _NEWLINE = frozenset(b" \t\r\n"), ord("\n")
_ROWS_PER_WRITE = 2000

logger = logging.getLogger(__name__)


def read(
    path: Path | str, *, labels: bool | None = None, classes: tuple[str, ...] | None = None
) -> Dataset:
    """Read a CSV with one image per row: pixels from 0 to 255 and, optionally, a column 'label'.

    Compressed files are read too: gzip, or a zip with one CSV. Columns called pixelK are sorted
    by K, others taken in file order. A column that only numbers the rows (ImageId, id, index or
    nameless) is ignored, which is logged; without labels it must count up by one, since a
    submission numbers its predictions in the order of the rows.

    Args:
        path: the file.
        labels: True requires the label column, False ignores it, None reads it if there is one.
        classes: the labels allowed; by default those found, in numeric order.

    Returns:
        A Dataset named after the file, with images uint8 [N, S, S] and labels int64 [N] or None.

    Raises:
        DataError: the file cannot be read, or the first error in it.
    """
    path = Path(path)
    text = read_bytes(path)
    newlines = np.flatnonzero(text[:MAX_HEADER_BYTES] == _NEWLINE)
    start = int(newlines[0]) + 1 if len(newlines) else len(text)
    schema = select_label(path, parse_header(path, text[:start].tobytes()), labels)
    pixels, values = parse_rows(path, text, start, schema, classes)
    if pixels.max() == 1:
        raise scaled_pixels_error(path)
    images = pixels.reshape(-1, schema.image_size, schema.image_size)
    if values is None:
        return Dataset(images, name=dataset_name(path))
    return Dataset(images, *_encode_labels(values, classes), name=dataset_name(path))


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
            "expected one: is this the test file?"
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

    Raises:
        DataError: the first error in the text.
    """
    rows_only = text[: _end_of_rows(text)] if lines.to_end else text
    if (table := csv_fast.parse_table(rows_only, start, schema)) is not None:
        pixels, values = table
        if values is None:
            return pixels, None
        if classes is None or set(map(str, np.unique(values))) <= set(classes):
            return pixels, values.astype(np.int64)
    body = text[start:].tobytes()
    return FallbackReader(path, body, schema, classes, lines, row_ids=row_ids).read()


def scaled_pixels_error(path: Path) -> DataError:
    """Return the error to raise for a file in which no pixel is above 1."""
    return DataError(
        f"{path}: no pixel is above 1, expected 0 to 255: "
        "the pixels are scaled to 0–1, multiply them by 255"
    )


def _end_of_rows(text: NDArray[np.uint8]) -> int:
    """Return where the last line that is not blank ends, its line end included."""
    end = len(text)
    while end > 0 and text[end - 1] in _WHITESPACE:
        end -= 1
    newlines = np.flatnonzero(text[end:] == _NEWLINE)
    return end + int(newlines[0]) + 1 if len(newlines) else end


def _encode_labels(
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
