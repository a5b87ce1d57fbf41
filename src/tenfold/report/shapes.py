"""Shapes: what is read again from a run's JSON files, with the types that are counted on.

There may be more in them; what is not named here is not looked at.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenfold.wording import expectation

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Shape(BaseModel):
    """An object of JSON; text is no number and a number no text."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Environment(Shape):
    """`environment.json`."""

    device_name: str
    system: str
    python: str
    versions: dict[str, str]


class Part(Shape):
    """The part of the images that is learned, or held out."""

    classes: Annotated[dict[str, Count], Field(min_length=1)]


class File(Shape):
    """What the checks measured of one file."""

    name: str
    rows: int
    image_size: int
    pixel_min: int
    pixel_max: int
    pixel_mean: float
    pixel_std: float
    ink_share: float
    chi_square: float | None
    blank: list[Any]
    duplicates: list[Any]


class Checks(Shape):
    """What the checks found."""

    train: File
    test: File | None
    overlap: list[Any]
    problems: list[str]
    notes: list[str]


class Data(Shape):
    """`data.json`."""

    train: Part
    valid: Part | None
    checks: Checks | None


class Summary(Shape):
    """`run.json`."""

    train_s: Seconds
    total_s: Seconds | None


class Expected(Shape):
    """A score that was expected, and its interval from low to high."""

    accuracy: float
    interval: Annotated[list[float], Field(min_length=2, max_length=2)]


class Foretold(Shape):
    """`run.json` as handing in reads it."""

    validation: Expected | None


class Counted(Shape):
    """`score.json`."""

    correct: Count
    n: Annotated[int, Field(ge=1)]


class Row(Shape):
    """A line of `metrics.jsonl` or `steps.jsonl`; what was not measured is null or missing."""

    epoch: float
    train_loss: float | None = None
    train_accuracy: float | None = None
    valid_loss: float | None = None
    valid_accuracy: float | None = None
    learning_rate: float | None = None
    elapsed_s: Seconds | None = None


def shaped(values: Any, shape: type[Shape]) -> dict[str, Any]:
    """Return `values` as they are, if they have this shape.

    Raises:
        ValueError: they have not; the message says where.
    """
    if not isinstance(values, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - told as a gap, as other damage
    try:
        shape.model_validate(values)
    except ValidationError as error:
        raise ValueError(_sentence(error.errors()[0])) from error
    return values


def _sentence(detail: Mapping[str, Any]) -> str:
    """Turn one finding of pydantic into our own words."""
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"lacks {place}"
    expected = "an object" if detail["type"] == "model_type" else expectation(detail["msg"])
    return f"{place} is {detail['input']!r:.40}, expected: {expected}"
