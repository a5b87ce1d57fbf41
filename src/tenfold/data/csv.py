"""Kaggle's train.csv and test.csv: in to a Dataset, and out again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data import csv_fast
from tenfold.data.compression import contents
from tenfold.data.csv_fallback import ALL_LINES, FallbackReader, Lines
from tenfold.data.csv_header import CsvSchema, layout
from tenfold.data.dataset import Dataset, dataset_name
from tenfold.data.submission import write_submission
from tenfold.errors import DataError, OutputError
from tenfold.files import atomic_path, output_folder, path_exists

_BLANK, _LINE_END = frozenset(b" \t\r\n"), 10
_UTF8_MARK = b"\xef\xbb\xbf"
LONGEST_HEADER_BYTES = 2**20
_ROWS_AT_ONCE = 2000


def read(
    path: Path | str,
    *,
    labels: bool | None = None,
    classes: tuple[str, ...] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Dataset:
    """Read a CSV with one image a row: pixels from 0 to 255, and perhaps a column 'label'.

    Packed files are read too: gzip, or a zip with one CSV. Pixel columns are taken by number
    where they are called pixelK, else in file order; a column that only numbers the rows
    (ImageId, id, index or nameless) is ignored, and `on_note` hears of it. Without labels it must
    count up by one, as answers are numbered in the order of the rows.

    Args:
        path: the file.
        labels: True requires the label column, False ignores it, None takes it if it is there.
        classes: what the labels may be; None takes the distinct ones found, in numeric order.
        on_note: is called with one sentence for each column left out.

    Returns:
        A Dataset named after the file, with images uint8 [N, S, S] and labels int64 [N] or None.

    Raises:
        DataError: the first thing in the file that is not as it should be.
    """
    path = Path(path)
    text = contents(path)
    newlines = np.flatnonzero(text[:LONGEST_HEADER_BYTES] == ord("\n"))
    start = int(newlines[0]) + 1 if len(newlines) else len(text)
    columns = header_of(path, text[:start].tobytes())
    columns = _choose_label(path, columns, labels, on_note or _silence)
    pixels, values = rows(path, text, start, columns, classes)
    if pixels.max() == 1:
        raise scaled(path)
    images = pixels.reshape(-1, columns.image_size, columns.image_size)
    if values is None:
        return Dataset(images, name=dataset_name(path))
    return Dataset(images, *_indices(values, classes), name=dataset_name(path))


def write_kaggle_folder(folder: Path, train: Dataset, test: Dataset) -> None:
    """Write both sets as the competition hands them out, and the truth that it keeps.

    `folder` gets train.csv (label, pixel0, …), test.csv (pixel0, …), sample_submission.csv
    (ImageId, Label, all 0) and truth.csv (ImageId, Label), each whole or not at all. What was
    written so before is replaced; Kaggle's own files are not.

    Raises:
        DataError: a set has no labels.
        OutputError: the folder or the disk does not take a file, or holds files of others.
    """
    train_labels, test_labels = train.require_labels(), test.require_labels()
    truth = folder / "truth.csv"  # first, for it tells that the others are ours
    others = [name for name in ("train.csv", "test.csv") if path_exists(folder / name)]
    if others and not path_exists(truth):
        raise OutputError(
            f"{folder}: holds {others[0]} and no truth.csv, so it was not written by this command; "
            "expected another folder"
        )
    output_folder(folder)
    write_submission(truth, [test.classes[label] for label in test_labels])
    names = np.array(train.classes, dtype=np.bytes_)[train_labels]
    _write_table(folder / "train.csv", train.images, names)
    _write_table(folder / "test.csv", test.images, None)
    write_submission(folder / "sample_submission.csv", ["0"] * len(test))


def header_of(path: Path, line: bytes) -> CsvSchema:
    """Understand the first line of a file.

    Raises:
        DataError: there is none, or it is no header.
    """
    line = line.removeprefix(_UTF8_MARK)
    if not line:
        raise DataError(f"{path}: is empty, expected a header line and a row for each image")
    return layout(path, line)


def rows(
    path: Path,
    text: NDArray[np.uint8],
    start: int,
    columns: CsvSchema,
    classes: tuple[str, ...] | None = None,
    *,
    where: Lines = ALL_LINES,
    counts: dict[int, int] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Return pixels uint8 [N, S·S] and label values int64 [N] or None.

    Args:
        path: the file, for messages.
        text: uint8 [B], the file or a header with a piece of it.
        start: where behind the header the rows begin.
        columns: what the header says.
        classes: what labels may be; None allows every whole number.
        where: which lines of the file the rows are.
        counts: see `FallbackReader`.
    """
    plain = text[: _end(text)] if where.to_the_end else text
    if (table := csv_fast.table(plain, start, columns)) is not None:
        pixels, values = table
        if values is None:
            return pixels, None
        if classes is None or set(map(str, np.unique(values))) <= set(classes):
            return pixels, values.astype(np.int64)
    careful = FallbackReader(path, text[start:].tobytes(), columns, classes, where, counts=counts)
    return careful.read()


def _end(text: NDArray[np.uint8]) -> int:
    """Return where the last line that is not blank ends, its line end included."""
    end = len(text)
    while end > 0 and text[end - 1] in _BLANK:
        end -= 1
    ends = np.flatnonzero(text[end:] == _LINE_END)
    return end + int(ends[0]) + 1 if len(ends) else end


def without_label(path: Path, columns: CsvSchema, on_note: Callable[[str], None]) -> CsvSchema:
    """Return `columns` less the label, if there is one; `on_note` hears of what is left out."""
    return _choose_label(path, columns, False, on_note)


def scaled(path: Path) -> DataError:
    """Return what to raise where no pixel is above 1."""
    return DataError(
        f"{path}: no pixel is above 1, expected 0 to 255: "
        "the pixels are scaled to 0–1, multiply them by 255"
    )


def _silence(_: str) -> None:
    """Drop a note that nobody asked for."""


def _choose_label(
    path: Path, columns: CsvSchema, labels: bool | None, on_note: Callable[[str], None]
) -> CsvSchema:
    """Return `columns` with the label column only if it is to be read."""
    if columns.ignored:
        names = ", ".join(repr(columns.names[column]) for column in columns.ignored)
        on_note(f"{path}: ignored the column {names}, which only numbers the rows")
    if labels and columns.label is None:
        raise DataError(
            f"{path}: line 1 has no column called 'label' among its {len(columns.names)}, "
            "expected one: is this the test file?"
        )
    if labels is False and columns.label is not None:
        on_note(f"{path}: ignored the column {columns.names[columns.label]!r}")
        return replace(columns, label=None)
    return columns


def _indices(
    values: NDArray[np.int64], classes: tuple[str, ...] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as int64 [N] indices of classes, and those classes."""
    found, inverse = np.unique(values, return_inverse=True)
    if classes is None:
        return inverse.astype(np.int64), tuple(map(str, found))
    positions = np.array([classes.index(str(value)) for value in found], dtype=np.int64)
    return positions[inverse], classes


def _write_table(path: Path, images: NDArray[np.uint8], labels: NDArray[np.bytes_] | None) -> None:
    """Write images uint8 [N, S, S] and labels, their spellings [N], as CSV."""
    pixels = images.reshape(len(images), -1)
    header = [f"pixel{column}" for column in range(pixels.shape[1])]
    if labels is not None:
        header.insert(0, "label")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write((",".join(header) + "\n").encode())
        for begin in range(0, len(pixels), _ROWS_AT_ONCE):
            rows = slice(begin, begin + _ROWS_AT_ONCE)
            file.write(_format_csv(pixels[rows], None if labels is None else labels[rows]))


def _format_csv(pixels: NDArray[np.uint8], labels: NDArray[np.bytes_] | None) -> bytes:
    """Return CSV lines for pixels uint8 [N, P], each behind its label if there are labels.

    Every number is laid out four bytes wide with its comma, padded with NULs; dropping the NULs
    leaves the text.
    """
    format_value = np.array([f"{value}," for value in range(256)], dtype="S4")
    text = format_value[pixels].view(np.uint8)
    lines = text.reshape(len(pixels), -1)
    closing = lines[:, -4:]
    closing[closing == ord(",")] = ord("\n")
    if labels is not None:
        names = np.char.add(labels, b",")
        lines = np.hstack([names.view(np.uint8).reshape(len(pixels), -1), lines])
    return lines.tobytes().translate(None, b"\0")
