"""Evidence: all that a run left in its folder, as far as it can be read."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.answers import Answers
from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, RecipeError, RecognizerError, TenfoldError
from tenfold.files import RunFolder, is_there
from tenfold.recipe import ABOUT, Recipe
from tenfold.recognizer import Recognizer
from tenfold.report.metrics import Score
from tenfold.report.shapes import Counted, Data, Environment, Row, Shape, Summary, shaped
from tenfold.tensors import load_tensors, save_tensors

EXAMPLES_FORMAT = "tenfold-examples-1"
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
            rows = np.flatnonzero(labelled.known_labels() == index)
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
        labels, classes = self.images.known_labels(), self.images.classes
        if name is None:
            return classes[labels[0]], self.images.images[0]
        found = np.flatnonzero(labels == classes.index(name)) if name in classes else labels[:0]
        if not len(found):
            seen = ", ".join(classes[label] for label in np.unique(labels))
            raise DataError(f"--digit {name}: the run has no such image, expected one of {seen}")
        return name, self.images.images[found[0]]

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, whole or not at all."""
        arrays = {
            "images": self.images.images,
            "labels": self.images.known_labels(),
            "means": self.means,
            "ink": self.ink,
        }
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        about = {"classes": self.images.classes, "name": self.images.name, "n": self.n}
        save_tensors(path, tensors, EXAMPLES_FORMAT, about)

    @classmethod
    def load(cls, path: Path) -> "Examples":
        """Read back what `save` wrote.

        Raises:
            RecognizerError: the file is missing or damaged.
        """
        tensors, about = load_tensors(path, EXAMPLES_FORMAT)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        images = Dataset(arrays["images"], arrays["labels"], tuple(about["classes"]), about["name"])
        return cls(images, arrays["means"], arrays["ink"], about["n"])


@dataclass(frozen=True, eq=False)
class Evidence:
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
    stretches: Sequence[Mapping[str, Any]] | None
    recognizer: Recognizer | None
    held_out: Answers | None
    predictions: Answers | None
    examples: Examples | None
    gaps: Sequence[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Evidence":
        """Read what lies in the run folder `path`.

        Raises:
            RecognizerError: it is no run folder.
            RecipeError: its recipe is damaged: nothing else could be understood then.
        """
        folder = RunFolder(path)
        if not is_there(folder.recipe):
            raise RecognizerError(f"{path}: holds no run, expected a run folder with a recipe.toml")
        recipe = Recipe.load(folder.recipe)
        gaps: list[str] = []
        first = _first_member(folder, recipe) if recipe.ensemble.members > 1 else folder

        def part(read: Callable[[Path], T], source: Path, *, expected: bool = True) -> T | None:
            if not source.is_file():
                if expected:
                    gaps.append(f"{source.name} is missing")
                return None
            try:
                return read(source)
            except (TenfoldError, ValueError, KeyError, TypeError, OSError) as error:
                gaps.append(f"{source.name} cannot be read ({error})")
                return None

        return cls(
            folder=folder,
            recipe=recipe,
            environment=part(_object(Environment), folder.environment),
            data=part(_object(Data), folder.data),
            summary=part(_object(Summary), folder.summary, expected=False),
            score=part(_read_score, folder.score, expected=False),
            history=part(_read_rows, first.metrics),
            stretches=part(_read_rows, first.steps),
            recognizer=part(Recognizer.load, folder.recognizer),
            held_out=part(Answers.load, folder.held_out, expected=bool(recipe.data.validation)),
            predictions=part(Answers.load, folder.predictions, expected=False),
            examples=part(Examples.load, folder.examples),
            gaps=gaps,
        )


def _first_member(folder: RunFolder, recipe: Recipe) -> RunFolder:
    """Return the run folder of the first member, or `folder` if there is none.

    Members of another recipe may lie beside it: what was stopped and begun anew keeps them.
    """
    wanted = recipe.member(0).model_dump(exclude=ABOUT)
    for path in sorted(folder.members.glob("*/recipe.toml")):
        with suppress(RecipeError):
            if Recipe.load(path).model_dump(exclude=ABOUT) == wanted:
                return RunFolder(path.parent)
    return folder


def _object(shape: type[Shape]) -> Callable[[Path], dict[str, Any]]:
    """Return what reads a JSON object of this shape."""
    return lambda path: shaped(json.loads(path.read_text("utf-8")), shape)


def _read_score(path: Path) -> dict[str, Any]:
    values = _object(Counted)(path)
    Score(values["correct"], values["n"])  # no more correct than there are
    return values


def _read_rows(path: Path) -> list[dict[str, Any]]:
    return [shaped(json.loads(line), Row) for line in path.read_text("utf-8").splitlines()]
