"""Parquet and Feather, in batches: a column for each pixel, or a column with a picture in each row.

Data frames keep images as columns of numbers, other libraries as lists of pixels, and hubs as the
bytes of PNG files: `struct<bytes, path>` or `binary`.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.compression import one_line
from tenfold.data.csv_header import LABEL, OTHER_LABELS, ColumnNames, parse_columns
from tenfold.data.dataset import Dataset, dataset_name
from tenfold.data.picture_files import check_one_size, read_picture
from tenfold.data.pixels import PixelConverter
from tenfold.data.request import Request, as_square, encode_names, label_names
from tenfold.errors import DataError

CHUNK_ROWS = 8192
PARQUET_MAGIC, FEATHER_MAGIC, OLD_FEATHER_MAGIC = b"PAR1", b"ARROW1", b"FEA1"

logger = logging.getLogger(__name__)


def is_arrow(_path: Path, head: bytes) -> bool:
    """Return whether a file that begins so is Parquet or Feather."""
    return head.startswith((PARQUET_MAGIC, FEATHER_MAGIC, OLD_FEATHER_MAGIC))


def read_arrow(path: Path, request: Request) -> Dataset:
    """Read a whole file.

    Raises:
        DataError: it is damaged, or holds no images; see `batches`.
    """
    found = list(batches(path, request))
    if not found:
        raise DataError(f"{path}: has no rows, expected a row for each image")
    images = np.concatenate([images for images, _ in found])
    if not found or found[0][1] is None:
        return Dataset(images, name=dataset_name(path))
    names = np.concatenate([names for _, names in found if names is not None])
    return Dataset(images, *encode_names(path, names, request.classes), name=dataset_name(path))


def batches(
    path: Path, request: Request, start: int = 0, end: int | None = None
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.str_] | None]]:
    """Yield the images, uint8 [N, S, S], and the names of their labels, str [N] or None.

    Args:
        path: the file.
        request: what is wanted.
        start: the first row group.
        end: the one after the last; None for the end of the file.

    Raises:
        DataError: it is damaged, or holds no images as they are described above.
    """
    with _open(path) as file:
        layout = _find_layout(path, file.schema, request)
        first_ids = file.first_row(layout.row_ids)
        converter = PixelConverter(path)
        if start and layout.picture is None:  # the beginning of the file shows the scale
            for batch in file.batches(0, 1, layout.pixels):
                _stack_pixels(path, 0, batch, layout.pixels, converter)
        row = file.rows_before(start)
        for batch in file.batches(start, end, layout.columns):
            for name in layout.row_ids:
                _check_row_ids(path, row, name, batch.column(name), first_ids[name])
            if layout.picture is None:
                images = _stack_pixels(path, row, batch, layout.pixels, converter)
            else:
                images = _read_pictures(path, row, batch, layout.picture, converter)
            names = None
            if layout.label is not None:
                names = _read_labels(path, row, layout.label, batch.column(layout.label))
            row += len(images)
            yield images, names


def n_row_groups(path: Path) -> int:
    """Return in how many parts a file can be read."""
    with _open(path) as file:
        return int(file.n_groups)


def read_column(path: Path, column: str) -> list[str]:
    """Return the values of a column as text."""
    with _open(path) as file:
        names = [name for name in file.schema.names if name.casefold() == column.casefold()]
        if len(names) != 1:
            raise DataError(f"{path}: has no column called {column!r}, expected it as --id says")
        return [
            str(value) for batch in file.batches(0, None, names) for value in batch[0].to_pylist()
        ]


class _ArrowFile:
    """One interface to Parquet and Feather."""

    def __init__(self, path: Path) -> None:
        from pyarrow import ipc, memory_map  # noqa: PLC0415 - an optional extra
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415

        with path.open("rb") as stream:
            head = stream.read(8)
        self._parquet = ParquetFile(path) if head.startswith(PARQUET_MAGIC) else None
        if self._parquet is not None:
            self.schema, self.n_groups = self._parquet.schema_arrow, self._parquet.num_row_groups
        else:
            self._feather = ipc.open_file(memory_map(str(path)))
            self.schema = self._feather.schema
            self.n_groups = self._feather.num_record_batches

    def rows_before(self, group: int) -> int:
        if self._parquet is not None:
            metadata = self._parquet.metadata
            counts: list[int] = [metadata.row_group(each).num_rows for each in range(group)]
        else:
            counts = [self._feather.get_batch(each).num_rows for each in range(group)]
        return sum(counts)

    def batches(self, start: int, end: int | None, columns: Sequence[str]) -> Iterator[Any]:
        groups = list(range(start, self.n_groups if end is None else min(end, self.n_groups)))
        if self._parquet is not None:
            yield from self._parquet.iter_batches(CHUNK_ROWS, row_groups=groups, columns=columns)
            return
        for group in groups:
            batch = self._feather.get_batch(group).select(columns)
            for first in range(0, batch.num_rows, CHUNK_ROWS):
                yield batch.slice(first, CHUNK_ROWS)

    def first_row(self, columns: Sequence[str]) -> dict[str, Any]:
        """Return the values of `columns` in the first row of the file; none if it has no rows."""
        if columns:
            for batch in self.batches(0, None, columns):
                if len(batch):
                    return {name: batch.column(name)[0].as_py() for name in columns}
        return {}


@contextmanager
def _open(path: Path) -> Iterator[_ArrowFile]:
    """Open a file; whatever pyarrow makes of damage, there or later, becomes a DataError."""
    try:
        from pyarrow import ArrowException  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise DataError(
            f"{path}: is Parquet or Feather, which needs pyarrow: pip install 'tenfold[parquet]'"
        ) from error
    with path.open("rb") as stream:
        if stream.read(4) == OLD_FEATHER_MAGIC:
            raise DataError(f"{path}: is Feather of version 1, expected version 2 or Parquet")
    try:
        yield _ArrowFile(path)
    except DataError:
        raise
    except (ArrowException, OSError, ValueError, RuntimeError, LookupError) as error:
        raise DataError(f"{path}: is damaged or no Parquet file ({one_line(error)})") from error


@dataclass(frozen=True)
class _Layout:
    """Where the images are.

    Attributes:
        pixels: the names of the columns that hold a pixel each, or
        picture: of the one that holds whole pictures.
        label: of the label column, if it shall be read.
        row_ids: of the columns that count up by one.
    """

    pixels: Sequence[str]
    picture: str | None
    label: str | None
    row_ids: Sequence[str]

    @property
    def columns(self) -> list[str]:
        images = self.pixels if self.picture is None else [self.picture]
        return [*images, *([] if self.label is None else [self.label]), *self.row_ids]


def _find_layout(path: Path, schema: Any, request: Request) -> _Layout:
    names: list[str] = schema.names
    if len(set(names)) < len(names):
        raise DataError(f"{path}: has two columns of one name, expected each name once")
    pictures = [field.name for field in schema if _holds_pictures(field.type)]
    if len(pictures) > 1:
        raise DataError(
            f"{path}: has pictures in the columns {', '.join(pictures[:3])}, expected one such "
            "column"
        )
    if pictures:
        label, pixels, row_ids = _find_label(path, names, request.columns), [], []
    else:
        found = parse_columns(path, names, request.columns)
        label = None if found.label is None else names[found.label]
        pixels = [names[column] for column in found.pixels]
        row_ids = [names[column] for column in found.checked_row_ids]
        if request.labels is False and found.label is not None:
            row_ids = [names[column] for column in found.row_ids]
        if found.row_ids:
            ignored = ", ".join(repr(names[column]) for column in found.row_ids)
            logger.info("%s: ignored the column %s, which only numbers the rows", path, ignored)
    if request.labels and label is None:
        raise DataError(
            f"{path}: has no column called 'label' among its {len(names)}, expected one, or "
            "--label: is this the test file?"
        )
    if request.labels is False and label is not None:
        logger.info("%s: ignored the column %r", path, label)
        label = None
    return _Layout(pixels, pictures[0] if pictures else None, label, row_ids)


def _holds_pictures(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415 - an optional extra

    kind = getattr(kind, "storage_type", kind)
    if types.is_struct(kind):
        return any(kind.field(index).name == "bytes" for index in range(kind.num_fields))
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list or types.is_binary(kind) or types.is_large_binary(kind))


def _find_label(path: Path, names: Sequence[str], wanted: ColumnNames) -> str | None:
    """Return the label column beside a column of pictures."""
    if wanted.label is not None:
        found = [name for name in names if name.casefold() == wanted.label.casefold()]
        if not found:
            raise DataError(
                f"{path}: has no column called {wanted.label!r}, expected the one that --label "
                "names"
            )
        return found[0]
    for key in (LABEL, *OTHER_LABELS):
        for name in names:
            if name.casefold() == key:
                return name
    return None


def _check_row_ids(path: Path, row: int, name: str, column: Any, first: Any) -> None:
    """Check that row ids count up by one from the `first` of the file; `row` counts from 0."""
    if not isinstance(first, int | float) or first != first // 1:
        raise DataError(
            f"{path}: row 1, column {name!r} holds {first!r}, expected a whole number that counts "
            "the rows; --id takes a column of names"
        )
    expected = first + np.arange(row, row + len(column))
    wrong = np.flatnonzero(column.to_numpy(zero_copy_only=False) != expected)
    if len(wrong):
        bad = int(wrong[0])
        raise DataError(
            f"{path}: row {row + bad + 1}, column {name!r} holds {column[bad].as_py()!r}, expected "
            f"{expected[bad]}: predictions are numbered in the order of the rows"
        )


def _read_labels(path: Path, row: int, name: str, column: Any) -> NDArray[np.str_]:
    _check_not_null(path, row, name, column, "a label")
    values = np.array(column.to_pylist())
    return label_names(path, values)


def _check_not_null(path: Path, row: int, name: str, column: Any, expected: str) -> None:
    if column.null_count:
        bad = row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{path}: row {bad + 1}, column {name!r} is blank, expected {expected}")


def _stack_pixels(
    path: Path, row: int, batch: Any, names: Sequence[str], converter: PixelConverter
) -> NDArray[np.uint8]:
    """Return the images of some rows, uint8 [N, S, S]; `row` is the first of them, from 0."""
    columns = []
    for name in names:
        column = batch.column(name)
        _check_not_null(path, row, name, column, "a pixel")
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind not in "buif":
            raise DataError(
                f"{path}: column {name!r} holds {column.type}, expected numbers from 0 to 255"
            )
        columns.append(values)
    table = np.stack(columns, axis=1) if columns else np.empty((0, 0))

    def where(position: int) -> str:
        bad, column = divmod(position, len(names))
        return f"row {row + bad + 1}, column {names[column]!r}"

    return as_square(path, converter.to_bytes(table, where))


def _read_pictures(
    path: Path, row: int, batch: Any, name: str, converter: PixelConverter
) -> NDArray[np.uint8]:
    """Return the images in a column of pictures, uint8 [N, S, S]."""
    from pyarrow import types  # noqa: PLC0415 - an optional extra

    column = batch.column(name)
    column = getattr(column, "storage", column)
    _check_not_null(path, row, name, column, "a picture")
    if types.is_struct(column.type):
        column = column.field("bytes")
        _check_not_null(path, row, name, column, "the bytes of a picture in the file itself")
    if types.is_binary(column.type) or types.is_large_binary(column.type):
        images = [
            read_picture(content, f"{path}: row {row + at + 1}, column {name!r}")
            for at, content in enumerate(column.to_pylist())
        ]
        check_one_size(path, images, [f"row {row + at + 1}" for at in range(len(images))])
        return np.stack(images)
    values, shape = _flatten(path, row, name, column)
    size = max(1, int(np.prod(shape)))
    pixels = converter.to_bytes(
        values.reshape(len(column), *shape),
        lambda position: f"row {row + position // size + 1}, column {name!r}",
    )
    return as_square(path, pixels)


def _flatten(path: Path, row: int, name: str, column: Any) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return the numbers in a column of lists, and the shape of each: (784,) or (28, 28)."""
    from pyarrow import compute, types  # noqa: PLC0415 - an optional extra

    shape: list[int] = []
    n_lists = 1
    while not types.is_primitive(column.type):
        if not hasattr(column, "flatten") or types.is_struct(column.type):
            raise DataError(
                f"{path}: column {name!r} holds {column.type}, expected lists of pixels"
            )
        _check_not_null(path, row, name, column, "a list of pixels")
        lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
        if (wrong := np.flatnonzero(lengths != lengths[0])).size:
            bad = int(wrong[0]) // n_lists
            raise DataError(
                f"{path}: row {row + bad + 1}, column {name!r} holds {lengths[wrong[0]]} values, "
                f"expected {lengths[0]} as in the rows before"
            )
        shape.append(int(lengths[0]))
        n_lists *= int(lengths[0])
        column = column.flatten()
    _check_not_null(path, row, name, column, "a pixel")
    return column.to_numpy(zero_copy_only=False), tuple(shape)
