"""Artifacts: what a file that tenfold saved must hold, checked at one gate when it is read.

The checksum in a file says that it is as it was written, not that it makes sense: anybody can write
a file with the right checksum. So each artifact has a schema of its description and the dtypes and
shapes of its arrays, beside the class that it becomes; here is what compares them.

    load_artifact   the gate: everything saved as arrays is read by it
    read_json       the gate for a JSON file
    ArtifactSchema  the base of every schema
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tenfold.errors import RecognizerError
from tenfold.files import load_arrays, os_error_message
from tenfold.formatting import printable, pydantic_message, shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_JSON_BYTES = 256 * 2**20  # a run of 10,000 epochs has 4 MB
MAX_QUOTED = 40  # characters of a wrong value in a message


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names that differ")
    return names


Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Accuracy = Annotated[float, Field(ge=0, le=1)]
ClassNames = Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]
StoredImageSize = Annotated[int, Field(ge=1, le=4096)]


class ArtifactSchema(BaseModel):
    """A JSON object; text is not accepted for a number, nor a number for text."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def load_artifact(
    path: Path,
    format: str,
    schema: type[ArtifactSchema] = ArtifactSchema,
    arrays: Mapping[str, str] | None = None,
) -> tuple[dict[str, "NDArray[Any]"], dict[str, Any]]:
    """Read what `tenfold.files.save_arrays` wrote, if it is what it should be.

    Args:
        path: the file.
        format: what it should hold, with the number of the version.
        schema: of its description.
        arrays: dtype and shape of each array, as for `check_arrays`; None leaves that to the
            caller.

    Returns:
        The arrays, and the description as JSON values.

    Raises:
        RecognizerError: the file is missing, damaged, of another format, or of a content that
            tenfold does not write.
    """
    found, text = load_arrays(path, format)
    with refusing(path):
        metadata = validate_artifact(parse_json(text), schema)
        if arrays is not None:
            check_arrays(found, arrays, {"C": len(metadata.get("classes", ()))})
    return found, metadata


@contextmanager
def refusing(path: Path | str) -> Iterator[None]:
    """Turn a ValueError into a RecognizerError that says which file it is about."""
    try:
        yield
    except ValueError as error:
        raise RecognizerError(
            f"{path}: its content is not what tenfold writes ({error}), expected a file that was "
            "saved by this version"
        ) from error


_SPEC = re.compile(r"(\w+) \[([\w, ]*)\]")


def check_arrays(
    arrays: Mapping[str, "NDArray[Any]"], specs: Mapping[str, str], sizes: Mapping[str, int]
) -> None:
    """Make sure that the arrays are those of `specs`, and that their sizes agree.

    Args:
        arrays: by name.
        specs: dtype and shape by name, "float32 [N, C]"; an array whose name ends in "?" may be
            missing.
        sizes: those of the letters that are known; the others follow from the arrays.

    Raises:
        ValueError: one is missing, of another dtype or shape, or should not be there.
    """
    known = dict(sizes)
    for name, spec in specs.items():
        array = arrays.get(name.removesuffix("?"))
        if array is None:
            if not name.endswith("?"):
                raise ValueError(f"lacks the array {name}")
            continue
        match = _SPEC.fullmatch(spec)
        assert match is not None, spec
        letters = match[2].split(", ") if match[2] else []
        fits = array.dtype == match[1] and array.ndim == len(letters)
        for letter, size in zip(letters, array.shape, strict=False):
            wanted = int(letter) if letter.isdigit() else known.setdefault(letter, size)
            fits = fits and wanted == size
        if not fits:
            raise ValueError(
                f"the array {name.removesuffix('?')} is {array.dtype} {list(array.shape)}, "
                f"expected {spec}"
            )
    if unknown := sorted(set(arrays) - {name.removesuffix("?") for name in specs}):
        raise ValueError(f"has an array {quoted(unknown[0])}, which belongs to nothing")


def check_indices(name: str, indices: "NDArray[Any] | None", end: int) -> None:
    """Make sure that each of `indices`, if there are any, is from 0 to `end` - 1.

    Raises:
        ValueError: one is not.
    """
    if indices is not None and indices.size and not 0 <= indices.min() <= indices.max() < end:
        raise ValueError(
            f"{name} run from {indices.min()} to {indices.max()}, expected 0 to {end - 1}"
        )


def read_json(path: Path, schema: type[ArtifactSchema]) -> dict[str, Any]:
    """Read a JSON object of this schema from a file.

    Raises:
        ValueError: it is something else.
        OSError: the file cannot be read.
    """
    return validate_artifact(parse_json(read_text(path)), schema)


def read_text(path: Path) -> str:
    """Read a text file that tenfold wrote.

    Raises:
        ValueError: it is no text, or larger than any that tenfold writes.
        OSError: the file cannot be read.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"has {path.stat().st_size:,} bytes, expected at most {MAX_JSON_BYTES:,}")
    return path.read_text("utf-8")


def parse_json(text: str) -> Any:
    """Parse JSON, however it is crafted.

    Raises:
        ValueError: it is no JSON, is nested too deep, or has a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deep") from error


def validate_artifact(values: Any, schema: type[ArtifactSchema]) -> dict[str, Any]:
    """Return `values` unchanged if they fit the schema.

    Raises:
        ValueError: they do not; the message names the field.
    """
    if not isinstance(values, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - reported like other damage
    try:
        schema.model_validate(values)
    except ValidationError as error:
        raise ValueError(_error_message(error.errors()[0])) from error
    return values


def _error_message(detail: Mapping[str, Any]) -> str:
    """Return one finding of pydantic as the user should read it."""
    field_name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"lacks {field_name}"
    expected = "an object" if detail["type"] == "model_type" else pydantic_message(detail["msg"])
    return f"{field_name} is {quoted(detail['input'])}, expected: {expected}".lstrip(". ")


def quoted(value: Any) -> str:
    """Return `value` as a message shows it: short, and without what a terminal would obey."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or nested too deep
        text = f"a {type(value).__name__}"
    return printable(shorten(text, MAX_QUOTED))


def error_text(error: OSError | ValueError) -> str:
    """Return what went wrong with a file, without its name."""
    return os_error_message(error) if isinstance(error, OSError) else str(error)
