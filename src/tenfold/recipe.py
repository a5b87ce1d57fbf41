"""Recipe: every choice of a training run, checked at once, TOML in and out.

A recipe is a small tree of frozen sections. A field's type and bounds stand beside its default,
so this file is also the reference of what can be chosen. `None` means off; TOML has no null,
so there it is written "none".
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tenfold.errors import RecipeError

# Which of the options in `Network` each network takes. The constructors in `tenfold.networks`
# take exactly these; a test holds the two together.
NETWORK_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "mlp": frozenset({"hidden", "dropout"}),
    "lenet5": frozenset(),
    "surma": frozenset({"hidden", "dropout"}),
    "thelastdev": frozenset({"hidden", "dropout"}),
    "deotte": frozenset({"width", "dropout"}),
    "compact": frozenset({"width", "dropout"}),
}

MOST_MEMBERS: Final = 1000  # of an ensemble: the seeds of members 0 to 999 are told apart by it

# What the members of an ensemble may differ in; images and seeds follow from their number.
VARIED: Final = frozenset(
    {"preprocessing", "augmentation", "network", "optimizer", "schedule", "training"}
)

BATCH_NORMALIZED: Final = frozenset({"deotte", "compact"})
ANY_SIZE: Final = frozenset({"compact"})  # these end in a global maximum

NetworkName = Literal["mlp", "lenet5", "surma", "thelastdev", "deotte", "compact"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of a recipe: immutable, with no unknown fields and no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _none_is_off(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: None if value == "none" else value for key, value in values.items()}


class Data(Section):
    """How the labelled images are divided."""

    validation: Annotated[float, Field(gt=0, lt=1)] | None = 0.1
    """Fraction held out, stratified by class; None trains on every row."""
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of the division; None takes the recipe's."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Hold out this one of 1 / validation equal parts; None draws one part at random."""

    pseudo_confidence: Annotated[float, Field(gt=0, le=1)] | None = None
    """Learn a second time, then also from the images to be predicted, where the first answer was
    at least this sure. None, the default, learns from labelled images alone."""

    @property
    def folds(self) -> int | None:
        """How many parts of the size of the one held out the data has."""
        return None if self.validation is None else max(2, round(1 / self.validation))


class Preprocessing(Section):
    """What happens to every image, in training and in prediction alike."""

    standardize: bool = True
    """Subtract the training pixels' mean and divide by their standard deviation; else 0 to 1."""
    zoom: Annotated[float, Field(ge=1, le=2)] | None = None
    """Enlarge the centre by this factor: MNIST leaves an empty margin of four pixels."""
    size: Annotated[int, Field(ge=4, le=1024)] | None = None
    """Height and width in pixels of what the network sees; None is the image's own."""


class Augmentation(Section):
    """Largest random change of a training image; each drawn uniformly, 0 is none. No flips."""

    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift_pixels: Annotated[float, Field(ge=0, le=14)] = 0.0
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Each axis is scaled by its own factor from 1 - zoom to 1 + zoom."""
    shear_degrees: Annotated[float, Field(ge=0, le=60)] = 0.0
    elastic_pixels: Annotated[float, Field(ge=0, le=7)] = 0.0
    """Standard deviation of a smooth random displacement (Simard et al., ICDAR 2003)."""


class Network(Section):
    """Which network, and its sizes; None leaves a size as the network's author had it."""

    name: NetworkName = "compact"
    width: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Filters of the first convolution; later ones are multiples of it."""
    hidden: Annotated[tuple[Count, ...], Field(max_length=16)] | None = None
    """Units of each hidden dense layer."""
    dropout: Fraction | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The sizes that were given, as keyword arguments for the constructor."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class Optimizer(Section):
    """The rule that changes the weights."""

    name: Literal["adamw", "muon", "rmsprop", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """The peak, where the schedule has one."""
    filter_learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.1
    """muon: the peak for the filters of convolutions; all other weights take the one above."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    momentum: Fraction = 0.0
    """For sgd (Nesterov), rmsprop, and the filters under muon (Nesterov)."""


class Schedule(Section):
    """How the learning rate moves."""

    name: Literal["constant", "one-cycle", "cosine", "exponential", "plateau"] = "constant"
    warmup: Fraction = 0.25
    """one-cycle: the fraction of all steps that climb to the peak."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.01
    """one-cycle, cosine: what is left of the peak at the end. plateau: the lowest it goes."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    """exponential: the factor after each epoch. plateau: the factor at each drop."""
    patience_epochs: Count = 3
    """plateau: epochs without a better validation accuracy before each drop."""


class Training(Section):
    """The loop."""

    max_epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    label_smoothing: Fraction = 0.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Validate and keep an exponential moving average of the weights; None: the weights."""
    small_sizes: tuple[Annotated[int, Field(ge=4, le=1024)], ...] = ()
    """Heights and widths in pixels of what the network sees at first, one after the other."""
    small_until: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The fraction of all steps that `small_sizes` share equally."""
    patience_epochs: Count | None = None
    """Stop early after this many epochs without a better validation accuracy."""
    keep: Literal["best", "last"] = "best"
    """Which epoch the recognizer comes from; best is by validation accuracy, then loss."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""


class Distillation(Section):
    """Learning from a better recognizer besides the labels."""

    teacher: str | None = None
    """A recipe by name, which is trained first, or the folder of a run; None learns alone."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    """How much the teacher counts; the labels count the rest."""
    temperature: Annotated[float, Field(ge=1, le=20)] = 2.0
    """Above 1 the teacher tells more of what else a digit might have been."""


class Prediction(Section):
    """How the trained network is asked."""

    view_shift_pixels: Annotated[float, Field(gt=0, le=14)] | None = None
    """Average over five views of an image: in place, and moved by so much to each side."""


class Ensemble(Section):
    """Several networks whose probabilities are averaged. Each holds out another fold."""

    members: Annotated[int, Field(ge=1, le=MOST_MEMBERS)] = 1
    variants: tuple[dict[str, dict[str, Any]], ...] = ()
    """Members take turns with these: each a table of sections with the fields that differ."""


class Recipe(Section):
    """Every choice of a training run."""

    name: Annotated[str, Field(pattern=r"^\w[\w .-]{0,79}$")] = "custom"
    """Also the beginning of the run folder's default name."""
    description: str = ""
    measured: str = ""
    """What it was seen to reach, for `tenfold recipes`; how, stands in docs/results.md."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the first weights, the order of the images, augmentation and dropout."""
    data: Data = Data()
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    network: Network = Network()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()
    distillation: Distillation = Distillation()
    prediction: Prediction = Prediction()
    ensemble: Ensemble = Ensemble()

    @model_validator(mode="after")
    def _choices_fit_together(self) -> Self:
        problems = list(_misfits(self))
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
        values["seed"] = (self.seed * MOST_MEMBERS + index) % 2**32
        if self.data.folds is not None:
            repeat, fold = divmod(index, self.data.folds)
            split_seed = (self.split_seed * MOST_MEMBERS + repeat) % 2**32
            values["data"] |= {"fold": fold, "split_seed": split_seed}
        variants = self.ensemble.variants
        return self.model_validate(
            _vary(values, variants[index % len(variants)] if variants else {})
        )

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
            problems += _misfits_beside(values, error)
        if problems:
            raise RecipeError(str(source), problems)
        return recipe


def names() -> list[str]:
    """Return the recipes that come with tenfold."""
    folder = resources.files("tenfold") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


def _read(source: str | Path) -> dict[str, Any]:
    """Return the raw values of the recipe called `source`."""
    path = Path(source)
    try:
        if str(source) in names():
            text = (resources.files("tenfold") / "recipes" / f"{source}.toml").read_text("utf-8")
        else:
            text = path.read_text("utf-8")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        known = ", ".join(names())
        raise RecipeError(
            str(source),
            [f"there is no such file or recipe, expected a TOML file or one of {known}"],
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(str(source), [f"cannot be read as text ({error})"]) from error
    except tomllib.TOMLDecodeError as error:
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
    except tomllib.TOMLDecodeError:
        return text  # a bare word: network.name=mlp


def _spell_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _spell_none(value) if isinstance(value, dict) else "none" if value is None else value
        for key, value in values.items()
    }


def _vary(values: dict[str, Any], variant: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Lay the fields of `variant` over `values`; another network begins with its own sizes."""
    for section, fields in variant.items():
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


def _misfits_beside(values: dict[str, Any], error: ValidationError) -> list[str]:
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
    message = str(detail["msg"])
    return f"{place} is {detail['input']!r}, expected: {message[0].lower()}{message[1:]}"


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


def _misfits(recipe: Recipe) -> list[str]:
    """Find choices that are fine alone and impossible together."""
    kinds = (_network_misfits, _validation_misfits, _optimizer_misfits, _ensemble_misfits)
    return [problem for misfits in kinds for problem in misfits(recipe)]


def _network_misfits(recipe: Recipe) -> Iterator[str]:
    network, training = recipe.network, recipe.training
    for option in sorted(set(network.options) - NETWORK_OPTIONS[network.name]):
        takes = ", ".join(sorted(NETWORK_OPTIONS[network.name])) or "no options"
        yield f"network.{option} does not apply to {network.name}, which takes {takes}"
    if training.batch_size == 1 and network.name in BATCH_NORMALIZED:
        yield (
            f"training.batch_size is 1, but {network.name} normalises over the batch; "
            "expected at least 2"
        )
    if training.small_sizes and network.name not in ANY_SIZE:
        yield (
            f"training.small_sizes changes what the network sees, and {network.name} takes one "
            f"size alone; expected {' or '.join(sorted(ANY_SIZE))}"
        )


def _validation_misfits(recipe: Recipe) -> Iterator[str]:
    if recipe.data.validation is None:
        for place, is_set in (
            ("training.keep = 'best'", recipe.training.keep == "best"),
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


def _optimizer_misfits(recipe: Recipe) -> Iterator[str]:
    optimizer, network = recipe.optimizer, recipe.network
    if optimizer.name == "adamw" and optimizer.momentum:
        yield "optimizer.momentum applies to muon, rmsprop and sgd; adamw has its own"
    if optimizer.name == "muon" and network.name not in BATCH_NORMALIZED:
        yield (
            "optimizer.name = 'muon' fixes the length of filters, which batch normalisation "
            f"forgives, and {network.name} has none; "
            f"expected {' or '.join(sorted(BATCH_NORMALIZED))}"
        )


def _ensemble_misfits(recipe: Recipe) -> Iterator[str]:
    ensemble = recipe.ensemble
    for index, variant in enumerate(ensemble.variants):
        place = f"ensemble.variants.{index}"
        if odd := set(variant) - VARIED:
            known = ", ".join(sorted(VARIED))
            yield f"{place} changes {', '.join(sorted(odd))}, expected only {known}"
            continue
        try:
            Recipe.model_validate(_vary(recipe.model_dump(exclude={"ensemble"}), variant))
        except ValidationError as error:
            yield from (f"{place}: {sentence}" for sentence in _sentences(error))
    if recipe.distillation.teacher is not None and ensemble.members > 1:
        yield (
            "distillation.teacher teaches one network, but ensemble.members is "
            f"{ensemble.members}; expected 1"
        )
