"""The bodies of requests and answers: requests are validated by them, and OpenAPI shows them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Pixel = Annotated[int, Field(strict=True, ge=0, le=255)]
ImageRows = Annotated[list[list[Pixel]], Field(min_length=1)]


class PixelsRequest(BaseModel):
    """Images as MNIST stores them, ink bright on dark."""

    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[ImageRows], Field(min_length=1)]


class FeedbackRequest(BaseModel):
    """An image as the network saw it, and what it shows."""

    model_config = ConfigDict(extra="forbid")
    pixels: ImageRows
    label: Annotated[str, Field(max_length=64)]


class ErrorResponse(BaseModel):
    """What went wrong; the code stays the same over versions."""

    status: int
    code: str
    message: str


class DigitResponse(BaseModel):
    """The answer to one digit."""

    digit: str
    confidence: float
    decision: Literal["sure", "not sure", "no digit"]
    probabilities: dict[str, float]


class FoundDigitResponse(DigitResponse):
    """The answer to one digit of a picture.

    `box` is left, top, right and bottom in pixels of the upright picture; `line` counts from 0, and
    so does `position` in it.
    """

    box: list[int]
    line: int
    position: int
    pixels: list[list[int]] | None = None


class PictureResponse(BaseModel):
    """The digits of one picture, in the order of reading, or why it could not be read."""

    text: str | None = None
    ink: bool | None = None
    digits: list[FoundDigitResponse] | None = None
    notes: list[str] | None = None
    error: ErrorResponse | None = None


class PicturesResponse(BaseModel):
    """What was read in each picture."""

    pictures: list[PictureResponse]


class PixelsResponse(BaseModel):
    """The answer to each image, in order."""

    digits: list[DigitResponse]


class FeedbackResponse(BaseModel):
    """That the digit is kept."""

    kept: Literal[True]


class ModelResponse(BaseModel):
    """What predicts: `card` says where it comes from and what was measured."""

    classes: list[str]
    image_size: int
    max_images: int
    reads_pictures: bool
    collects: bool
    decision_rule: dict[str, object]
    card: dict[str, object]


class StatusResponse(BaseModel):
    """How the process is."""

    status: Literal["alive", "ready"]
