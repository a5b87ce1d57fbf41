"""The sections of a recipe: each field's type, default, bounds and meaning; errors in sentences.

`docs/recipe-reference.md` is generated from this file by `docs/recipe_reference.py`: a field's
meaning is the docstring below it. `None` means off; TOML has no null, so recipes write "none".
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from tenfold.formatting import pydantic_message, shorten

# Which options of `NetworkConfig` each network takes. The constructors in `tenfold.networks` take
# exactly these; a test compares the two.
NETWORK_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "mlp": frozenset({"hidden", "dropout"}),
    "lenet5": frozenset(),
    "surma": frozenset({"hidden", "dropout"}),
    "thelastdev": frozenset({"hidden", "dropout"}),
    "deotte": frozenset({"width", "dropout"}),
    "compact": frozenset({"width", "dropout"}),
    "pocket": frozenset({"width"}),
}

HAS_BATCH_NORM: Final = frozenset({"deotte", "compact", "pocket"})
SIZE_AGNOSTIC: Final = frozenset({"compact", "pocket"})  # these end in a global maximum

MAX_QUOTED: Final = 200  # characters of a wrong name or value in a message

# Member i of the ensemble with seed s has the seed s × MAX_MEMBERS + i.
MAX_MEMBERS: Final = 1000
# What the members of an ensemble may differ in; images and seeds follow from their index.
MEMBER_OVERRIDABLE: Final = frozenset(
    {"preprocessing", "augmentation", "network", "optimizer", "schedule", "training"}
)

# Names that fields had before, and their names since: an old recipe gets a clear error.
RENAMED_FIELDS: Final[Mapping[str, str]] = {
    "measured": "benchmark",
    "data.pseudo_confidence": "data.pseudo_label_threshold",
    "preprocessing.frame": "preprocessing.alignment",
    "augmentation.fade": "augmentation.strength_decay",
    "optimizer.filter_learning_rate": "optimizer.muon_learning_rate",
    "schedule.warmup": "schedule.warmup_fraction",
    "schedule.floor": "schedule.min_lr_ratio",
    "schedule.decay": "schedule.gamma",
    "training.small_sizes": "training.progressive_sizes",
    "training.small_until": "training.progressive_fraction",
    "training.keep": "training.checkpoint_selection",
    "prediction.view_shift_pixels": "prediction.tta_shift_pixels",
    "prediction.weights": "prediction.weights_dtype",
    "ensemble.variants": "ensemble.member_overrides",
}

NetworkName = Literal["mlp", "lenet5", "surma", "thelastdev", "deotte", "compact", "pocket"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
ImageSize = Annotated[int, Field(ge=4, le=1024)]


class ConfigSection(BaseModel):
    """A part of a recipe: immutable, without unknown fields, NaN or infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _read_toml_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Read "none", and refuse true where a number belongs: Python counts it as 1."""
        if isinstance(value, str) and value == "none":
            return None
        assert info.field_name is not None
        is_flag = cls.model_fields[info.field_name].annotation is bool
        if isinstance(value, bool) and not is_flag:
            raise ValueError(f"is {str(value).lower()}, expected a number or a word")
        return value


class DataConfig(ConfigSection):
    """How the labelled images are split."""

    validation: Annotated[float, Field(gt=0, lt=1)] | None = 0.1
    """Fraction held out for validation, stratified by class; none trains on every image."""
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of the split; none takes the recipe's `seed`."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Hold out this fold, counted from 0, of 1 / `validation` equal folds, rounded to a whole
    number of folds; none draws the validation images at random. Members of an ensemble hold out
    one fold each."""
    pseudo_label_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Train a second time with pseudo-labels: also on those images to be predicted whose label
    the first training gave at least this probability. None trains once, on labelled images
    alone."""

    @property
    def folds(self) -> int | None:
        """How many folds of the size of the one held out the data has."""
        return None if self.validation is None else max(2, round(1 / self.validation))


class PreprocessingConfig(ConfigSection):
    """What happens to every image, in training and in prediction alike."""

    alignment: Literal["deskew", "bounding_box"] | None = None
    """What is done to the digit's position first. `deskew` centres it and removes its slant;
    `bounding_box` stretches the box around its ink to 20 pixels of 28 each way; none leaves it as
    it is."""
    standardize: bool = True
    """Subtract the mean of the training pixels and divide by their standard deviation; false
    leaves pixels on the scale 0 to 1."""
    zoom: Annotated[float, Field(ge=1, le=2)] | None = None
    """Enlarge the centre by this factor: MNIST leaves an empty margin of four pixels."""
    size: ImageSize | None = None
    """Height and width, in pixels, of what the network sees; none keeps the image's own."""


class AugmentationConfig(ConfigSection):
    """The largest random change of a training image; each is drawn uniformly, 0 is none.

    Pixels are those of the image once `preprocessing.zoom` has enlarged it. `writing_styles` and
    `corruption` are probabilities. Nothing flips.
    """

    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Rotation about the centre, either way."""
    shift_pixels: Annotated[float, Field(ge=0, le=14)] = 0.0
    """Shift along each axis, either way."""
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Each axis is scaled by its own factor from 1 - `zoom` to 1 + `zoom`."""
    shear_degrees: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Slant of the vertical strokes, either way."""
    elastic_pixels: Annotated[float, Field(ge=0, le=7)] = 0.0
    """A smooth random displacement (Simard et al., ICDAR 2003) with a standard deviation of about
    0.8 times this many pixels."""
    stroke_pixels: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strokes grow or shrink by up to about this much on each side, in pixels before any zoom."""
    mixup: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The largest weight of another image of the batch, and of its label, in a weighted mean with
    each image."""
    writing_styles: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The probability that a digit is written in another style: a crossed 7, a 1 with a flag and
    a base, a closed 4, a 3 with a flat top, a 6 in two bows, a slashed 0."""
    corruption: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The probability that an image becomes a bad picture: by a blur, noise, a grey background,
    strokes and spots over the digit, or a random filter."""
    strength_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """By how much all changes above have shrunk at the last step, linearly from the first; 1
    leaves none."""

    def at(self, progress: float) -> Self:
        """Return the changes that remain after a fraction `progress`, 0 to 1, of all steps."""
        if self.strength_decay == 0:
            return self
        strength = 1 - self.strength_decay * progress
        limits = self.model_dump(exclude={"strength_decay"})
        return self.model_copy(update={name: strength * limit for name, limit in limits.items()})


class NetworkConfig(ConfigSection):
    """Which network, and its size; none leaves an option as the network's author had it.

    An option that the network does not have is an error.
    """

    name: NetworkName = "compact"
    """The architecture; `tenfold recipes --show` prints its layers."""
    width: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Filters of the first convolution; later ones have multiples of it."""
    hidden: Annotated[tuple[Count, ...], Field(max_length=16)] | None = None
    """Units of each hidden dense layer."""
    dropout: Fraction | None = None
    """Probability with which dropout zeroes an activation in training."""

    @property
    def options(self) -> dict[str, Any]:
        """The options that were given, as keyword arguments for the constructor."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class OptimizerConfig(ConfigSection):
    """How gradients change the weights."""

    name: Literal["adamw", "muon", "rmsprop", "sgd"] = "adamw"
    """`muon` moves the filters of convolutions by orthogonal matrices, and the other weights as
    `adamw` does."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """The peak, where the schedule has one."""
    muon_learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.1
    """muon: the peak for the filters of convolutions; all other weights take `learning_rate`."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Spares biases, batch normalisation, and the filters under muon."""
    momentum: Fraction = 0.0
    """Of sgd (Nesterov), rmsprop, and the filters under muon (Nesterov)."""


class ScheduleConfig(ConfigSection):
    """How the learning rate changes during training."""

    name: Literal["constant", "one-cycle", "cosine", "exponential", "plateau"] = "constant"
    """`one-cycle` climbs linearly to the peak, then falls along a cosine; `cosine` only falls;
    `exponential` falls after each epoch; `plateau` when validation accuracy stops rising."""
    warmup_fraction: Fraction = 0.25
    """one-cycle: the fraction of all steps that climb to the peak."""
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """one-cycle, cosine: the last learning rate as a fraction of the peak. plateau: the lowest."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.95
    """exponential: the factor after each epoch. plateau: the factor at each drop."""
    patience_epochs: Count = 3
    """plateau: epochs without a better validation accuracy before each drop."""


class TrainingConfig(ConfigSection):
    """The training loop."""

    max_epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    """Images per step; as many as there are, where there are fewer."""
    label_smoothing: Fraction = 0.0
    """The part of each training target that is spread evenly over all classes."""
    outlier_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The fraction of each batch that is replaced by pictures of no digit, drawn by tenfold, whose
    target is the same probability for every class (outlier exposure, Hendrycks et al., 2018)."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Validate and keep an exponential moving average of the weights; none keeps the weights."""
    progressive_sizes: tuple[ImageSize, ...] = ()
    """Heights and widths, in pixels, of what the network sees at first, one after the other."""
    progressive_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The fraction of all steps that `progressive_sizes` share equally."""
    patience_epochs: Count | None = None
    """Stop early after this many epochs without a better validation accuracy."""
    checkpoint_selection: Literal["best", "last"] = "best"
    """Which epoch the recognizer comes from; `best` is by validation accuracy, then by loss."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 where the hardware multiplies it natively, else fp32."""


class DistillationConfig(ConfigSection):
    """Learning from a better recognizer besides the labels."""

    teacher: str | None = None
    """A recipe by name, which is trained first, or a run folder; none learns from labels alone."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Weight of the teacher's loss; the loss of the labels has the rest."""
    temperature: Annotated[float, Field(ge=1, le=20)] = 2.0
    """Above 1, the teacher's less probable classes count more."""


class PredictionConfig(ConfigSection):
    """How the trained network predicts, and how its weights are stored."""

    tta_shift_pixels: Annotated[float, Field(gt=0, le=14)] | None = None
    """Test-time augmentation where a network has low confidence: average over five views, in
    place and shifted by this much to each side. None predicts from the image in place."""
    weights_dtype: Literal["float32", "float16"] = "float32"
    """The type to which trained weights are rounded; float16 halves the file."""


class EnsembleConfig(ConfigSection):
    """Several networks whose probabilities are averaged. Each holds out another fold."""

    members: Annotated[int, Field(ge=1, le=MAX_MEMBERS)] = 1
    """How many networks."""
    member_overrides: tuple[dict[str, dict[str, Any]], ...] = ()
    """Members take turns with these: each is a table of sections with the fields that differ."""


def error_messages(model: type[ConfigSection], error: ValidationError) -> list[str]:
    """Return one sentence for each problem that validating a `model` found."""
    messages = []
    for detail in error.errors():
        if detail["type"] == "value_error":  # raised by our validators, one argument a problem
            location = ".".join(str(part) for part in detail["loc"])
            messages += [f"{location} {text}".lstrip() for text in detail["ctx"]["error"].args]
        else:
            messages.append(_error_message(model, detail))
    return messages


def _error_message(model: type[ConfigSection], detail: Mapping[str, Any]) -> str:
    path = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        return _unknown_field(model, path)
    expected = pydantic_message(detail["msg"])
    if len(path) == 2 and type(None) in get_args(_fields(model, path[:1])[path[1]].annotation):
        expected += ", or none"
    value = shorten(repr(detail["input"]), MAX_QUOTED)
    return f"{shorten('.'.join(path), MAX_QUOTED)} is {value}, expected: {expected}"


def _unknown_field(model: type[ConfigSection], path: Sequence[str]) -> str:
    """Say that a field does not exist, and which one was probably meant."""
    path = [shorten(name, MAX_QUOTED) for name in path]  # it is compared with every known one
    location = ".".join(path)
    if location in RENAMED_FIELDS:
        return f"{location} is now {RENAMED_FIELDS[location]}"
    *sections, name = path
    known = list(_fields(model, sections))
    if not sections:
        homes = [home for home in known if _has_field(model, home, name)]
        if homes:
            return f"{location} is a field of {homes[0]}; did you mean {homes[0]}.{name}?"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return f"{location} is not a known field; {hint}"


def _has_field(model: type[BaseModel], section: str, name: str) -> bool:
    """Whether the field `section` of `model` is a section with a field `name`."""
    annotation = model.model_fields[section].annotation
    return isinstance(annotation, type) and name in getattr(annotation, "model_fields", {})


def _fields(model: type[BaseModel], sections: Sequence[str]) -> Mapping[str, FieldInfo]:
    for name in sections:
        annotation = model.model_fields[name].annotation
        assert isinstance(annotation, type)
        model = annotation
    return model.model_fields
