"""Every format of a dataset: one table, each a function from a path to a Dataset."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenfold.data import arrow
from tenfold.data.archives import copy_stream, is_archive, unpacked
from tenfold.data.arrow import is_arrow, read_arrow
from tenfold.data.compression import read_head
from tenfold.data.csv import read_csv, read_csv_column
from tenfold.data.dataset import Dataset
from tenfold.data.folders import is_folder, read_folder
from tenfold.data.idx import is_idx, read_idx
from tenfold.data.numpy_files import is_npy, is_npz, read_npy, read_npz
from tenfold.data.request import Part, ReadOptions, Request
from tenfold.errors import DataError
from tenfold.files import path_exists

STDIN = "-"


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: what people call it.
        recognize: whether a path is of this format; gets its first bytes, decompressed, too.
        read: reads it.
    """

    name: str
    recognize: Callable[[Path, bytes], bool]
    read: Callable[[Path, Request], Dataset]


def _read_folder(path: Path, request: Request) -> Dataset:
    return read_folder(path, request, _read)


def _read_archive(path: Path, request: Request) -> Dataset:
    with unpacked(path) as folder:
        return _read_folder(folder, request)


def _read_text(path: Path, request: Request) -> Dataset:
    return read_csv(path, labels=request.labels, classes=request.classes, columns=request.columns)


TEXT = Format("CSV, TSV, ARFF", lambda _path, _head: True, _read_text)
ARROW = Format("Parquet, Feather", is_arrow, read_arrow)
# The first that recognizes a path reads it.
FORMATS = (
    Format("folder", is_folder, _read_folder),
    Format("NumPy's .npz", is_npz, read_npz),
    Format("zip, tar", is_archive, _read_archive),
    ARROW,
    Format("NumPy's .npy", is_npy, read_npy),
    Format("IDX", is_idx, read_idx),
    TEXT,
)


def read(
    path: Path | str,
    *,
    labels: bool | None = None,
    classes: tuple[str, ...] | None = None,
    label_column: str | None = None,
    part: Part | None = None,
    options: ReadOptions | None = None,
) -> Dataset:
    """Read a dataset of any format in docs/your-data.md, recognized by its content.

    Pixels from 0 to 1, from −1 to 1 or with fractions are converted, which is logged, as is every
    column that is ignored.

    Args:
        path: a file or folder, or "-" for standard input.
        labels: True requires labels, False ignores them, None takes them if there are any.
        classes: the labels allowed; by default those found, in numeric order.
        label_column: the name of the label column of a table, or "first" or "last"; by default
            the one called "label", or by another usual name.
        part: "train" or "test", of what holds both; by default "test" if `labels` is False.
        options: those of the command line, in place of `label_column`.

    Returns:
        A Dataset named after the file, with images uint8 [N, S, S] and labels int64 [N] or None.

    Raises:
        DataError: the file cannot be read, or the first error in it.
    """
    part = part or ("test" if labels is False else "train")
    options = options or ReadOptions(label_column)
    request = Request(labels, classes, options.columns, part)
    with on_disk(path) as file:
        return options.orient(_read(file, request))


def holds_both(path: Path) -> bool:
    """Whether a file or folder may hold images to train on and images to predict."""
    return path_exists(path) and find_format(path).name in {"folder", "NumPy's .npz", "zip, tar"}


def read_column(path: Path, column: str) -> list[str]:
    """Return the values of one column of a table as text, such as the names of its rows.

    Raises:
        DataError: it is no table, or has no such column.
    """
    format_ = find_format(path)
    if format_ is ARROW:
        return arrow.read_column(path, column)
    if format_ is TEXT:
        return read_csv_column(path, column)
    raise DataError(f"{path}: is no table, expected one with the column {column!r} of --id")


def find_format(path: Path) -> Format:
    """Return the format of a file or folder.

    Raises:
        DataError: it cannot be read.
    """
    head = b"" if path_exists(path) and path.is_dir() else read_head(path)
    return next(each for each in FORMATS if each.recognize(path, head))


def _read(path: Path, request: Request) -> Dataset:
    return find_format(path).read(path, request)


@contextmanager
def on_disk(path: Path | str) -> Iterator[Path]:
    """Yield a path that can be read more than once: a copy of standard input or of a pipe.

    Raises:
        DataError: it is an address; or an error about the copy, which it calls standard input.
    """
    path = Path(path)
    if str(path).startswith(("http:/", "https:/", "ftp:/", "s3:/", "gs:/")):
        address = str(path).replace(":/", "://", 1)
        raise DataError(f"{address}: is an address, expected a file: download it first")
    is_stdin = str(path) == STDIN
    if not is_stdin and not (path_exists(path) and path.is_fifo()):
        yield path
        return
    name = "standard input" if is_stdin else str(path)
    with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch:
        copy = Path(scratch) / ("standard input" if is_stdin else path.name)
        try:
            if is_stdin:
                copy_stream(sys.stdin.buffer, copy)
            else:
                with path.open("rb") as stream:
                    copy_stream(stream, copy)
            yield copy
        except DataError as error:
            raise type(error)(str(error).replace(str(copy), name)) from error
