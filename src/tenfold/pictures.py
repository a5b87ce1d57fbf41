"""Read the digits in pictures: find them, classify them, and say how far to trust each answer."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from tenfold.classifier import Classifier, PreparedClassifier
from tenfold.data.folders import has_datasets
from tenfold.decision import Decision
from tenfold.errors import ImageError
from tenfold.files import atomic_path, path_exists
from tenfold.images import Picture, Segmentation, decode_all, explain, segment
from tenfold.images.components import Box
from tenfold.images.decode import STDIN, SUFFIXES, Source
from tenfold.models import load

COLUMNS: Final = (
    "file", "line", "position", "digit", "confidence", "decision", "left", "top", "right", "bottom"
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ReadDigit:
    """One digit of a picture, and the answer to it.

    Attributes:
        label: the name of the most probable class.
        confidence: its probability.
        decision: whether to trust the answer.
        probabilities: float32 [classes].
        box: left, top, right, bottom in pixels of the upright picture.
        line: of the text, from 0.
        position: in its line, from 0 at the left.
    """

    label: str
    confidence: float
    decision: Decision
    probabilities: NDArray[np.float32]
    box: Box
    line: int
    position: int


@dataclass(frozen=True, eq=False, repr=False)
class ReadImage:
    """The digits of one picture, in the order of reading.

    Attributes:
        name: the file's.
        digits: none on a blank page.
        classes: the names that `ReadDigit.probabilities` are in the order of.
        segmentation: how they were found; see `explain`.
    """

    name: str
    digits: tuple[ReadDigit, ...]
    classes: tuple[str, ...]
    segmentation: Segmentation

    @property
    def text(self) -> str:
        """The digits as text, a line of the picture in each line."""
        lines: dict[int, str] = {}
        for digit in self.digits:
            lines[digit.line] = lines.get(digit.line, "") + digit.label
        return "\n".join(lines.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about the file: "the first of 12 frames is read"."""
        return self.segmentation.picture.notes

    def __repr__(self) -> str:
        return f"ReadImage({self.name!r}: {self.summary()})"

    def __str__(self) -> str:
        return self.text

    def summary(self) -> str:
        """Return the digits in one line, with what is not sure: "3 (not sure: 3 60%, 8 38%)"."""
        if not self.digits:
            return str(Decision.NO_INK)
        if all(digit.decision is Decision.NO_DIGIT for digit in self.digits):
            return f"{Decision.NO_DIGIT} (most like {self.text.replace(chr(10), ' / ')})"
        doubts = [
            self._doubt(number, digit)
            for number, digit in enumerate(self.digits, 1)
            if digit.decision is not Decision.SURE
        ]
        text = self.text.replace("\n", " / ")
        return f"{text} ({'; '.join(doubts)})" if doubts else text

    def _doubt(self, number: int, digit: ReadDigit) -> str:
        which = "" if len(self.digits) == 1 else f"digit {number} "
        if digit.decision is Decision.NO_DIGIT:
            return f"{which}{Decision.NO_DIGIT}"
        likely = np.argsort(-digit.probabilities)[:2].tolist()
        return f"{which}{Decision.NOT_SURE}: " + ", ".join(
            f"{self.classes[each]} {digit.probabilities[each]:.0%}" for each in likely
        )

    def prediction_sets(self, classifier: Classifier, coverage: float) -> list[list[str]]:
        """Return the prediction set of each digit; see `DecisionRule.prediction_sets`."""
        rows = np.array([digit.probabilities for digit in self.digits], np.float32)
        rows = rows.reshape(-1, len(self.classes))
        sets = classifier.decision_rule.prediction_sets(rows, coverage)
        return [[self.classes[each] for each in np.flatnonzero(row)] for row in sets]

    def explain(self) -> Any:
        """Return a picture of the steps, from the file to the answers, as a `PIL.Image.Image`."""
        rows = [digit.probabilities for digit in self.digits]
        return explain(self.segmentation, np.array(rows) if rows else None, self.classes)

    def to_json(self, sets: Sequence[Sequence[str]] | None = None) -> dict[str, Any]:
        """Return JSON values; `sets` are the prediction sets of the digits, where wanted."""
        digits = []
        for index, digit in enumerate(self.digits):
            probabilities = zip(self.classes, digit.probabilities.tolist(), strict=True)
            found: dict[str, Any] = {
                "digit": digit.label,
                "confidence": round(digit.confidence, 6),
                "decision": str(digit.decision),
                "box": list(digit.box),
                "line": digit.line,
                "position": digit.position,
                "probabilities": {name: round(each, 6) for name, each in probabilities},
            }
            digits.append(found if sets is None else found | {"set": list(sets[index])})
        return {
            "file": self.name,
            "text": self.text,
            "ink": bool(self.digits),
            "digits": digits,
            "notes": list(self.notes),
        }


def read_images(
    sources: Source | Iterable[Source], model: Classifier | Path | str | None = None
) -> list[ReadImage]:
    """Read the digits in pictures.

    Args:
        sources: a path, a folder, "-" for standard input, the bytes of a file, a Pillow image, or
            an array [H, W], [H, W, 3] or [H, W, 4]; or several of them.
        model: what classifies the digits, or its file; None is the model in the box.

    Raises:
        ImageError: the first source that is missing, damaged, or no picture.
        RecognizerError: there is no such model.
    """
    classifier = model if isinstance(model, Classifier) else load(model)
    found = []
    for each in iter_images(_as_list(sources), classifier):
        if isinstance(each, ImageError):
            raise each
        found.append(each)
    return found


def iter_images(
    sources: Iterable[Source], classifier: Classifier
) -> Iterator[ReadImage | ImageError]:
    """Yield what is read in each picture, or the error of that one; the others are read still."""
    classifier.check_reads_pictures()
    predictor = classifier.predictor()
    for picture in decode_all(sources):
        if isinstance(picture, ImageError):
            yield picture
            continue
        yield read_picture(picture, classifier, predictor)


def read_picture(
    picture: Picture, classifier: Classifier, predictor: PreparedClassifier
) -> ReadImage:
    """Read the digits of one picture.

    Args:
        picture: as `tenfold.images.decode` returns it.
        classifier: one that `check_reads_pictures`.
        predictor: the same, prepared.
    """
    found = segment(picture, predictor.predict_proba)
    probabilities = predictor.predict_proba(found.images)
    decisions = classifier.decision_rule.decide(probabilities)
    digits = tuple(
        ReadDigit(
            label=classifier.classes[int(row.argmax())],
            confidence=float(row.max()),
            decision=decision,
            probabilities=row,
            box=digit.box,
            line=digit.line,
            position=digit.position,
        )
        for digit, row, decision in zip(found.digits, probabilities, decisions, strict=True)
    )
    return ReadImage(picture.name, digits, classifier.classes, found)


# The first bytes of PNG, JPEG, GIF, BMP, TIFF, and of PDF, whose error says what to do instead.
_MAGIC: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"%PDF-")


def is_picture(source: str) -> bool:
    """Whether an input of the command line is read as a picture: by its name, else its content."""
    path = Path(source)
    if source != STDIN and path_exists(path) and path.is_dir():
        return not has_datasets(path)
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        if source == STDIN:
            head = _peek(sys.stdin.buffer)
        elif path_exists(path) and path.is_fifo():  # what is read of a pipe is gone
            return False
        else:
            with path.open("rb") as file:
                head = file.read(12)
    except OSError:  # whoever reads it as data says so
        return False
    return head.startswith(_MAGIC) or head[8:] == b"WEBP" or head[4:8] == b"ftyp"


def _peek(stream: BinaryIO) -> bytes:
    """Return the first bytes of a stream, which stay in it."""
    if isinstance(stream, io.BufferedReader):
        return stream.peek(12)[:12]
    head = stream.read(12)
    stream.seek(0)
    return head


def _as_list(sources: Source | Iterable[Source]) -> list[Source]:
    """Return the sources; text, bytes, arrays and streams are one source, not many."""
    if isinstance(sources, list | tuple):
        return list(sources)
    if isinstance(sources, Iterator) and not hasattr(sources, "read"):
        return list(sources)
    return [sources]  # type: ignore[list-item]


def to_csv(images: Iterable[ReadImage]) -> str:
    """Return a table of all digits, in the columns `COLUMNS`; a picture without any has one row."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image in images:
        for digit in image.digits:
            answer = (digit.label, f"{digit.confidence:.6f}", digit.decision)
            writer.writerow((image.name, digit.line, digit.position, *answer, *digit.box))
        if not image.digits:
            writer.writerow((image.name, "", "", "", "", Decision.NO_INK, "", "", "", ""))
    return table.getvalue()


def save_explanation(image: ReadImage, folder: Path) -> Path:
    """Save the picture of the steps in `folder`, named after the file, and return its path.

    Raises:
        OutputError: it cannot be written.
    """
    stem = Path(image.name).stem
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    path = next(path for name in names if not path_exists(path := folder / f"{name}.png"))
    with atomic_path(path) as temporary:
        image.explain().save(temporary)
    return path
