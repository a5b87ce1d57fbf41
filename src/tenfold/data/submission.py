"""Write and read submissions: ImageId,Label with ids from 1, also of true labels."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.compression import read_bytes
from tenfold.errors import DataError, OutputError
from tenfold.files import atomic_path

_HEADER = ["ImageId", "Label"]
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def write_submission(
    path: Path | str,
    labels: Sequence[str] | NDArray[np.str_] | Sequence[int] | NDArray[np.integer],
    classes: Sequence[str] | None = None,
) -> None:
    """Write a submission and verify what was written.

    Args:
        path: the file.
        labels: one for each image, in order: names as text, or indices into `classes` as
            integers, as in `Dataset.labels` and from `Recognizer.predict`.
        classes: the names of the classes, each a whole number; required for indices.

    Raises:
        DataError: there are no labels, they are indices without or out of `classes`, neither text
            nor integers, or a name is not a whole number.
        OutputError: the file cannot be written, or reads back differently.
    """
    path = Path(path)
    names = _label_names(path, np.asarray(labels), classes)
    with submission_writer(path) as write:
        write(names)


def _label_names(path: Path, labels: NDArray[Any], classes: Sequence[str] | None) -> list[str]:
    """Return the name of each label; see `write_submission`."""
    if labels.ndim != 1:
        raise DataError(f"{path}: labels have the shape {list(labels.shape)}, expected [N]")
    if not len(labels):
        return []
    if labels.dtype.kind in "UTO" and all(isinstance(name, str) for name in labels):
        return [str(name) for name in labels]
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: labels are {labels.dtype}, expected names as text or integer indices"
        )
    if classes is None:
        raise DataError(
            f"{path}: labels are {labels.dtype} indices without classes, expected the names of the "
            "classes too, such as recognizer.classes, or labels as text"
        )
    invalid = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(invalid):
        first = int(invalid[0])
        raise DataError(
            f"{path}: the label of image {first + 1} is {labels[first]}, "
            f"expected an index of the {len(classes)} classes"
        )
    return [classes[int(index)] for index in labels]


@contextmanager
def submission_writer(path: Path) -> Iterator[Callable[[Iterable[str]], None]]:
    """Write a submission chunk by chunk.

    The file replaces an earlier one when the block ends without an error, once it has been read
    back and verified.

    Yields:
        A function that takes the label names of the next images.

    Raises:
        DataError: a label is not a whole number, or there are none at all.
        OutputError: the file cannot be written, or reads back differently.
    """
    written, n_images = hashlib.sha256(), 0
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:

            def write_text(text: str) -> None:
                file.write(text.encode("ascii"))
                written.update(text.encode("ascii"))

            def write(names: Iterable[str]) -> None:
                nonlocal n_images
                lines = []
                for image_id, name in enumerate(map(str, names), start=n_images + 1):
                    if not _WHOLE_NUMBER.fullmatch(name):
                        raise DataError(
                            f"{path}: the label of image {image_id} is {name!r}, "
                            "expected a whole number"
                        )
                    lines.append(f"{image_id},{name}\n")
                n_images += len(lines)
                write_text("".join(lines))

            write_text(",".join(_HEADER) + "\n")
            yield write
            if not n_images:
                raise DataError(f"{path}: no labels to write, expected one for each image")
        if _file_digest(temporary) != written.digest():
            raise OutputError(f"{path}: reads back differently from what was written")


def read_submission(path: Path | str) -> NDArray[np.int64]:
    """Return the labels of a submission, the numbers themselves, int64 [N], in the order of ids.

    Raises:
        DataError: the header is not ImageId,Label, the ids are not 1 to N once each, or a label
            is not a whole number.
    """
    path = Path(path)
    try:
        text = read_bytes(path).tobytes().decode("utf-8-sig")
        lines = list(csv.reader(text.rstrip().splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not CSV text ({error}), expected ImageId,Label") from error
    if not lines or lines[0] != _HEADER:
        found = ",".join(lines[0][:4])[:60] if lines else ""
        raise DataError(f"{path}: line 1 is {found!r}, expected 'ImageId,Label'")
    n_images = len(lines) - 1
    if not n_images:
        raise DataError(f"{path}: has a header and no rows, expected a label for each image")
    labels: dict[int, int] = {}
    for number, cells in enumerate(lines[1:], start=2):
        image_id, label = _parse_line(path, number, cells)
        if image_id in labels or not 1 <= image_id <= n_images:
            problem = "appears twice" if image_id in labels else "is out of range"
            raise DataError(
                f"{path}: line {number}, ImageId {image_id} {problem}, "
                f"expected 1 to {n_images} once each as there are {n_images} rows"
            )
        labels[image_id] = label
    return np.array([labels[image_id] for image_id in range(1, n_images + 1)], dtype=np.int64)


def _parse_line(path: Path, number: int, cells: list[str]) -> tuple[int, int]:
    """Return the image id and the label in one line."""
    if len(cells) != len(_HEADER):
        raise DataError(f"{path}: line {number} has {len(cells)} values, expected ImageId,Label")
    for column, cell in zip(_HEADER, cells, strict=True):
        if not _WHOLE_NUMBER.fullmatch(cell.strip()):
            raise DataError(
                f"{path}: line {number}, column {column} holds {cell[:40]!r}, "
                "expected a whole number"
            )
    return int(cells[0]), int(cells[1])


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
