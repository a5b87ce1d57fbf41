"""Recipe: every choice of a training run, checked at once, TOML in and out.

A recipe is a small tree of frozen sections; `tenfold.config` has them. Here they are read,
checked against each other, and every problem is put into a sentence.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Self

import tomli_w
from pydantic import BaseModel, Field, ValidationError, model_validator

from tenfold.config import (
    HAS_BATCH_NORM,
    MAX_MEMBERS,
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
)
from tenfold.errors import RecipeError
from tenfold.files import os_error_message
from tenfold.formatting import pydantic_message

METADATA_FIELDS: Final = {"name", "description", "benchmark"}  # they change no result


class Recipe(ConfigSection):
    """Every choice of a training run."""

    name: Annotated[str, Field(pattern=r"^\w[\w .-]{0,79}$")] = "custom"
    """Also the beginning of the run folder's default name."""
    description: str = ""
    benchmark: str = ""
    """What it was seen to reach, for `tenfold recipes`; how, stands in docs/results.md."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the first weights, the order of the images, augmentation and dropout."""
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
    def _choices_fit_together(self) -> Self:
        problems = list(_cross_field_errors(self))
        if problems:
            raise ValueError(*problems)
        return self

    @property
    def split_seed(self) -> int:
        """Seed of the division into training and validation."""
        return self.seed if self.data.split_seed is None else self.data.split_seed

    def member(self, index: int) -> Self:
        """Return the recipe of one network of the ensemble, counted from 0.

        Its seed is its own, and of the images it holds out its own fold; after as many members
        as there are folds, the division is drawn anew.
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

    def with_overrides(self, changes: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the recipe with other values in some fields of some sections.

        Another network begins with its own sizes.

        Raises:
            RecipeError: with every problem found.
        """
        try:
            return self.model_validate(_override_fields(self.model_dump(), changes))
        except ValidationError as error:
            raise RecipeError(self.name, _sentences(error)) from error

    @property
    def is_single_model(self) -> bool:
        """Whether one training of one network on labelled images is all that it asks for."""
        several = self.ensemble.members > 1 or self.distillation.teacher is not None
        return not several and self.data.pseudo_label_threshold is None

    def validation_caveat(self) -> str | None:
        """Return why the validation score may not predict the test score; None if it should."""
        return " ".join(_validation_caveats(self)) or None

    def to_toml(self) -> str:
        """Write every choice, defaults too, so that the file alone repeats the run."""
        return tomli_w.dumps(_spell_none(self.model_dump()))

    @classmethod
    def load(
        cls, source: str | Path, *, overrides: Sequence[str] = (), seed: int | None = None
    ) -> Self:
        """Read a recipe by name ("quick") or from a TOML file.

        Args:
            source: a name from `names()`, or a path to a TOML file.
            overrides: "section.field=value" each, the value as TOML; "none" switches off.
            seed: takes the place of the recipe's.

        Raises:
            RecipeError: with every problem found, not only the first.
        """
        values = _read(source)
        problems = [problem for text in overrides if (problem := _override(values, text))]
        if seed is not None:
            values["seed"] = seed
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            problems += _sentences(error)
            problems += _remaining_errors(values, error)
        if problems:
            raise RecipeError(str(source), list(dict.fromkeys(problems)))  # each once
        return recipe


def list_recipes() -> list[str]:
    """Return the recipes that come with tenfold."""
    folder = resources.files("tenfold") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


def _read(source: str | Path) -> dict[str, Any]:
    """Return the raw values of the recipe called `source`."""
    path = Path(source)
    try:
        if str(source) in list_recipes():
            text = (resources.files("tenfold") / "recipes" / f"{source}.toml").read_text("utf-8")
        else:
            text = path.read_text("utf-8")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        known = ", ".join(list_recipes())
        raise RecipeError(
            str(source),
            [f"there is no such file or recipe, expected a TOML file or one of {known}"],
        ) from error
    except OSError as error:
        raise RecipeError(str(source), [f"cannot be read ({os_error_message(error)})"]) from error
    except UnicodeDecodeError as error:
        raise RecipeError(str(source), [f"cannot be read as text ({error})"]) from error
    except (ValueError, RecursionError) as error:  # also of numbers too long, nests too deep
        raise RecipeError(str(source), [f"is not valid TOML ({error})"]) from error


def _override(values: dict[str, Any], text: str) -> str | None:
    """Set one "section.field=value" in `values`; return a sentence if it cannot be understood."""
    key, equals, value = text.partition("=")
    *sections, field = key.strip().split(".")
    if not equals or not field:
        return f"--set {text!r}: expected key=value, such as training.max_epochs=20"
    place: Any = values
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            return f"--set {text!r}: {section} is a single value, it has no fields"
    place[field] = _toml_value(value.strip())
    return None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text  # a bare word: network.name=mlp


def _spell_none(value: Any) -> Any:
    """Write None as TOML has it, however deep it lies."""
    if isinstance(value, dict):
        return {key: _spell_none(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_spell_none(each) for each in value]
    return "none" if value is None else value


def _override_fields(
    values: dict[str, Any], overrides: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Lay the fields of `overrides` over `values`; another network begins with its own sizes."""
    for section, fields in overrides.items():
        kept = values.get(section, {})
        if section == "network" and fields.get("name", kept["name"]) != kept["name"]:
            kept = {}
        values[section] = {**kept, **fields}
    return values


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for detail in error.errors():
        if detail["type"] == "value_error":
            sentences += detail["ctx"]["error"].args  # our own, one each
        else:
            sentences.append(_sentence(detail))
    return sentences


def _remaining_errors(values: dict[str, Any], error: ValidationError) -> list[str]:
    """Look for misfits among the good fields too: pydantic stops at the bad ones."""
    places = [detail["loc"] for detail in error.errors() if detail["loc"]]
    if not places:
        return []
    for *sections, field in (_names(place) for place in places):
        section = values
        for name in sections:
            section = section.get(str(name), {}) if isinstance(section, dict) else {}
        if isinstance(section, dict):
            section.pop(str(field), None)
    try:
        Recipe.model_validate(values)
    except ValidationError as again:
        return _sentences(again)
    return []


def _names(place: Sequence[str | int]) -> list[str]:
    """Return the names on the way to a field, without indices into its value."""
    return [part for part in place if isinstance(part, str)]


def _sentence(detail: Mapping[str, Any]) -> str:
    """Turn one finding of pydantic into our own words."""
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{place} is not a known field{_nearest(detail['loc'])}"
    return f"{place} is {detail['input']!r}, expected: {pydantic_message(detail['msg'])}"


def _nearest(location: Sequence[str | int]) -> str:
    """Suggest the field that was probably meant."""
    section: type[BaseModel] = Recipe
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        section = annotation
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _validation_caveats(recipe: Recipe) -> Iterator[str]:
    if recipe.ensemble.members > 1:
        yield "Each held-out image was predicted only by the members that did not train on it."
    selected = {
        "the epoch": recipe.training.checkpoint_selection == "best",
        "the learning rate": recipe.schedule.name == "plateau",
        "when to stop": recipe.training.patience_epochs is not None,
    }
    if names := ", ".join(name for name, is_selected in selected.items() if is_selected):
        yield f"The held-out images also selected {names}, so the validation score is optimistic."
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


def _cross_field_errors(recipe: Recipe) -> list[str]:
    """Find choices that are fine alone and impossible together."""
    kinds = (
        _network_misfits,
        _validation_misfits,
        _optimizer_misfits,
        _distillation_misfits,
        _ensemble_misfits,
    )
    return [problem for misfits in kinds for problem in misfits(recipe)]


def _network_misfits(recipe: Recipe) -> Iterator[str]:
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
            f"training.progressive_sizes changes what the network sees, and {network.name} takes one "
            f"size alone; expected {' or '.join(sorted(SIZE_AGNOSTIC))}"
        )


def _validation_misfits(recipe: Recipe) -> Iterator[str]:
    if recipe.data.validation is None:
        for place, is_set in (
            (
                "training.checkpoint_selection = 'best'",
                recipe.training.checkpoint_selection == "best",
            ),
            ("training.patience_epochs", recipe.training.patience_epochs is not None),
            ("schedule.name = 'plateau'", recipe.schedule.name == "plateau"),
        ):
            if is_set:
                yield f"{place} needs validation images, but data.validation is off"
    if recipe.data.fold is not None and recipe.data.fold >= (recipe.data.folds or 0):
        yield (
            f"data.fold is {recipe.data.fold}, but data.validation makes {recipe.data.folds or 0} "
            "folds, counted from 0"
        )
    in_folds = recipe.data.fold is not None or recipe.ensemble.members > 1
    if in_folds and (recipe.data.validation or 0) > 0.5:
        yield (
            f"data.validation is {recipe.data.validation:g}, expected at most 0.5 where folds are "
            "held out in turn"
        )


def _optimizer_misfits(recipe: Recipe) -> Iterator[str]:
    optimizer, network = recipe.optimizer, recipe.network
    if optimizer.name == "adamw" and optimizer.momentum:
        yield "optimizer.momentum applies to muon, rmsprop and sgd; adamw has its own"
    if optimizer.name == "muon" and network.name not in HAS_BATCH_NORM:
        yield (
            "optimizer.name = 'muon' fixes the length of filters, which batch normalisation "
            f"forgives, and {network.name} has none; "
            f"expected {' or '.join(sorted(HAS_BATCH_NORM))}"
        )


def _distillation_misfits(recipe: Recipe) -> Iterator[str]:
    if recipe.distillation.teacher is None:
        return
    if recipe.augmentation.mixup:
        yield (
            "augmentation.mixup lays one image over another, and a teacher is asked about plain "
            "ones; expected 0 where distillation.teacher is set"
        )
    if recipe.ensemble.members > 1:
        yield (
            "distillation.teacher teaches one network, but ensemble.members is "
            f"{recipe.ensemble.members}; expected 1"
        )


def _ensemble_misfits(recipe: Recipe) -> Iterator[str]:
    ensemble = recipe.ensemble
    if ensemble.member_overrides and ensemble.members == 1:
        yield (
            "ensemble.member_overrides tells members apart, but ensemble.members is 1; expected at least "
            "2, or no member_overrides"
        )
    if recipe.data.fold is not None and ensemble.members > 1:
        yield "data.fold is one network's, expected none: each member holds out its own"
    for index, overrides in enumerate(ensemble.member_overrides):
        place = f"ensemble.member_overrides.{index}"
        if "precision" in overrides.get("training", {}):
            yield f"{place} changes training.precision, expected one for all members"
        if odd := set(overrides) - MEMBER_OVERRIDABLE:
            known = ", ".join(sorted(MEMBER_OVERRIDABLE))
            yield f"{place} changes {', '.join(sorted(odd))}, expected only {known}"
            continue
        try:
            Recipe.model_validate(
                _override_fields(recipe.model_dump(exclude={"ensemble"}), overrides)
            )
        except ValidationError as error:
            yield from (f"{place}: {sentence}" for sentence in _sentences(error))
