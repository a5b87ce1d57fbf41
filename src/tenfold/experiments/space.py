"""What a search may choose, and from what: fields of a recipe with their ranges, as TOML.

[optimizer]
learning_rate = {log = [1e-4, 1e-2]}      # evenly in orders of magnitude
[augmentation]
rotation_degrees = {range = [0, 15]}      # evenly; whole numbers where the field is one
[network]
width = [16, 32, 64]                      # one of these
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tenfold.config import NETWORK_OPTIONS, ConfigSection
from tenfold.data.dataset import Dataset
from tenfold.data.splits import fold_rows, split_rows
from tenfold.errors import DataError, ExperimentError, RecipeError
from tenfold.experiments.halving import rungs
from tenfold.experiments.study import sampler_of
from tenfold.experiments.trial import subsample
from tenfold.files import os_error_message
from tenfold.formatting import pluralize
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.training.train import divide

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution


# These say which images are learned, by whom or how many: a search has its own answers to that.
FIXED_SECTIONS = frozenset({"data", "distillation", "ensemble"})
KINDS = ("range", "log")
LARGEST = 1e300  # a bound; infinity, no number, and whole numbers of many digits are beyond it


@dataclass(frozen=True)
class Dimension:
    """One field that is searched.

    Attributes:
        section, field: where it stands in a recipe.
        kind: "choice" among `values`; "range" or "log" between the two of them.
        values: what it may be, or the lowest and the highest.
        whole: of a range: whole numbers only.
    """

    section: str
    field: str
    kind: Literal["choice", "range", "log"]
    values: tuple[Any, ...]
    whole: bool = False

    @property
    def place(self) -> str:
        """As `--set` names it: "optimizer.learning_rate"."""
        return f"{self.section}.{self.field}"

    def distribution(self) -> "BaseDistribution":
        """Return it as Optuna has it; choices are spelled as JSON there."""
        from optuna import distributions  # noqa: PLC0415 - slow to import

        if self.kind == "choice":
            return distributions.CategoricalDistribution([json.dumps(each) for each in self.values])
        low, high = self.values
        if self.whole:
            return distributions.IntDistribution(low, high, log=self.kind == "log")
        return distributions.FloatDistribution(low, high, log=self.kind == "log")

    def suggest(self, trial: "Trial") -> Any:
        """Let a running trial of Optuna draw it."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.place, [json.dumps(each) for each in self.values])
        low, high = self.values
        suggest = trial.suggest_int if self.whole else trial.suggest_float
        return suggest(self.place, low, high, log=self.kind == "log")

    def value(self, drawn: Any) -> Any:
        """Return what Optuna drew as the recipe takes it."""
        return json.loads(drawn) if self.kind == "choice" else drawn


@dataclass(frozen=True)
class Space:
    """All fields that are searched, around a starting recipe."""

    start: Recipe
    dimensions: tuple[Dimension, ...]

    @classmethod
    def load(cls, source: Path | None, start: Recipe) -> "Space":
        """Read a space from a TOML file; None takes what comes with tenfold.

        Raises:
            ExperimentError: with every problem found, not only the first.
        """
        name = "the default space" if source is None else str(source)
        dimensions, problems = _parsed(_read(source))
        if source is None:
            dimensions = [each for each in dimensions if _matters(each, start)]
        if not dimensions and not problems:
            problems = ["names no field, expected at least one such as optimizer.learning_rate"]
        for dimension in dimensions:
            problems += _problems(dimension, start)
        if problems:
            raise ExperimentError(f"space {name}: " + "; ".join(problems))
        return cls(start, tuple(dimensions))

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return all dimensions as Optuna has them, by place."""
        return {each.place: each.distribution() for each in self.dimensions}

    def recipe(self, drawn: Mapping[str, Any]) -> Recipe:
        """Return the starting recipe with what was drawn, by place.

        Raises:
            RecipeError: the values are fine alone and impossible together.
        """
        changes: dict[str, dict[str, Any]] = {}
        for each in self.dimensions:
            changes.setdefault(each.section, {})[each.field] = each.value(drawn[each.place])
        return self.start.with_overrides(changes)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values, to be told from another space."""
        return {each.place: [each.kind, list(each.values), each.whole] for each in self.dimensions}


def _read(source: Path | None) -> dict[str, Any]:
    try:
        if source is None:
            text = (resources.files("tenfold") / "spaces" / "default.toml").read_text("utf-8")
        else:
            text = source.read_text("utf-8")
        return tomllib.loads(text)
    except OSError as error:
        raise ExperimentError(
            f"space {source}: cannot be read ({os_error_message(error)})"
        ) from error
    except UnicodeDecodeError as error:
        raise ExperimentError(f"space {source}: cannot be read as text ({error})") from error
    except (ValueError, RecursionError) as error:  # also of numbers too long, nests too deep
        raise ExperimentError(f"space {source}: is not valid TOML ({error})") from error


def _parsed(tables: Mapping[str, Any]) -> tuple[list[Dimension], list[str]]:
    """Return the dimensions that can be understood, and a sentence about each other entry."""
    dimensions, problems = [], []
    for section, fields in tables.items():
        if not isinstance(fields, dict) or section not in Recipe.model_fields:
            known = ", ".join(sorted(_sections()))
            problems.append(f"{section} is no section of a recipe; known are {known}")
        elif section in FIXED_SECTIONS:
            problems.append(f"{section} cannot be searched: a search divides the images itself")
        else:
            for field, entry in fields.items():
                found = _dimension(section, field, entry)
                if isinstance(found, Dimension):
                    dimensions.append(found)
                else:
                    problems.append(found)
    return dimensions, problems


def _sections() -> dict[str, type[ConfigSection]]:
    """Return the sections of a recipe that can be searched, by name."""
    return {
        name: about.annotation
        for name, about in Recipe.model_fields.items()
        if isinstance(about.annotation, type)
        and issubclass(about.annotation, ConfigSection)
        and name not in FIXED_SECTIONS
    }


def _dimension(section: str, field: str, entry: Any) -> Dimension | str:
    """Understand one entry, or say what is wrong with it."""
    place = f"{section}.{field}"
    known = _sections()[section].model_fields
    if field not in known:
        return f"{place} is not a known field; known here: {', '.join(known)}"
    if isinstance(entry, list):
        if len(entry) < 2:
            return (
                f"{place} has {pluralize(len(entry), 'value')} to choose from, expected at least 2"
            )
        return Dimension(section, field, "choice", tuple(entry))
    whole = float not in _types(known[field].annotation)
    return _interval(section, field, entry, whole)


def _interval(section: str, field: str, entry: Any, whole: bool) -> Dimension | str:
    """Understand {range = [low, high]} or {log = [low, high]}, or say what is wrong with it."""
    place = f"{section}.{field}"
    kind = next(iter(entry)) if isinstance(entry, dict) and len(entry) == 1 else ""
    if kind not in KINDS or not _are_bounds(entry[kind]):
        return (
            f"{place} is {entry!r}, expected a list of values, {{range = [low, high]}} or "
            "{log = [low, high]}"
        )
    low, high = entry[kind]
    if low >= high or (kind == "log" and low <= 0):
        least = "0 < low < high" if kind == "log" else "low < high"
        return f"{place} goes from {low} to {high}, expected {least}"
    if whole and (low != int(low) or high != int(high)):
        return f"{place} goes from {low} to {high}, expected whole numbers"
    number: type[int] | type[float] = int if whole else float
    return Dimension(section, field, kind, (number(low), number(high)), whole)  # type: ignore[arg-type]


def _are_bounds(bounds: Any) -> bool:
    return (
        isinstance(bounds, list)
        and len(bounds) == 2
        and all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
        and all(-LARGEST < bound < LARGEST for bound in bounds)
    )


def _types(annotation: Any) -> set[Any]:
    """Return all that an annotation is made of: `Annotated[float, …] | None` has float in it."""
    parts = get_args(annotation)
    return {annotation}.union(*(_types(part) for part in parts)) if parts else {annotation}


def _problems(dimension: Dimension, start: Recipe) -> Iterator[str]:
    """Try each choice, or both ends of a range, in the starting recipe."""
    for value in dimension.values:
        try:
            start.with_overrides({dimension.section: {dimension.field: value}})
        except RecipeError as error:
            yield from error.problems


def _matters(dimension: Dimension, start: Recipe) -> bool:
    """Tell whether a field of the default space does anything in the starting recipe."""
    network, optimizer, schedule = start.network, start.optimizer, start.schedule
    return {
        "network.dropout": "dropout" in NETWORK_OPTIONS[network.name],
        "optimizer.muon_learning_rate": optimizer.name == "muon",
        "schedule.warmup_fraction": schedule.name == "one-cycle",
    }.get(dimension.place, True)


def values_of(drawn: Mapping[str, Any], dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """Return what was drawn as the recipe takes it, by place."""
    return {each.place: each.value(drawn[each.place]) for each in dimensions}


HELD_OUT = 0.2  # of all images: set aside for the verdict
FOLDS = 5  # that the images to search on are divided into; without --folds one of them judges
BATCH = 9  # trials drawn at a time by a sampler that learns from those before


@dataclass(frozen=True)
class SearchConfig:
    """What is searched, and how.

    Attributes:
        space: from where to start, and what may be chosen.
        trials: how many recipes are drawn.
        sampler: one of `tenfold.experiments.study.SAMPLERS`.
        seed: of the division of images and of all draws.
        folds: judge by all folds of so many; None judges by one of five.
        seeds: on how many seeds winner and start are trained again; 0 leaves that out.
    """

    space: Space
    trials: int
    sampler: str = "random"
    seed: int = 0
    folds: int | None = None
    seeds: int = 5

    def __post_init__(self) -> None:
        start = self.space.start
        problems = []
        if self.trials < 1:
            problems.append(f"--trials {self.trials}: expected at least 1")
        if self.folds is not None and self.folds < 2:
            problems.append(f"--folds {self.folds}: expected at least 2")
        if self.seeds < 0:
            problems.append(f"--seeds {self.seeds}: expected 0 or more")
        if not start.is_single_model:
            problems.append(
                f"recipe {start.name} is more than one training, expected ensemble.members = 1, "
                "no teacher and no pseudo-labels"
            )
        if problems:
            raise ExperimentError("; ".join(problems))
        sampler_of(self.sampler, self.seed, 0)

    def identity(self, labelled: Dataset) -> dict[str, Any]:
        """Return what must be equal for a search to go on."""
        return {
            "data": labelled.content_hash(),
            "starting recipe": self.space.start.model_dump(mode="json", exclude=METADATA_FIELDS),
            "space": self.space.to_json(),
            "sampler": self.sampler,
            "seed": self.seed,
            "folds": self.folds,
        }

    def parts(self, labelled: Dataset) -> dict[str, Dataset]:
        """Divide the images into "search", to try recipes on, and "final", for the verdict.

        Raises:
            DataError: a class has too few for that, for the folds, or for the first rung.
        """
        rows, aside = split_rows(labelled, HELD_OUT, self.seed)
        parts = {
            name: labelled.select(part, f"{labelled.name} ({name} part)")
            for name, part in (("search", rows), ("final", aside))
        }
        learn, _ = fold_rows(parts["search"], self.folds or FOLDS, 0, self.seed)
        self._try_first_rung(parts["search"].select(learn))
        return parts

    def _try_first_rung(self, learn: Dataset) -> None:
        """Divide the images of a fold as the cheapest trials will, before any is begun."""
        first = rungs(self.batches(())[0])[0]
        recipe, part = first.cut(self.space.start)
        try:
            divide(subsample(learn, part, recipe.split_seed), recipe)
        except DataError as error:
            if first.last:
                raise
            raise DataError(
                f"{error}; a search of {pluralize(self.trials, 'trial')} begins with "
                f"{first.share:.0%} of a training: fewer trials begin with more"
            ) from error

    def batches(self, before: Sequence[int]) -> list[int]:
        """Return how many trials race each other, after races of `before` so many."""
        batches, left = list(before), self.trials - sum(before)
        while left > 0:
            batches.append(left if self.sampler == "random" else min(left, BATCH))
            left -= batches[-1]
        return batches
