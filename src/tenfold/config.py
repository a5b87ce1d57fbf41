"""The sections of a recipe: what can be chosen, within which bounds, and what is chosen by default.

A field's type and bounds stand beside its default, so this file is also the reference of what can
be chosen. `None` means off; TOML has no null, so there it is written "none".
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Which of the options in `NetworkConfig` each network takes. The constructors in `tenfold.networks`
# take exactly these; a test holds the two together.
NETWORK_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "mlp": frozenset({"hidden", "dropout"}),
    "lenet5": frozenset(),
    "surma": frozenset({"hidden", "dropout"}),
    "thelastdev": frozenset({"hidden", "dropout"}),
    "deotte": frozenset({"width", "dropout"}),
    "compact": frozenset({"width", "dropout"}),
    "pocket": frozenset({"width"}),
}

MAX_MEMBERS: Final = 1000  # of an ensemble: the seeds of members 0 to 999 are told apart by it

# What the members of an ensemble may differ in; images and seeds follow from their number.
MEMBER_OVERRIDABLE: Final = frozenset(
    {"preprocessing", "augmentation", "network", "optimizer", "schedule", "training"}
)

HAS_BATCH_NORM: Final = frozenset({"deotte", "compact", "pocket"})
SIZE_AGNOSTIC: Final = frozenset({"compact", "pocket"})  # these end in a global maximum

NetworkName = Literal["mlp", "lenet5", "surma", "thelastdev", "deotte", "compact", "pocket"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class ConfigSection(BaseModel):
    """A part of a recipe: immutable, with no unknown fields and no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _none_is_off(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: None if value == "none" else value for key, value in values.items()}

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        """Refuse true and false where a number belongs: Python counts them as 1 and 0."""
        if not isinstance(values, dict):
            return values
        section = (
            "" if cls.__name__ == "Recipe" else f"{cls.__name__.removesuffix('Config').lower()}."
        )
        odd = [
            f"{section}{key} is {str(value).lower()}, expected a number or a word"
            for key, value in values.items()
            if isinstance(value, bool)
            and key in cls.model_fields
            and cls.model_fields[key].annotation is not bool
        ]
        if odd:
            raise ValueError(*odd)
        return values


class DataConfig(ConfigSection):
    """How the labelled images are divided."""

    validation: Annotated[float, Field(gt=0, lt=1)] | None = 0.1
    """Fraction held out, stratified by class; None trains on every row."""
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of the division; None takes the recipe's."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Hold out this one of 1 / validation equal parts, rounded to a whole number of parts; None
    draws one part at random. Members of an ensemble hold out one fold each."""

    pseudo_label_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Learn a second time, then also from the images to be predicted, where the first answer was
    at least this sure. None, the default, learns from labelled images alone."""

    @property
    def folds(self) -> int | None:
        """How many parts of the size of the one held out the data has."""
        return None if self.validation is None else max(2, round(1 / self.validation))


class PreprocessingConfig(ConfigSection):
    """What happens to every image, in training and in prediction alike."""

    alignment: Literal["deskew", "bounding_box"] | None = None
    """Where the digit is put first: as it was given; centred, without its slant; or with the box
    around its ink stretched to 20 pixels of 28 each way."""
    standardize: bool = True
    """Subtract the training pixels' mean and divide by their standard deviation; else 0 to 1."""
    zoom: Annotated[float, Field(ge=1, le=2)] | None = None
    """Enlarge the centre by this factor: MNIST leaves an empty margin of four pixels."""
    size: Annotated[int, Field(ge=4, le=1024)] | None = None
    """Height and width in pixels of what the network sees; None is the image's own."""


class AugmentationConfig(ConfigSection):
    """Largest random change of a training image; each drawn uniformly, 0 is none. No flips.

    Pixels are those of the image once `preprocessing.zoom` has enlarged it.
    """

    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift_pixels: Annotated[float, Field(ge=0, le=14)] = 0.0
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Each axis is scaled by its own factor from 1 - zoom to 1 + zoom."""
    shear_degrees: Annotated[float, Field(ge=0, le=60)] = 0.0
    elastic_pixels: Annotated[float, Field(ge=0, le=7)] = 0.0
    """A smooth random displacement (Simard et al., ICDAR 2003), of a standard deviation of about
    0.8 times so much."""
    stroke_pixels: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strokes grow or shrink by about so much on each side, in pixels before any zoom."""
    mixup: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Another image of the batch, and its label, are laid over by a share of up to so much."""
    strength_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much of all the above has gone by the last step, evenly from the first; 1: all."""

    def at(self, progress: float) -> Self:
        """Return what is left after `progress`, from 0 to 1, of all steps."""
        if self.strength_decay == 0:
            return self
        left = 1 - self.strength_decay * progress
        changes = self.model_dump(exclude={"strength_decay"})
        return self.model_copy(update={name: left * most for name, most in changes.items()})


class NetworkConfig(ConfigSection):
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


class OptimizerConfig(ConfigSection):
    """The rule that changes the weights."""

    name: Literal["adamw", "muon", "rmsprop", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """The peak, where the schedule has one."""
    muon_learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.1
    """muon: the peak for the filters of convolutions; all other weights take the one above."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    momentum: Fraction = 0.0
    """For sgd (Nesterov), rmsprop, and the filters under muon (Nesterov)."""


class ScheduleConfig(ConfigSection):
    """How the learning rate moves."""

    name: Literal["constant", "one-cycle", "cosine", "exponential", "plateau"] = "constant"
    warmup_fraction: Fraction = 0.25
    """one-cycle: the fraction of all steps that climb to the peak."""
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """one-cycle, cosine: what is left of the peak at the end. plateau: the lowest it goes."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.95
    """exponential: the factor after each epoch. plateau: the factor at each drop."""
    patience_epochs: Count = 3
    """plateau: epochs without a better validation accuracy before each drop."""


class TrainingConfig(ConfigSection):
    """The loop."""

    max_epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    label_smoothing: Fraction = 0.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Validate and keep an exponential moving average of the weights; None: the weights."""
    progressive_sizes: tuple[Annotated[int, Field(ge=4, le=1024)], ...] = ()
    """Heights and widths in pixels of what the network sees at first, one after the other."""
    progressive_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The fraction of all steps that `progressive_sizes` share equally."""
    patience_epochs: Count | None = None
    """Stop early after this many epochs without a better validation accuracy."""
    checkpoint_selection: Literal["best", "last"] = "best"
    """Which epoch the recognizer comes from; best is by validation accuracy, then loss."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""


class DistillationConfig(ConfigSection):
    """Learning from a better recognizer besides the labels."""

    teacher: str | None = None
    """A recipe by name, which is trained first, or the folder of a run; None learns alone."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    """How much the teacher counts; the labels count the rest."""
    temperature: Annotated[float, Field(ge=1, le=20)] = 2.0
    """Above 1 the teacher tells more of what else a digit might have been."""


class PredictionConfig(ConfigSection):
    """How the trained network is kept and asked."""

    tta_shift_pixels: Annotated[float, Field(gt=0, le=14)] | None = None
    """Where a network is not sure, average over five views: in place, and moved to each side."""
    weights_dtype: Literal["float32", "float16"] = "float32"
    """How the trained weights are rounded and kept; float16 halves the file."""


class EnsembleConfig(ConfigSection):
    """Several networks whose probabilities are averaged. Each holds out another fold."""

    members: Annotated[int, Field(ge=1, le=MAX_MEMBERS)] = 1
    member_overrides: tuple[dict[str, dict[str, Any]], ...] = ()
    """Members take turns with these: each a table of sections with the fields that differ."""
