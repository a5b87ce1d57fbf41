"""Recipe: every choice of a training run, validated at once, TOML in and out.

A recipe is a small tree of frozen sections, which `tenfold.config` defines. Here they are read and
checked against each other; each problem becomes one sentence.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from tenfold.config import (
    HAS_BATCH_NORM,
    MAX_MEMBERS,
    MAX_QUOTED,
    MEMBER_OVERRIDABLE,
    NETWORK_OPTIONS,
    SIZE_AGNOSTIC,
    AugmentationConfig,
    ConfigSection,
    DataConfig,
    DistillationConfig,
    EnsembleConfig,
    NetworkConfig,
    OptimizerConfig,
    PredictionConfig,
    PreprocessingConfig,
    ScheduleConfig,
    TrainingConfig,
    error_messages,
)
from tenfold.errors import RecipeError
from tenfold.files import os_error_message
from tenfold.formatting import shorten
from tenfold.toml import MAX_DEPTH, parse_toml, read_toml

METADATA_FIELDS: Final = {"name", "description", "benchmark"}  # these change no result


class Recipe(ConfigSection):
    """Every choice of a training run."""

    name: Annotated[str, Field(pattern=r"^\w[\w .-]{0,79}$")] = "custom"
    """The run folder's default name begins with it."""
    description: str = ""
    """One line for `tenfold recipes`."""
    benchmark: str = ""
    """The accuracy it has reached, for `tenfold recipes`; docs/results.md says how."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Determines initial weights, the order of the images, augmentation and dropout."""
    data: DataConfig = DataConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    distillation: DistillationConfig = DistillationConfig()
    prediction: PredictionConfig = PredictionConfig()
    ensemble: EnsembleConfig = EnsembleConfig()

    @model_validator(mode="after")
    def _check_across_fields(self) -> Self:
        problems = _cross_field_errors(self)
        if problems:
            raise ValueError(*problems)
        return self

    @property
    def split_seed(self) -> int:
        """Seed of the split into training and validation."""
        return self.seed if self.data.split_seed is None else self.data.split_seed

    def member(self, index: int) -> Self:
        """Return the recipe of one network of the ensemble, counted from 0.

        It has its own seed and holds out its own fold; after as many members as there are folds,
        the split is drawn anew.
        """
        values = self.model_dump(exclude={"ensemble", "distillation"})
        values["seed"] = (self.seed * MAX_MEMBERS + index) % 2**32
        if self.data.folds is not None:
            repeat, fold = divmod(index, self.data.folds)
            split_seed = (self.split_seed * MAX_MEMBERS + repeat) % 2**32
            values["data"] |= {"fold": fold, "split_seed": split_seed}
        overrides = self.ensemble.member_overrides
        own = overrides[index % len(overrides)] if overrides else {}
        return self.model_validate(_override_fields(values, own))

    def with_overrides(
        self, overrides: Mapping[str, Mapping[str, Any]], *, seed: int | None = None
    ) -> Self:
        """Return the recipe with other values in some fields of some sections.

        Another network starts from its own options, not from those of this recipe's network.

        Args:
            overrides: by section, then by field.
            seed: replaces the recipe's.

        Raises:
            RecipeError: with every problem found.
        """
        values = _override_fields(self.model_dump(), overrides)
        values |= {} if seed is None else {"seed": seed}
        return self._validated(values, self.name)

    @property
    def is_single_model(self) -> bool:
        """Whether one training of one network on labelled images is all that it asks for."""
        several = self.ensemble.members > 1 or self.distillation.teacher is not None
        return not several and self.data.pseudo_label_threshold is None

    def validation_caveat(self) -> str | None:
        """Return why the validation score may not predict the test score; None if it should."""
        return " ".join(_validation_caveats(self)) or None

    def to_toml(self) -> str:
        """Write every field, defaults too, so that the file alone repeats the run."""
        return tomli_w.dumps(_none_to_string(self.model_dump()))

    @classmethod
    def load(
        cls, source: str | Path, *, overrides: Sequence[str] = (), seed: int | None = None
    ) -> Self:
        """Read a recipe by name ("quick") or from a TOML file.

        Args:
            source: a name from `list_recipes()`, or a path to a TOML file.
            overrides: "section.field=value" each, the value as TOML; "none" switches off.
            seed: replaces the recipe's.

        Raises:
            RecipeError: with every problem found, not only the first.
        """
        values = _read(source)
        problems = [problem for text in overrides if (problem := _apply_override(values, text))]
        if seed is not None:
            values["seed"] = seed
        return cls._validated(values, str(source), problems)

    @classmethod
    def _validated(cls, values: dict[str, Any], source: str, problems: Sequence[str] = ()) -> Self:
        """Make the recipe of `values`, unless there are `problems` already or here.

        Raises:
            RecipeError: with every problem, named as one of recipe `source`.
        """
        problems = list(problems)
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            problems += error_messages(Recipe, error)
            problems += _remaining_errors(values, error)
        if problems:
            raise RecipeError(source, list(dict.fromkeys(problems)))  # each once
        return recipe


def list_recipes() -> list[str]:
    """Return the names of the recipes that come with tenfold."""
    folder = resources.files("tenfold") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


def _read(source: str | Path) -> dict[str, Any]:
    """Return the raw values of the recipe called `source`."""
    path = Path(source)
    try:
        if str(source) in list_recipes():
            return read_toml(resources.files("tenfold") / "recipes" / f"{source}.toml")
        return read_toml(path)
    except FileNotFoundError as error:
        known = list_recipes()
        close = difflib.get_close_matches(str(source).lower(), known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        problem = (
            f"there is no such file or recipe{hint}, expected a TOML file or one of "
            f"{', '.join(known)}"
        )
        raise RecipeError(str(source), [problem]) from error
    except OSError as error:
        raise RecipeError(str(source), [f"cannot be read ({os_error_message(error)})"]) from error
    except UnicodeDecodeError as error:
        raise RecipeError(str(source), [f"cannot be read as text ({error})"]) from error
    except ValueError as error:  # also of numbers too long, nests too deep
        raise RecipeError(str(source), [f"is not valid TOML ({error})"]) from error


def _apply_override(values: dict[str, Any], text: str) -> str | None:
    """Set one "section.field=value" in `values`; return the problem if it cannot be parsed."""
    key, equals, value = text.partition("=")
    *sections, field = key.strip().split(".")
    shown = shorten(repr(text), MAX_QUOTED)
    if not equals or not field or len(sections) > MAX_DEPTH:
        return f"--set {shown}: expected key=value, such as training.max_epochs=20"
    target: Any = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            return (
                f"--set {shown}: {shorten(section, MAX_QUOTED)} is a single value, it has no fields"
            )
    target[field] = _parse_toml_value(value.strip())
    return None


def _parse_toml_value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text  # a bare word: network.name=mlp


def _none_to_string(value: Any) -> Any:
    """Write None as recipes do, at any depth."""
    if isinstance(value, dict):
        return {key: _none_to_string(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_none_to_string(each) for each in value]
    return "none" if value is None else value


def _override_fields(
    values: dict[str, Any], overrides: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Replace fields of `values` by `overrides`; another network starts from its own options."""
    for section, fields in overrides.items():
        kept = values.get(section, {})
        if section == "network" and fields.get("name", kept["name"]) != kept["name"]:
            kept = {}
        values[section] = {**kept, **fields}
    return values


def _remaining_errors(values: dict[str, Any], error: ValidationError) -> list[str]:
    """Check the valid fields against each other too: pydantic stops at the invalid ones."""
    locations = [detail["loc"] for detail in error.errors() if detail["loc"]]
    if not locations:
        return []
    for location in locations:
        *sections, field = (part for part in location if isinstance(part, str))
        section = values
        for name in sections:
            section = section.get(name, {}) if isinstance(section, dict) else {}
        if isinstance(section, dict):
            section.pop(field, None)
    try:
        Recipe.model_validate(values)
    except ValidationError as again:
        return error_messages(Recipe, again)
    return []


# What is valid alone and impossible together


def _cross_field_errors(recipe: Recipe) -> list[str]:
    checks = (
        _network_errors,
        _validation_errors,
        _optimizer_errors,
        _outlier_errors,
        _distillation_errors,
        _ensemble_errors,
    )
    return [problem for check in checks for problem in check(recipe)]


def _network_errors(recipe: Recipe) -> Iterator[str]:
    network, training = recipe.network, recipe.training
    for option in sorted(set(network.options) - NETWORK_OPTIONS[network.name]):
        takes = ", ".join(sorted(NETWORK_OPTIONS[network.name])) or "no options"
        yield f"network.{option} does not apply to {network.name}, which takes {takes}"
    if training.batch_size == 1 and network.name in HAS_BATCH_NORM:
        yield (
            f"training.batch_size is 1, but {network.name} normalises over the batch; "
            "expected at least 2"
        )
    if training.progressive_sizes and network.name not in SIZE_AGNOSTIC:
        yield (
            "training.progressive_sizes changes the size of what the network sees, and "
            f"{network.name} takes one size only; expected {' or '.join(sorted(SIZE_AGNOSTIC))}"
        )


def _outlier_errors(recipe: Recipe) -> Iterator[str]:
    """Outliers have a target of their own, which neither a mixture nor a teacher may change."""
    if not recipe.training.outlier_fraction:
        return
    if recipe.augmentation.mixup:
        yield "training.outlier_fraction and augmentation.mixup are both set; expected one of them"
    if recipe.distillation.teacher is not None:
        yield "training.outlier_fraction is set, and so is a teacher; expected one of them"


def _validation_errors(recipe: Recipe) -> Iterator[str]:
    data, training = recipe.data, recipe.training
    if data.validation is None:
        needs_validation = {
            "training.checkpoint_selection = 'best'": training.checkpoint_selection == "best",
            "training.patience_epochs": training.patience_epochs is not None,
            "schedule.name = 'plateau'": recipe.schedule.name == "plateau",
        }
        for setting, is_set in needs_validation.items():
            if is_set:
                yield f"{setting} needs validation images, but data.validation is off"
    if data.fold is not None and data.fold >= (data.folds or 0):
        yield (
            f"data.fold is {data.fold}, but data.validation makes {data.folds or 0} folds, "
            "counted from 0"
        )
    uses_folds = data.fold is not None or recipe.ensemble.members > 1
    if uses_folds and (data.validation or 0) > 0.5:
        yield (
            f"data.validation is {data.validation:g}, expected at most 0.5 where folds are held "
            "out in turn"
        )


def _optimizer_errors(recipe: Recipe) -> Iterator[str]:
    optimizer, network = recipe.optimizer, recipe.network
    if optimizer.name == "adamw" and optimizer.momentum:
        yield "optimizer.momentum applies to muon, rmsprop and sgd; adamw has its own"
    if optimizer.name == "muon" and network.name not in HAS_BATCH_NORM:
        yield (
            "optimizer.name = 'muon' fixes the norm of filters, which only batch normalisation "
            f"makes up for, and {network.name} has none; "
            f"expected {' or '.join(sorted(HAS_BATCH_NORM))}"
        )


def _distillation_errors(recipe: Recipe) -> Iterator[str]:
    if recipe.distillation.teacher is None:
        return
    if recipe.augmentation.mixup:
        yield (
            "augmentation.mixup blends two images, and a teacher sees each alone; expected 0 "
            "where distillation.teacher is set"
        )
    if recipe.ensemble.members > 1:
        yield (
            "distillation.teacher teaches one network, but ensemble.members is "
            f"{recipe.ensemble.members}; expected 1"
        )


def _ensemble_errors(recipe: Recipe) -> Iterator[str]:
    ensemble = recipe.ensemble
    if ensemble.member_overrides and ensemble.members == 1:
        yield (
            "ensemble.member_overrides varies the members, but ensemble.members is 1; expected at "
            "least 2, or no member_overrides"
        )
    if recipe.data.fold is not None and ensemble.members > 1:
        yield "data.fold belongs to one network, expected none: each member holds out its own"
    for index, overrides in enumerate(ensemble.member_overrides):
        location = f"ensemble.member_overrides.{index}"
        if "precision" in overrides.get("training", {}):
            yield f"{location} changes training.precision, expected one for all members"
        if forbidden := set(overrides) - MEMBER_OVERRIDABLE:
            known = ", ".join(sorted(MEMBER_OVERRIDABLE))
            yield f"{location} changes {', '.join(sorted(forbidden))}, expected only {known}"
            continue
        values = _override_fields(recipe.model_dump(exclude={"ensemble"}), overrides)
        try:
            Recipe.model_validate(values)
        except ValidationError as error:
            yield from (f"{location}: {message}" for message in error_messages(Recipe, error))


def _validation_caveats(recipe: Recipe) -> Iterator[str]:
    if recipe.ensemble.members > 1:
        yield "Each held-out image was predicted only by the members that did not train on it."
    selected = {
        "the epoch": recipe.training.checkpoint_selection == "best",
        "the learning rate": recipe.schedule.name == "plateau",
        "when to stop": recipe.training.patience_epochs is not None,
    }
    if what := ", ".join(name for name, is_selected in selected.items() if is_selected):
        yield f"The held-out images also selected {what}, so the validation score is optimistic."
    if recipe.data.pseudo_label_threshold is not None:
        yield (
            "Test images were trained on too, with predicted labels that were selected by a "
            "confidence calibrated on the held-out images."
        )
    teacher = recipe.distillation.teacher
    if teacher is not None and teacher not in list_recipes():
        yield "It is unknown whether the teacher was trained on the held-out images."
    elif teacher is not None and Recipe.load(teacher).ensemble.members > 1:
        yield (
            "Most networks of the teacher were trained on the held-out images, so the validation "
            "score is optimistic."
        )
