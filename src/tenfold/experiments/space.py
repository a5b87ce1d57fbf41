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

from tenfold.choices import NETWORK_OPTIONS, Section
from tenfold.errors import ExperimentError, RecipeError
from tenfold.files import reason
from tenfold.recipe import Recipe
from tenfold.wording import counted

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
        return self.start.varied(changes)

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
        raise ExperimentError(f"space {source}: cannot be read ({reason(error)})") from error
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


def _sections() -> dict[str, type[Section]]:
    """Return the sections of a recipe that can be searched, by name."""
    return {
        name: about.annotation
        for name, about in Recipe.model_fields.items()
        if isinstance(about.annotation, type)
        and issubclass(about.annotation, Section)
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
            return f"{place} has {counted(len(entry), 'value')} to choose from, expected at least 2"
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
            start.varied({dimension.section: {dimension.field: value}})
        except RecipeError as error:
            yield from error.problems


def _matters(dimension: Dimension, start: Recipe) -> bool:
    """Tell whether a field of the default space does anything in the starting recipe."""
    network, optimizer, schedule = start.network, start.optimizer, start.schedule
    return {
        "network.dropout": "dropout" in NETWORK_OPTIONS[network.name],
        "optimizer.filter_learning_rate": optimizer.name == "muon",
        "schedule.warmup": schedule.name == "one-cycle",
    }.get(dimension.place, True)


def values_of(drawn: Mapping[str, Any], dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """Return what was drawn as the recipe takes it, by place."""
    return {each.place: each.value(drawn[each.place]) for each in dimensions}
