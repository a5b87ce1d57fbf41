"""What a run left in its folder, as far as it can be read."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tenfold.artifact import (
    Accuracy,
    ArtifactSchema,
    ClassNames,
    Count,
    Seconds,
    check_indices,
    load_artifact,
    parse_json,
    read_json,
    read_text,
    refusing,
    validate_artifact,
)
from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, RecipeError, RecognizerError, TenfoldError
from tenfold.files import path_exists, save_arrays
from tenfold.metrics import Score
from tenfold.predictions import Predictions
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder

EXAMPLES_FORMAT = "tenfold-examples-2"
EXAMPLES_PER_CLASS = 12

EXAMPLES_ARRAYS = {
    "images": "uint8 [K, S, S]",
    "labels": "int64 [K]",
    "means": "float32 [C, S, S]",
    "ink": "float32 [C, 3]",
}

T = TypeVar("T")
Fitting = TypeVar("Fitting", Predictions, "Examples")


class ExamplesFile(ArtifactSchema):
    """The description in the file of examples."""

    classes: ClassNames
    name: str
    n: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, eq=False)
class Examples:
    """A small summary of the labelled images.

    Attributes:
        images: a few of each class.
        means: float32 [C, S, S], the mean image of each class from 0 to 1; NaN for a class without
            images.
        ink: float32 [C, 3], the 5, 50 and 95% quantiles of an image's mean pixel, from 0 to 1; NaN
            likewise.
        n: how many images were summarized.
    """

    images: Dataset
    means: NDArray[np.float32]
    ink: NDArray[np.float32]
    n: int

    @classmethod
    def from_dataset(cls, dataset: Dataset, seed: int = 0) -> "Examples":
        """Summarize labelled images; `seed` draws the examples."""
        rng = np.random.default_rng(seed)
        n_classes, size = len(dataset.classes), dataset.image_size
        means = np.full((n_classes, size, size), np.nan, np.float32)
        ink = np.full((n_classes, 3), np.nan, np.float32)
        chosen = []
        for index in range(n_classes):
            rows = np.flatnonzero(dataset.require_labels() == index)
            chosen.append(np.sort(rng.permutation(rows)[:EXAMPLES_PER_CLASS]))
            if len(rows):
                images = dataset.images[rows]
                means[index] = images.mean(axis=0) / 255
                ink[index] = np.quantile(images.mean(axis=(1, 2)) / 255, (0.05, 0.5, 0.95))
        return cls(dataset.select(np.concatenate(chosen)), means, ink, len(dataset))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.images.classes

    def image_of(self, class_name: str | None) -> tuple[str, NDArray[np.uint8]]:
        """Return a class name and an image of that class; by default of the first class.

        Raises:
            DataError: there is no image of such a class.
        """
        labels, classes = self.images.require_labels(), self.images.classes
        if class_name is None:
            return classes[labels[0]], self.images.images[0]
        is_known = class_name in classes
        rows = np.flatnonzero(labels == classes.index(class_name)) if is_known else labels[:0]
        if not len(rows):
            present = ", ".join(classes[label] for label in np.unique(labels))
            raise DataError(
                f"--digit {class_name}: the run has no such image, expected one of {present}"
            )
        return class_name, self.images.images[rows[0]]

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, whole or not at all."""
        arrays: dict[str, NDArray[Any]] = {
            "images": self.images.images,
            "labels": self.images.require_labels(),
            "means": self.means,
            "ink": self.ink,
        }
        metadata = {"classes": self.images.classes, "name": self.images.name, "n": self.n}
        save_arrays(path, arrays, EXAMPLES_FORMAT, metadata)

    @classmethod
    def load(cls, path: Path) -> "Examples":
        """Read back what `save` wrote.

        Raises:
            RecognizerError: the file is missing or damaged.
        """
        arrays, metadata = load_artifact(path, EXAMPLES_FORMAT, ExamplesFile, EXAMPLES_ARRAYS)
        classes = tuple(metadata["classes"])
        images, labels = arrays["images"], arrays["labels"]
        with refusing(path):
            if not len(images):
                raise ValueError("holds no image")
            check_indices("the labels", labels, len(classes))
        dataset = Dataset(images, labels, classes, metadata["name"])
        return cls(dataset, arrays["means"], arrays["ink"], metadata["n"])


@dataclass(frozen=True, eq=False)
class RunArtifacts:
    """What a run left; a field is None where its file is missing or cannot be read.

    Attributes:
        folder: the run folder.
        recipe: every choice.
        environment: device, versions, precision and threads.
        data: facts of the training and validation part, and what the checks found.
        summary: seconds, and the score on the validation images.
        score: accuracy against the test labels.
        history: finished epochs; of an ensemble, those of its first member.
        intervals: likewise of every few steps.
        recognizer: the result of training.
        validation: predictions for the validation images, by networks not trained on them.
        predictions: for the test images.
        examples: of the labelled images.
        missing: a sentence for each file that is missing or cannot be read.
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
    validation: Predictions | None
    predictions: Predictions | None
    examples: Examples | None
    missing: Sequence[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "RunArtifacts":
        """Read the run folder `path`.

        Raises:
            RecognizerError: it is no run folder, or one of another format.
            RecipeError: its recipe is damaged, without which nothing else can be interpreted.
        """
        folder = RunFolder(path)
        if not path_exists(folder.recipe):
            raise RecognizerError(f"{path}: holds no run, expected a run folder with a recipe.toml")
        folder.check_format()
        recipe = Recipe.load(folder.recipe)
        missing: list[str] = []
        first = _first_member(folder, recipe) if recipe.ensemble.members > 1 else folder

        def read(load: Callable[[Path], T], source: Path, *, required: bool = True) -> T | None:
            if not source.is_file():
                if required:
                    missing.append(f"{source.name} is missing")
                return None
            try:
                return load(source)
            except (TenfoldError, ValueError, OSError) as error:
                missing.append(f"{source.name} cannot be read ({error})")
                return None

        def fitting(kept: Fitting | None, source: Path) -> Fitting | None:
            """Return what was read from `source`, unless the recognizer is of other images."""
            if kept is None or recognizer is None:
                return kept
            images = kept.images
            size = images.image_size if isinstance(images, Dataset) else images.shape[-1]
            if (kept.classes, size) == (recognizer.classes, recognizer.image_size):
                return kept
            missing.append(f"{source.name} is of other classes or images than the recognizer")
            return None

        has_validation = recipe.data.validation is not None
        recognizer = read(Recognizer.load, folder.recognizer)
        validation = read(Predictions.load, folder.validation, required=has_validation)
        predictions = read(Predictions.load, folder.predictions, required=False)
        examples = read(Examples.load, folder.examples)
        return cls(
            folder=folder,
            recipe=recipe,
            environment=read(_json_reader(EnvironmentFile), folder.environment),
            data=read(_json_reader(DataFile), folder.data),
            summary=read(_json_reader(SummaryFile), folder.summary, required=False),
            score=read(_read_score, folder.score, required=False),
            history=read(_read_metrics, first.metrics),
            intervals=read(_read_metrics, first.steps),
            recognizer=recognizer,
            validation=fitting(validation, folder.validation),
            predictions=fitting(predictions, folder.predictions),
            examples=fitting(examples, folder.examples),
            missing=missing,
        )


def _first_member(folder: RunFolder, recipe: Recipe) -> RunFolder:
    """Return the run folder of the first member, or `folder` if there is none.

    Members of another recipe may be there too: a run that was stopped and started with other
    settings keeps them.
    """
    wanted = recipe.member(0).model_dump(exclude=METADATA_FIELDS)
    for path in sorted(folder.members.glob("*/recipe.toml")):
        with suppress(RecipeError):
            if Recipe.load(path).model_dump(exclude=METADATA_FIELDS) == wanted:
                return RunFolder(path.parent)
    return folder


def _json_reader(schema: "type[ArtifactSchema]") -> Callable[[Path], dict[str, Any]]:
    """Return a function that reads a JSON object of this schema."""
    return lambda path: read_json(path, schema)


def _read_score(path: Path) -> dict[str, Any]:
    values = _json_reader(ScoreFile)(path)
    Score(values["correct"], values["n"])  # raises if more are correct than there are
    return values


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    return [
        validate_artifact(parse_json(line), MetricsRow) for line in read_text(path).splitlines()
    ]


class EnvironmentFile(ArtifactSchema):
    """`environment.json`."""

    device_name: str
    system: str
    python: str
    versions: dict[str, str]


class PartitionFacts(ArtifactSchema):
    """The training or the validation part of the labelled images."""

    classes: Annotated[dict[str, Count], Field(min_length=1)]


class ImageFileStats(ArtifactSchema):
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


class CheckResults(ArtifactSchema):
    """What the checks found."""

    train: ImageFileStats
    test: ImageFileStats | None
    overlap: list[Any]
    problems: list[str]
    notes: list[str]


class DataFile(ArtifactSchema):
    """`data.json`."""

    train: PartitionFacts
    valid: PartitionFacts | None
    checks: CheckResults | None


class SummaryFile(ArtifactSchema):
    """`run.json`, as the report needs it."""

    train_s: Seconds
    total_s: Seconds | None


class ExpectedScore(ArtifactSchema):
    """The score on the validation images with its interval, low and high."""

    accuracy: Accuracy
    interval: Annotated[list[Accuracy], Field(min_length=2, max_length=2)]


class ExpectedScoreFile(ArtifactSchema):
    """`run.json`, as a submission needs it."""

    validation: ExpectedScore | None


class ScoreFile(ArtifactSchema):
    """`score.json`."""

    correct: Count
    n: Annotated[int, Field(ge=1)]


Loss = Annotated[float, Field(ge=-1, le=1e39)]  # of float32 numbers


class MetricsRow(ArtifactSchema):
    """A line of `metrics.jsonl` or `steps.jsonl`; what was not measured is null or missing."""

    epoch: Annotated[float, Field(ge=0, le=1e6)]
    train_loss: Loss | None = None
    train_accuracy: Accuracy | None = None
    valid_loss: Loss | None = None
    valid_accuracy: Accuracy | None = None
    learning_rate: Annotated[float, Field(ge=0, le=1e6)] | None = None
    elapsed_s: Seconds | None = None
