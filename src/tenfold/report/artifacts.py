"""Evidence: all that a run left in its folder, as far as it can be read."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, RecipeError, RecognizerError, TenfoldError
from tenfold.files import load_arrays, path_exists, save_arrays
from tenfold.formatting import pydantic_message
from tenfold.metrics import Score
from tenfold.predictions import Predictions
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder

EXAMPLES_FORMAT = "tenfold-examples-2"
EXAMPLES_OF_A_CLASS = 12

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Examples:
    """What the labelled images look like, in short.

    Attributes:
        images: a few of each class.
        means: float32 [C, S, S], the mean image of each class from 0 to 1; NaN if it has none.
        ink: float32 [C, 3], the 5, 50 and 95 % quantiles of an image's mean pixel, from 0 to 1.
        n: how many images there are in all.
    """

    images: Dataset
    means: NDArray[np.float32]
    ink: NDArray[np.float32]
    n: int

    @classmethod
    def of(cls, labelled: Dataset, seed: int = 0) -> "Examples":
        """Draw examples of each class of `labelled`, and measure the rest."""
        rng = np.random.default_rng(seed)
        count, size = len(labelled.classes), labelled.image_size
        means = np.full((count, size, size), np.nan, np.float32)
        ink = np.full((count, 3), np.nan, np.float32)
        chosen = []
        for index in range(count):
            rows = np.flatnonzero(labelled.require_labels() == index)
            chosen.append(np.sort(rng.permutation(rows)[:EXAMPLES_OF_A_CLASS]))
            if len(rows):
                images = labelled.images[rows]
                means[index] = images.mean(axis=0) / 255
                ink[index] = np.quantile(images.mean(axis=(1, 2)) / 255, (0.05, 0.5, 0.95))
        return cls(labelled.select(np.concatenate(chosen)), means, ink, len(labelled))

    def one_of(self, name: str | None) -> tuple[str, NDArray[np.uint8]]:
        """Return an image of the class called `name` and that name; by default the first of all.

        Raises:
            DataError: there is no image of such a class.
        """
        labels, classes = self.images.require_labels(), self.images.classes
        if name is None:
            return classes[labels[0]], self.images.images[0]
        found = np.flatnonzero(labels == classes.index(name)) if name in classes else labels[:0]
        if not len(found):
            seen = ", ".join(classes[label] for label in np.unique(labels))
            raise DataError(f"--digit {name}: the run has no such image, expected one of {seen}")
        return name, self.images.images[found[0]]

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, whole or not at all."""
        arrays: dict[str, NDArray[Any]] = {
            "images": self.images.images,
            "labels": self.images.require_labels(),
            "means": self.means,
            "ink": self.ink,
        }
        about = {"classes": self.images.classes, "name": self.images.name, "n": self.n}
        save_arrays(path, arrays, EXAMPLES_FORMAT, about)

    @classmethod
    def load(cls, path: Path) -> "Examples":
        """Read back what `save` wrote.

        Raises:
            RecognizerError: the file is missing or damaged.
        """
        arrays, about = load_arrays(path, EXAMPLES_FORMAT)
        images = Dataset(arrays["images"], arrays["labels"], tuple(about["classes"]), about["name"])
        return cls(images, arrays["means"], arrays["ink"], about["n"])


@dataclass(frozen=True, eq=False)
class RunArtifacts:
    """What a run left; a part is None where it is missing or cannot be read.

    Attributes:
        folder: where it lies.
        recipe: every choice.
        environment: machine, versions, precision and threads.
        data: facts of the training and validation part, and what the checks found.
        summary: seconds, and the score on held-out images.
        score: against known truth.
        history: finished epochs; of an ensemble, those of its first member.
        stretches: the same of every few steps.
        recognizer: what was learned.
        held_out: its answers to images that it did not learn.
        predictions: its answers to the images to predict.
        examples: of what it learned.
        gaps: a sentence for each part that is missing or cannot be read.
    """

    folder: RunFolder
    recipe: Recipe
    environment: Mapping[str, Any] | None
    data: Mapping[str, Any] | None
    summary: Mapping[str, Any] | None
    score: Mapping[str, Any] | None
    history: Sequence[Mapping[str, Any]] | None
    intervals: Sequence[Mapping[str, Any]] | None
    recognizer: Recognizer | None
    held_out: Predictions | None
    predictions: Predictions | None
    examples: Examples | None
    missing: Sequence[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "RunArtifacts":
        """Read what lies in the run folder `path`.

        Raises:
            RecognizerError: it is no run folder.
            RecipeError: its recipe is damaged: nothing else could be understood then.
        """
        folder = RunFolder(path)
        if not path_exists(folder.recipe):
            raise RecognizerError(f"{path}: holds no run, expected a run folder with a recipe.toml")
        recipe = Recipe.load(folder.recipe)
        missing: list[str] = []
        first = _first_member(folder, recipe) if recipe.ensemble.members > 1 else folder

        def part(read: Callable[[Path], T], source: Path, *, expected: bool = True) -> T | None:
            if not source.is_file():
                if expected:
                    missing.append(f"{source.name} is missing")
                return None
            try:
                return read(source)
            except (TenfoldError, ValueError, KeyError, TypeError, OSError) as error:
                missing.append(f"{source.name} cannot be read ({error})")
                return None

        return cls(
            folder=folder,
            recipe=recipe,
            environment=part(_object(Environment), folder.environment),
            data=part(_object(Data), folder.data),
            summary=part(_object(Summary), folder.summary, expected=False),
            score=part(_read_score, folder.score, expected=False),
            history=part(_read_rows, first.metrics),
            intervals=part(_read_rows, first.steps),
            recognizer=part(Recognizer.load, folder.recognizer),
            held_out=part(
                Predictions.load, folder.validation, expected=bool(recipe.data.validation)
            ),
            predictions=part(Predictions.load, folder.predictions, expected=False),
            examples=part(Examples.load, folder.examples),
            missing=missing,
        )


def _first_member(folder: RunFolder, recipe: Recipe) -> RunFolder:
    """Return the run folder of the first member, or `folder` if there is none.

    Members of another recipe may lie beside it: what was stopped and begun anew keeps them.
    """
    wanted = recipe.member(0).model_dump(exclude=METADATA_FIELDS)
    for path in sorted(folder.members.glob("*/recipe.toml")):
        with suppress(RecipeError):
            if Recipe.load(path).model_dump(exclude=METADATA_FIELDS) == wanted:
                return RunFolder(path.parent)
    return folder


def _object(shape: "type[ArtifactSchema]") -> Callable[[Path], dict[str, Any]]:
    """Return what reads a JSON object of this shape."""
    return lambda path: validate_artifact(json.loads(path.read_text("utf-8")), shape)


def _read_score(path: Path) -> dict[str, Any]:
    values = _object(ScoreFile)(path)
    Score(values["correct"], values["n"])  # no more correct than there are
    return values


def _read_rows(path: Path) -> list[dict[str, Any]]:
    return [
        validate_artifact(json.loads(line), Row) for line in path.read_text("utf-8").splitlines()
    ]


Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class ArtifactSchema(BaseModel):
    """An object of JSON; text is no number and a number no text."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Environment(ArtifactSchema):
    """`environment.json`."""

    device_name: str
    system: str
    python: str
    versions: dict[str, str]


class Part(ArtifactSchema):
    """The part of the images that is learned, or held out."""

    classes: Annotated[dict[str, Count], Field(min_length=1)]


class File(ArtifactSchema):
    """What the checks measured of one file."""

    name: str
    rows: int
    image_size: int
    pixel_min: int
    pixel_max: int
    pixel_mean: float
    pixel_std: float
    ink_fraction: float
    chi_square: float | None
    blank: list[Any]
    duplicates: list[Any]


class Checks(ArtifactSchema):
    """What the checks found."""

    train: File
    test: File | None
    overlap: list[Any]
    problems: list[str]
    notes: list[str]


class Data(ArtifactSchema):
    """`data.json`."""

    train: Part
    valid: Part | None
    checks: Checks | None


class Summary(ArtifactSchema):
    """`run.json`."""

    train_s: Seconds
    total_s: Seconds | None


class Expected(ArtifactSchema):
    """A score that was expected, and its interval from low to high."""

    accuracy: float
    interval: Annotated[list[float], Field(min_length=2, max_length=2)]


class ExpectedScoreFile(ArtifactSchema):
    """`run.json` as handing in reads it."""

    validation: Expected | None


class ScoreFile(ArtifactSchema):
    """`score.json`."""

    correct: Count
    n: Annotated[int, Field(ge=1)]


class Row(ArtifactSchema):
    """A line of `metrics.jsonl` or `steps.jsonl`; what was not measured is null or missing."""

    epoch: float
    train_loss: float | None = None
    train_accuracy: float | None = None
    valid_loss: float | None = None
    valid_accuracy: float | None = None
    learning_rate: float | None = None
    elapsed_s: Seconds | None = None


def validate_artifact(values: Any, shape: type[ArtifactSchema]) -> dict[str, Any]:
    """Return `values` as they are, if they have this shape.

    Raises:
        ValueError: they have not; the message says where.
    """
    if not isinstance(values, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - told as a gap, as other damage
    try:
        shape.model_validate(values)
    except ValidationError as error:
        raise ValueError(_sentence(error.errors()[0])) from error
    return values


def _sentence(detail: Mapping[str, Any]) -> str:
    """Turn one finding of pydantic into our own words."""
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"lacks {place}"
    expected = "an object" if detail["type"] == "model_type" else pydantic_message(detail["msg"])
    return f"{place} is {detail['input']!r:.40}, expected: {expected}"
