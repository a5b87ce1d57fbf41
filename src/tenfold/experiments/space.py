"""What a search samples, and how: fields of a recipe with their ranges, as TOML.

[optimizer]
learning_rate = {log = [1e-4, 1e-2]}      # log-uniform
[augmentation]
rotation_degrees = {range = [0, 15]}      # uniform; integers if the field is one
[network]
width = [16, 32, 64]                      # categorical
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tenfold.config import NETWORK_OPTIONS, ConfigSection
from tenfold.data.dataset import Dataset
from tenfold.data.splits import fold_rows, split_rows, train_valid_rows
from tenfold.errors import DataError, ExperimentError, RecipeError
from tenfold.experiments.halving import make_rungs
from tenfold.experiments.study import N_STARTUP_TRIALS, make_sampler
from tenfold.experiments.trial import subsample
from tenfold.files import os_error_message
from tenfold.formatting import pluralize
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.toml import read_toml

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


# They decide which images are trained on, or how many networks: a search decides that itself.
FIXED_SECTIONS = frozenset({"data", "distillation", "ensemble"})
KINDS = ("range", "log")
MAX_BOUND = 1e300  # of a range; infinity, NaN and integers of many digits are beyond it
TEST_FRACTION = 0.2  # of all images: held out for the paired test
DEFAULT_FOLDS = 5  # of the remaining images; without --folds each trial is evaluated on one
BRACKET_SIZE = N_STARTUP_TRIALS  # trials at a time where the sampler learns from earlier ones


@dataclass(frozen=True)
class Dimension:
    """One field that is searched.

    Attributes:
        section, field: its place in a recipe.
        kind: "choice" among `values`, or "range" or "log" between the two of them.
        values: the choices, or the lowest and the highest value.
        is_integer: whether a range has integers only.
    """

    section: str
    field: str
    kind: Literal["choice", "range", "log"]
    values: tuple[Any, ...]
    is_integer: bool = False

    @property
    def param_name(self) -> str:
        """The name that `--set` takes: "optimizer.learning_rate"."""
        return f"{self.section}.{self.field}"

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's distribution; its choices are JSON text."""
        from optuna import distributions  # noqa: PLC0415 - slow to import

        if self.kind == "choice":
            return distributions.CategoricalDistribution([json.dumps(each) for each in self.values])
        low, high = self.values
        if self.is_integer:
            return distributions.IntDistribution(low, high, log=self.kind == "log")
        return distributions.FloatDistribution(low, high, log=self.kind == "log")

    def suggest(self, trial: "optuna.Trial") -> Any:
        """Let a running trial of Optuna sample a parameter."""
        if self.kind == "choice":
            choices = [json.dumps(each) for each in self.values]
            return trial.suggest_categorical(self.param_name, choices)
        low, high = self.values
        suggest = trial.suggest_int if self.is_integer else trial.suggest_float
        return suggest(self.param_name, low, high, log=self.kind == "log")

    def decode(self, param: Any) -> Any:
        """Return the value of a parameter of Optuna's, as a recipe takes it."""
        return json.loads(param) if self.kind == "choice" else param


@dataclass(frozen=True)
class Space:
    """All fields that are searched, and the recipe that has the values of all others."""

    baseline: Recipe
    dimensions: tuple[Dimension, ...]

    @classmethod
    def load(cls, source: Path | None, baseline: Recipe) -> "Space":
        """Read a space from a TOML file; None takes the default space.

        Raises:
            ExperimentError: with every problem found, not only the first.
        """
        name = "the default space" if source is None else str(source)
        dimensions, problems = _parse(_read(source))
        if source is None:
            dimensions = [each for each in dimensions if _is_relevant(each, baseline)]
        if not dimensions and not problems:
            problems = ["names no field, expected at least one such as optimizer.learning_rate"]
        for dimension in dimensions:
            problems += _invalid_values(dimension, baseline)
        if problems:
            raise ExperimentError(f"space {name}: " + "; ".join(problems))
        return cls(baseline, tuple(dimensions))

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distribution of every dimension, by parameter name."""
        return {each.param_name: each.distribution() for each in self.dimensions}

    def recipe(self, params: Mapping[str, Any]) -> Recipe:
        """Return the baseline with the parameters of a trial.

        Raises:
            RecipeError: the values are valid alone and invalid together.
        """
        overrides: dict[str, dict[str, Any]] = {}
        for each in self.dimensions:
            overrides.setdefault(each.section, {})[each.field] = each.decode(
                params[each.param_name]
            )
        return self.baseline.with_overrides(overrides)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values, by parameter name."""
        return {
            each.param_name: {
                "kind": each.kind,
                "values": list(each.values),
                "is_integer": each.is_integer,
            }
            for each in self.dimensions
        }


def decode_params(params: Mapping[str, Any], dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """Return the parameters of a trial as a recipe takes them, by parameter name."""
    return {each.param_name: each.decode(params[each.param_name]) for each in dimensions}


def _read(source: Path | None) -> dict[str, Any]:
    try:
        if source is None:
            return read_toml(resources.files("tenfold") / "spaces" / "default.toml")
        return read_toml(source)
    except OSError as error:
        raise ExperimentError(
            f"space {source}: cannot be read ({os_error_message(error)})"
        ) from error
    except UnicodeDecodeError as error:
        raise ExperimentError(f"space {source}: cannot be read as text ({error})") from error
    except ValueError as error:  # also numbers too long, nesting too deep
        raise ExperimentError(f"space {source}: is not valid TOML ({error})") from error


def _parse(tables: Mapping[str, Any]) -> tuple[list[Dimension], list[str]]:
    """Return the valid dimensions, and an error message for each other entry."""
    dimensions, problems = [], []
    for section, fields in tables.items():
        if not isinstance(fields, dict) or section not in Recipe.model_fields:
            known = ", ".join(sorted(_searchable_sections()))
            problems.append(f"{section} is not a section of a recipe; known sections: {known}")
        elif section in FIXED_SECTIONS:
            problems.append(f"{section} cannot be searched: a search splits the images itself")
        else:
            for field, entry in fields.items():
                parsed = _parse_dimension(section, field, entry)
                if isinstance(parsed, Dimension):
                    dimensions.append(parsed)
                else:
                    problems.append(parsed)
    return dimensions, problems


def _searchable_sections() -> dict[str, type[ConfigSection]]:
    """Return the sections of a recipe that can be searched, by name."""
    return {
        name: about.annotation
        for name, about in Recipe.model_fields.items()
        if isinstance(about.annotation, type)
        and issubclass(about.annotation, ConfigSection)
        and name not in FIXED_SECTIONS
    }


def _parse_dimension(section: str, field: str, entry: Any) -> Dimension | str:
    """Return one entry as a dimension, or what is wrong with it."""
    param_name = f"{section}.{field}"
    fields = _searchable_sections()[section].model_fields
    if field not in fields:
        return f"{param_name} is not a known field; known fields here: {', '.join(fields)}"
    if isinstance(entry, list):
        if len(entry) < 2:
            count = pluralize(len(entry), "value")
            return f"{param_name} has {count} to choose from, expected at least 2"
        return Dimension(section, field, "choice", tuple(entry))
    is_integer = float not in _types_in(fields[field].annotation)
    return _parse_range(section, field, entry, is_integer)


def _parse_range(section: str, field: str, entry: Any, is_integer: bool) -> Dimension | str:
    """Return {range = [low, high]} or {log = [low, high]} as a dimension, or what is wrong."""
    param_name = f"{section}.{field}"
    kind = next(iter(entry)) if isinstance(entry, dict) and len(entry) == 1 else ""
    if kind not in KINDS or not _are_bounds(entry[kind]):
        return (
            f"{param_name} is {entry!r}, expected a list of values, {{range = [low, high]}} or "
            "{log = [low, high]}"
        )
    low, high = entry[kind]
    if low >= high or (kind == "log" and low <= 0):
        expected = "0 < low < high" if kind == "log" else "low < high"
        return f"{param_name} goes from {low} to {high}, expected {expected}"
    if is_integer and (low != int(low) or high != int(high)):
        return f"{param_name} goes from {low} to {high}, expected integers"
    number: type[int] | type[float] = int if is_integer else float
    bounds = (number(low), number(high))
    return Dimension(section, field, kind, bounds, is_integer)  # type: ignore[arg-type]


def _are_bounds(bounds: Any) -> bool:
    return (
        isinstance(bounds, list)
        and len(bounds) == 2
        and all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
        and all(-MAX_BOUND < bound < MAX_BOUND for bound in bounds)
    )


def _types_in(annotation: Any) -> set[Any]:
    """Return all types in an annotation: float is one of `Annotated[float, …] | None`."""
    arguments = get_args(annotation)
    if not arguments:
        return {annotation}
    return {annotation}.union(*(_types_in(argument) for argument in arguments))


def _invalid_values(dimension: Dimension, baseline: Recipe) -> Iterator[str]:
    """Validate each choice, or both ends of a range, in the baseline."""
    for value in dimension.values:
        try:
            baseline.with_overrides({dimension.section: {dimension.field: value}})
        except RecipeError as error:
            yield from error.problems


def _is_relevant(dimension: Dimension, baseline: Recipe) -> bool:
    """Tell whether a field of the default space has any effect in the baseline."""
    network, optimizer, schedule = baseline.network, baseline.optimizer, baseline.schedule
    return {
        "network.dropout": "dropout" in NETWORK_OPTIONS[network.name],
        "optimizer.muon_learning_rate": optimizer.name == "muon",
        "schedule.warmup_fraction": schedule.name == "one-cycle",
    }.get(dimension.param_name, True)


@dataclass(frozen=True)
class SearchConfig:
    """Everything that decides the outcome of a search, apart from the images.

    Attributes:
        space: the baseline, and the fields that are searched.
        trials: how many recipes are sampled.
        sampler: one of `tenfold.experiments.study.SAMPLERS`.
        seed: of the split of the images and of the sampler.
        folds: cross-validate each trial on this many folds; None evaluates it on one of five.
        seeds: on how many seeds winner and baseline are trained for the paired test; 0 skips it.
    """

    space: Space
    trials: int
    sampler: str = "random"
    seed: int = 0
    folds: int | None = None
    seeds: int = 5

    def __post_init__(self) -> None:
        baseline = self.space.baseline
        problems = []
        if self.trials < 1:
            problems.append(f"--trials {self.trials}: expected at least 1")
        if self.folds is not None and self.folds < 2:
            problems.append(f"--folds {self.folds}: expected at least 2")
        if self.seeds < 0:
            problems.append(f"--seeds {self.seeds}: expected 0 or more")
        if not baseline.is_single_model:
            problems.append(
                f"recipe {baseline.name} trains more than one network, expected "
                "ensemble.members = 1, no teacher and no pseudo-labels"
            )
        if problems:
            raise ExperimentError("; ".join(problems))
        make_sampler(self.sampler, self.seed, 0)

    @property
    def folds_per_trial(self) -> int:
        """On how many folds each trial is trained and evaluated."""
        return self.folds or 1

    def fold(self, index: int) -> dict[str, int]:
        """Return a fold of the images of the trials, as `trial_job` takes it."""
        return {"index": index, "folds": self.folds or DEFAULT_FOLDS, "seed": self.seed}

    def identity(self, labelled: Dataset) -> dict[str, Any]:
        """Return what must be equal for a search to resume."""
        baseline = self.space.baseline
        return {
            "data": labelled.content_hash(),
            "baseline recipe": baseline.model_dump(mode="json", exclude=METADATA_FIELDS),
            "space": self.space.to_json(),
            "sampler": self.sampler,
            "seed": self.seed,
            "folds": self.folds,
        }

    def split(self, labelled: Dataset) -> dict[str, Dataset]:
        """Split the images into "search", for the trials, and "test", for the paired test.

        Raises:
            DataError: a class has too few images for that, for the folds, or for the first rung.
        """
        search_rows, test_rows = split_rows(labelled, TEST_FRACTION, self.seed)
        datasets = {
            name: labelled.select(rows, f"{labelled.name} ({name} part)")
            for name, rows in (("search", search_rows), ("test", test_rows))
        }
        train_rows, _ = fold_rows(datasets["search"], **self.fold(0))
        self._check_first_rung(datasets["search"].select(train_rows))
        return datasets

    def _check_first_rung(self, train_set: Dataset) -> None:
        """Split the images of a fold as the smallest trainings will, before any starts."""
        first = make_rungs(self.brackets(())[0])[0]
        recipe, subset_fraction = first.scale_recipe(self.space.baseline)
        try:
            subset = subsample(train_set, subset_fraction, recipe.split_seed)
            train_valid_rows(subset, recipe.data, recipe.split_seed)
        except DataError as error:
            if first.is_last:
                raise
            raise DataError(
                f"{error}; a search of {pluralize(self.trials, 'trial')} starts with "
                f"{first.budget_fraction:.0%} of a training: fewer trials start with more"
            ) from error

    def brackets(self, earlier: Sequence[int]) -> list[int]:
        """Return the number of trials in each run of successive halving, after `earlier` ones.

        Random search samples all trials at once; other samplers learn from earlier brackets.
        """
        brackets, left = list(earlier), self.trials - sum(earlier)
        while left > 0:
            brackets.append(left if self.sampler == "random" else min(left, BRACKET_SIZE))
            left -= brackets[-1]
        return brackets
