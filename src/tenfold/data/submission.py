"""Answers as the competition takes them: ImageId,Label with ids from 1. Truth looks the same."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data.compression import contents
from tenfold.errors import DataError, OutputError
from tenfold.files import atomic_path

_HEADER = ["ImageId", "Label"]
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def write_submission(
    path: Path | str,
    answers: Sequence[str] | NDArray[np.str_] | NDArray[np.integer],
    classes: tuple[str, ...] | None = None,
) -> None:
    """Write `answers`, one whole number for each image in order, and read them back to be sure.

    Raises:
        DataError: an answer is not a whole number, or there is none at all.
        OutputError: the disk does not take the file, or gives back something else.
    """
    if classes is not None:
        answers = np.array(classes)[np.asarray(answers)]
    with submission(Path(path)) as add:
        add(answers)


@contextmanager
def submission(path: Path) -> Iterator[Callable[[Iterable[object]], None]]:
    """Write a submission piece by piece: yield what takes the next answers.

    When the block ends the file is read back, and only then takes its place.

    Raises:
        DataError: an answer is not a whole number, or there is none at all.
        OutputError: the disk does not take the file, or gives back something else.
    """
    written, count = hashlib.sha256(), 0
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:

            def put(text: str) -> None:
                file.write(text.encode("ascii"))
                written.update(text.encode("ascii"))

            def add(answers: Iterable[object]) -> None:
                nonlocal count
                lines = []
                for row, label in enumerate(map(str, answers), start=count + 1):
                    if not _WHOLE.fullmatch(label):
                        raise DataError(
                            f"{path}: the answer for image {row} is {label!r}, "
                            "expected a whole number"
                        )
                    lines.append(f"{row},{label}\n")
                count += len(lines)
                put("".join(lines))

            put(",".join(_HEADER) + "\n")
            yield add
            if not count:
                raise DataError(f"{path}: no answers to write, expected one for each image")
        if _checksum(temporary) != written.digest():
            raise OutputError(f"{path}: reads back differently from what was written")


def _checksum(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def read_submission(path: Path | str) -> NDArray[np.int64]:
    """Return the labels, int64 [N], in the order of their ids.

    Raises:
        DataError: the header is not ImageId,Label, the ids are not 1 to N once each, or a label
            is not a whole number.
    """
    path = Path(path)
    try:
        text = contents(path).tobytes().decode("utf-8-sig")
        rows = list(csv.reader(text.rstrip().splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not CSV text ({error}), expected ImageId,Label") from error
    if not rows or rows[0] != _HEADER:
        found = ",".join(rows[0][:4])[:60] if rows else ""
        raise DataError(f"{path}: line 1 is {found!r}, expected 'ImageId,Label'")
    count = len(rows) - 1
    if not count:
        raise DataError(f"{path}: has a header and no rows, expected an answer for each image")
    labels: dict[int, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        image, label = _entry(path, number, row)
        if image in labels or not 1 <= image <= count:
            problem = "stands there twice" if image in labels else "is out of range"
            raise DataError(
                f"{path}: line {number}, ImageId {image} {problem}, "
                f"expected 1 to {count} once each as there are {count} rows"
            )
        labels[image] = label
    return np.array([labels[image] for image in range(1, count + 1)], dtype=np.int64)


def _entry(path: Path, number: int, row: list[str]) -> tuple[int, int]:
    if len(row) != len(_HEADER):
        raise DataError(f"{path}: line {number} has {len(row)} values, expected ImageId,Label")
    for name, cell in zip(_HEADER, row, strict=True):
        if not _WHOLE.fullmatch(cell.strip()):
            raise DataError(
                f"{path}: line {number}, column {name} holds {cell[:40]!r}, expected a whole number"
            )
    return int(row[0]), int(row[1])
