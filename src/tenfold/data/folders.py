"""Folders: of data files, of pictures by class, and of pictures with a table of their labels."""

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.compression import read_bytes
from tenfold.data.csv_header import LABEL, OTHER_LABELS
from tenfold.data.dataset import Dataset
from tenfold.data.idx import is_labels
from tenfold.data.picture_files import check_one_size, is_picture_file, natural_key, read_picture
from tenfold.data.request import Request, make_dataset, part_of, select_part
from tenfold.errors import DataError
from tenfold.files import os_error_message, path_exists

DATA_SUFFIXES = (
    ".csv", ".tsv", ".arff", ".parquet", ".feather", ".arrow", ".npz", ".npy", ".zip", ".tar",
    ".gz", ".bz2", ".xz", ".tgz", "-ubyte",
)  # fmt: skip
_FILE_COLUMNS = ("file", "filename", "file_name", "image", "path", "id", "image_id", "img", "name")
_MAX_DEPTH = 4

Read = Callable[[Path, Request], Dataset]

logger = logging.getLogger(__name__)


def is_folder(path: Path, _head: bytes) -> bool:
    """Return whether a path is a folder."""
    return path_exists(path) and path.is_dir()


def is_data_file(path: Path) -> bool:
    """Return whether a file in a folder may be a dataset, by its name."""
    name = path.name.lower()
    return name.endswith(DATA_SUFFIXES) and not name.startswith((".", "sample_submission"))


def has_datasets(folder: Path) -> bool:
    """Return whether a folder is a dataset rather than pictures to read one by one."""
    entries = _entries(folder)
    if any(is_picture_file(path) for path in entries):
        return False
    return any(path.is_dir() or is_data_file(path) for path in entries)


def read_folder(folder: Path, request: Request, read: Read) -> Dataset:
    """Read what a folder holds of the wanted part.

    That is a data file, by its name, such as train.csv; or folders of pictures, named by their
    class, perhaps in a folder train or test; or pictures with their labels in a CSV beside them.

    Args:
        folder: the folder.
        request: what is wanted.
        read: reads a data file of any format.

    Raises:
        DataError: it holds nothing of the kind, or does not show which file is wanted.
    """
    place = folder
    for _ in range(_MAX_DEPTH):
        entries = _entries(place)
        files = [path for path in entries if path.is_file()]
        pictures = [path for path in files if is_picture_file(path)]
        data = [path for path in files if is_data_file(path)]
        subfolders = [path for path in entries if path.is_dir()]
        if pictures:
            return _read_pictures(folder, pictures, data, request)
        if data and not (subfolders and _is_table_of_labels(data)):
            return read(_select_file(folder, data, request), request)
        chosen = _select_folders(subfolders, request)
        if len(chosen) != 1:
            table = data[0] if data and request.labels is not False else None
            return _read_classes(folder, chosen, request, table)
        if data:
            inside = [path for path in _entries(chosen[0]) if is_picture_file(path)]
            if inside:
                return _read_pictures(folder, inside, data, request)
        place = chosen[0]
    raise DataError(f"{folder}: has folders in folders, expected one folder for each class")


def _entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir(), key=natural_key)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read ({os_error_message(error)}), expected a folder"
        ) from error
    return [path for path in entries if not path.name.startswith((".", "__MACOSX"))]


def _select_file(folder: Path, files: Sequence[Path], request: Request) -> Path:
    """Return the data file of the wanted part; images and labels in two files count as one."""
    single = [path for path in files if not is_labels(path)] if len(files) > 1 else list(files)
    names = select_part([path.name for path in single], request.part)
    if not names and len(single) == 1:
        names = [single[0].name]
    if len(names) != 1:
        shown = ", ".join(path.name for path in single[:5])
        raise DataError(
            f"{folder}: holds {shown or 'no data file'}, expected one file called "
            f"{request.part}, such as {request.part}.csv: name the file itself"
        )
    return folder / names[0] if single[0].parent == folder else single[0].parent / names[0]


def _select_folders(folders: Sequence[Path], request: Request) -> list[Path]:
    """Return the folder of the wanted part; all of them if their names speak of no part."""
    if any(part_of(path.name) for path in folders):
        names = select_part([path.name for path in folders], request.part)
        return [path for path in folders if path.name in names] or list(folders)
    return list(folders)


def _read_classes(
    folder: Path, folders: Sequence[Path], request: Request, table: Path | None
) -> Dataset:
    """Read pictures in folders that are named by their class."""
    pictures, names = [], []
    for each in folders:
        found = [path for path in _entries(each) if path.is_file() and is_picture_file(path)]
        pictures += found
        names += [each.name] * len(found)
    if not pictures:
        raise DataError(
            f"{folder}: holds no data file and no pictures, expected train.csv, or a folder of "
            "pictures for each class"
        )
    if table is not None:
        logger.info("%s: the classes are the names of its folders, %s ignored", folder, table.name)
    return _dataset(folder, pictures, np.array(names), request)


def _read_pictures(
    folder: Path, pictures: Sequence[Path], tables: Sequence[Path], request: Request
) -> Dataset:
    """Read pictures, and their labels from the table beside them."""
    if request.labels is False:
        return _dataset(folder, pictures, None, request)
    tables = [path for path in tables if path.suffix.lower() in {".csv", ".tsv"}]
    if len(tables) > 1:
        chosen = select_part([path.name for path in tables], request.part)
        tables = [path for path in tables if path.name in chosen]
    if len(tables) != 1:
        if request.labels is None and not tables:
            return _dataset(folder, pictures, None, request)
        raise DataError(
            f"{folder}: holds pictures and {len(tables)} tables of their labels, expected one CSV "
            "with the columns file,label; or a folder of pictures for each class"
        )
    labels = _read_table(tables[0], request)
    by_name = {path.name: path for path in pictures} | {path.stem: path for path in pictures}
    missing = [name for name in labels if name not in by_name]
    if missing:
        raise DataError(
            f"{tables[0]}: names the picture {missing[0]!r}, which is not in {folder}, expected "
            "one file for each row"
        )
    chosen_pictures = [by_name[name] for name in labels]
    if len(set(chosen_pictures)) < len(pictures):
        left_out = len(pictures) - len(set(chosen_pictures))
        logger.warning("%s: %d pictures have no label and are left out", folder, left_out)
    return _dataset(folder, chosen_pictures, np.array(list(labels.values())), request)


def _is_table_of_labels(files: Sequence[Path]) -> bool:
    """Whether the only data file is a table of labels for pictures."""
    if len(files) != 1 or files[0].suffix.lower() not in {".csv", ".tsv"}:
        return False
    with files[0].open("rb") as stream:
        header = stream.readline(2**16).decode(errors="replace").lower()
    return 1 <= header.count(",") + header.count("\t") <= 5


def _read_table(path: Path, request: Request) -> dict[str, str]:
    """Return the label of each picture by its name."""
    try:
        text = read_bytes(path).tobytes().decode("utf-8-sig")
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        rows = list(csv.reader(text.splitlines(), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not CSV text ({error}), expected file,label") from error
    header = [name.strip().casefold() for name in rows[0]] if rows else []
    label_names: tuple[str, ...] = (LABEL, *OTHER_LABELS)
    if request.columns.label is not None:
        label_names = (request.columns.label.casefold(),)
    file = next((header.index(name) for name in _FILE_COLUMNS if name in header), None)
    label = next((header.index(name) for name in label_names if name in header), None)
    if file is None or label is None or file == label:
        raise DataError(
            f"{path}: line 1 is {','.join(header)[:60]!r}, expected the columns file,label"
        )
    labels: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {number} has {len(row)} values, expected {len(header)} as in the "
                "header"
            )
        name, value = Path(row[file].strip()).name, row[label].strip()
        if not value or name in labels:
            problem = "appears twice" if name in labels else "has no label"
            raise DataError(f"{path}: line {number}, {name!r} {problem}, expected one label")
        labels[name] = value
    return labels


def _dataset(
    folder: Path, pictures: Sequence[Path], names: NDArray[np.str_] | None, request: Request
) -> Dataset:
    images = [read_picture(path) for path in pictures]
    places = [str(path) for path in pictures]
    check_one_size(folder, images, places)
    return make_dataset(
        folder, np.stack(images), names, request, describe=lambda row: pictures[row].name
    )
