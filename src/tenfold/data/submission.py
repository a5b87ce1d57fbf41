"""Write and read submissions: ImageId,Label with ids from 1, or as another competition has them."""

import csv
import gzip
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from tenfold.data.compression import read_bytes
from tenfold.errors import DataError, OutputError
from tenfold.files import atomic_path

_OTHER_SUFFIXES = (
    ".zip", ".bz2", ".xz", ".zst", ".7z", ".parquet", ".feather", ".npz", ".npy", ".xlsx", ".json",
)  # fmt: skip
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass(frozen=True)
class SubmissionForm:
    """What a competition expects of a submission.

    Attributes:
        header: the names of its two columns.
        ids: of the images, in their order; None numbers them from 1.
    """

    header: tuple[str, str] = ("ImageId", "Label")
    ids: Sequence[str] | None = None

    @classmethod
    def like(cls, path: Path) -> "SubmissionForm":
        """Return the form of a sample submission: its header, and its ids in their order.

        Raises:
            DataError: it is no table of two columns.
        """
        header, rows = _read_table(path)
        return cls(header, [row[0] for _, row in rows])

    @property
    def is_kaggles(self) -> bool:
        """Whether it is that of Digit Recognizer, whose labels are whole numbers."""
        return self.header == ("ImageId", "Label")


KAGGLE_FORM = SubmissionForm()


def check_submission_name(path: Path) -> None:
    """Make sure that a submission is written as its name says: plain, or gzip for .gz.

    Raises:
        OutputError: the name says something else.
    """
    if path.suffix.lower() in _OTHER_SUFFIXES:
        raise OutputError(f"{path}: ends in {path.suffix!r}, expected .csv, or .csv.gz for gzip")


def write_submission(
    path: Path | str,
    labels: Sequence[str] | NDArray[np.str_] | Sequence[int] | NDArray[np.integer],
    classes: Sequence[str] | None = None,
    form: SubmissionForm = KAGGLE_FORM,
) -> None:
    """Write a submission and verify what was written.

    Args:
        path: the file; gzip if it ends in .gz.
        labels: one for each image, in order: names as text, or indices into `classes` as
            integers, as in `Dataset.labels` and from `Recognizer.predict`.
        classes: the names of the classes, each a whole number; required for indices.
        form: what the competition expects.

    Raises:
        DataError: there are no labels, they are indices without or out of `classes`, neither text
            nor integers, a name is not a whole number, or there is not an id for each.
        OutputError: the file cannot be written, or reads back differently.
    """
    path = Path(path)
    names = _label_names(path, np.asarray(labels), classes)
    with submission_writer(path, form) as write:
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
def submission_writer(
    path: Path, form: SubmissionForm = KAGGLE_FORM
) -> Iterator[Callable[[Iterable[str]], None]]:
    """Write a submission chunk by chunk.

    The file replaces an earlier one when the block ends without an error, once it has been read
    back and verified.

    Yields:
        A function that takes the label names of the next images.

    Raises:
        DataError: a label is not a whole number, there are none at all, or not one for each id.
        OutputError: the file cannot be written, or reads back differently.
    """
    check_submission_name(path)
    written, n_images = hashlib.sha256(), 0
    with atomic_path(path) as temporary:
        with _open_to_write(temporary, path) as file:

            def write_text(text: str) -> None:
                file.write(text.encode())
                written.update(text.encode())

            def write(names: Iterable[str]) -> None:
                nonlocal n_images
                lines = []
                for image_id, name in enumerate(map(str, names), start=n_images + 1):
                    if form.is_kaggles and not _WHOLE_NUMBER.fullmatch(name):
                        raise DataError(
                            f"{path}: the label of image {image_id} is {name!r}, "
                            "expected a whole number"
                        )
                    lines.append(f"{_id_at(path, form, image_id)},{_cell(name)}\n")
                n_images += len(lines)
                write_text("".join(lines))

            write_text(",".join(map(_cell, form.header)) + "\n")
            yield write
            if not n_images:
                raise DataError(f"{path}: no labels to write, expected one for each image")
            if form.ids is not None and len(form.ids) != n_images:
                raise DataError(
                    f"{path}: there are {n_images:,} predictions for {len(form.ids):,} ids, "
                    "expected one for each"
                )
        if _file_digest(temporary, path) != written.digest():
            raise OutputError(f"{path}: reads back differently from what was written")


@contextmanager
def _open_to_write(temporary: Path, path: Path) -> Iterator[IO[bytes]]:
    with temporary.open("wb") as file:
        if path.suffix.lower() != ".gz":
            yield file
            return
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed:
            yield cast(IO[bytes], compressed)


def _id_at(path: Path, form: SubmissionForm, number: int) -> str:
    """Return the id of an image by its number, from 1."""
    if form.ids is None:
        return str(number)
    if number > len(form.ids):
        raise DataError(
            f"{path}: there are more predictions than the {len(form.ids):,} ids, expected one for "
            "each"
        )
    return _cell(form.ids[number - 1])


def _cell(text: str) -> str:
    """Return text as a cell of CSV."""
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\n\r') else text


def read_submission(path: Path | str) -> NDArray[np.int64]:
    """Return the labels of a submission, the numbers themselves, int64 [N], in the order of ids.

    Raises:
        DataError: the header is not ImageId,Label, the ids are not 1 to N once each, or a label
            is not a whole number.
    """
    path = Path(path)
    header, rows = _read_table(path)
    if header != KAGGLE_FORM.header:
        raise DataError(f"{path}: line 1 is {','.join(header)[:60]!r}, expected 'ImageId,Label'")
    n_images = len(rows)
    labels: dict[int, int] = {}
    for number, cells in rows:
        image_id, label = _parse_line(path, number, cells)
        if image_id in labels or not 1 <= image_id <= n_images:
            problem = "appears twice" if image_id in labels else "is out of range"
            raise DataError(
                f"{path}: line {number}, ImageId {image_id} {problem}, "
                f"expected 1 to {n_images} once each as there are {n_images} rows"
            )
        labels[image_id] = label
    return np.array([labels[image_id] for image_id in range(1, n_images + 1)], dtype=np.int64)


def match_answers(submission: Path, labels: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the answers of two files with any header, matched by their ids, as numbers: int64 [N].

    Equal numbers are equal answers.

    Raises:
        DataError: a file is no submission, or the ids differ.
    """
    answers, known = read_answers(submission), read_answers(labels)
    if missing := [row_id for row_id in known if row_id not in answers]:
        raise DataError(
            f"{submission}: has no answer to {missing[0]!r} and {len(missing) - 1:,} more, "
            f"expected one for each id in {labels}"
        )
    numbers: dict[str, int] = {}
    rows = [
        [numbers.setdefault(each[row_id], len(numbers)) for row_id in known]
        for each in (answers, known)
    ]
    if len(answers) > len(known):
        rows[0] += [0] * (len(answers) - len(known))
    return np.array(rows[0], np.int64), np.array(rows[1], np.int64)


def check_is_like(path: Path, sample: Path) -> None:
    """Make sure that a submission has the header and the ids of a sample.

    Raises:
        DataError: it has not.
    """
    own, expected = SubmissionForm.like(path), SubmissionForm.like(sample)
    if own.header != expected.header:
        raise DataError(
            f"{path}: line 1 is {','.join(own.header)[:60]!r}, expected "
            f"{','.join(expected.header)!r} as in {sample}"
        )
    if sorted(own.ids or ()) != sorted(expected.ids or ()):
        raise DataError(f"{path}: has other ids than {sample}, expected the same")


def read_answers(path: Path | str) -> dict[str, str]:
    """Return the label of each id in a submission to any competition, whatever its header says.

    Raises:
        DataError: it has not two columns, a cell is blank, or an id appears twice.
    """
    path = Path(path)
    _, rows = _read_table(path)
    answers: dict[str, str] = {}
    for number, cells in rows:
        row_id, label = (cell.strip() for cell in cells)
        if not row_id or not label or row_id in answers:
            problem = f"the id {row_id!r} appears twice" if row_id in answers else "is incomplete"
            raise DataError(f"{path}: line {number}, {problem}, expected an id and its label")
        answers[row_id] = label
    return answers


def _read_table(path: Path) -> tuple[tuple[str, str], list[tuple[int, list[str]]]]:
    """Return the header, and each row of two cells after the number of its line."""
    try:
        text = read_bytes(path).tobytes().decode("utf-8-sig")
        lines = list(csv.reader(text.rstrip().splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is not CSV text ({error}), expected ImageId,Label") from error
    if not lines or len(lines[0]) != 2:
        found = ",".join(lines[0][:4])[:60] if lines else ""
        raise DataError(f"{path}: line 1 is {found!r}, expected 'ImageId,Label'")
    if len(lines) == 1:
        raise DataError(f"{path}: has a header and no rows, expected a label for each image")
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != 2:
            raise DataError(
                f"{path}: line {number} has {len(cells)} values, expected {','.join(lines[0])}"
            )
    return (lines[0][0], lines[0][1]), list(enumerate(lines[1:], start=2))


def _parse_line(path: Path, number: int, cells: list[str]) -> tuple[int, int]:
    """Return the image id and the label in one line."""
    for column, cell in zip(KAGGLE_FORM.header, cells, strict=True):
        if not _WHOLE_NUMBER.fullmatch(cell.strip()):
            raise DataError(
                f"{path}: line {number}, column {column} holds {cell[:40]!r}, "
                "expected a whole number"
            )
    return int(cells[0]), int(cells[1])


def _file_digest(temporary: Path, path: Path) -> bytes:
    """Return the SHA-256 of what was written, read back."""
    with temporary.open("rb") as file:
        if path.suffix.lower() != ".gz":
            return hashlib.file_digest(file, "sha256").digest()
        with gzip.GzipFile(fileobj=file) as compressed:
            return hashlib.file_digest(compressed, "sha256").digest()
