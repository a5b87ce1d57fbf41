"""Bodies of requests: read within their bounds, and turned into images."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from tenfold.serving.api_errors import ApiError
from tenfold.serving.schemas import FeedbackRequest, PixelsRequest

_FREE_BYTES: Final = 65_536  # of each body, which the number of connections bounds
_JSON_BYTES: Final = 6  # of one pixel at most: "255", a comma, and indentation of two


class BodyReader:
    """Reads bodies, and bounds how much of them is held at once.

    Args:
        timeout_s: for one body.
        max_held_bytes: of all bodies.
    """

    def __init__(self, timeout_s: float, max_held_bytes: int) -> None:
        self._timeout_s, self._max_held_bytes = timeout_s, max_held_bytes
        self._held_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request, max_bytes: int) -> AsyncIterator[bytes]:
        """Yield the body, which is held until the block ends.

        Raises:
            ApiError: it is too large, too slow, or too many others are held.
        """
        too_large = ApiError(
            "too_large", f"The body is larger than the {max_bytes:,} bytes that this address takes."
        )
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > max_bytes:
            raise too_large
        body, held = bytearray(), 0
        try:
            async with asyncio.timeout(self._timeout_s):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > max_bytes:
                        raise too_large
                    body += chunk
                    more = max(0, len(body) - _FREE_BYTES) - held
                    if self._held_bytes + more > self._max_held_bytes:
                        raise ApiError("overloaded")
                    held += more
                    self._held_bytes += more
            yield bytes(body)
        except TimeoutError as error:
            raise ApiError("too_slow") from error
        finally:
            self._held_bytes -= held


def content_type(request: Request) -> str:
    """Return the content type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def pixels_from_bytes(body: bytes, size: int, max_images: int) -> NDArray[np.uint8]:
    """Return the images in uint8 [N, S, S], row by row: the bytes as they are.

    Raises:
        ApiError: they are not whole images, or none or too many.
    """
    n, rest = divmod(len(body), size * size)
    if rest or not 1 <= n <= max_images:
        raise ApiError(
            "invalid",
            f"The body has {len(body):,} bytes, expected {size * size} for each of 1 to "
            f"{max_images:,} images.",
        )
    return np.frombuffer(body, np.uint8).reshape(n, size, size)


def pixels_from_json(body: bytes, size: int, max_images: int) -> NDArray[np.uint8]:
    """Return the images in {"images": [[[0, 255, ...], ...], ...]}: uint8 [N, S, S].

    Raises:
        ApiError: it is no such JSON.
    """
    expected = f"expected {{'images': [N][{size}][{size}] whole numbers from 0 to 255}}"
    try:
        rows = PixelsRequest.model_validate_json(body).images
        pixels = np.array(rows, np.uint8)
    except ValidationError as error:
        raise _invalid(error, expected) from error
    except ValueError as error:  # rows of several lengths
        raise ApiError("invalid", f"images: the rows differ in length, {expected}.") from error
    if pixels.shape[1:] != (size, size) or not 1 <= len(pixels) <= max_images:
        shape = " × ".join(map(str, pixels.shape))
        raise ApiError("invalid", f"images: is {shape}, {expected}, N from 1 to {max_images:,}.")
    return pixels


def feedback_from_json(body: bytes, size: int) -> FeedbackRequest:
    """Return a corrected digit.

    Raises:
        ApiError: it is no such JSON.
    """
    expected = f"expected {{'pixels': [{size}][{size}] whole numbers from 0 to 255, 'label': text}}"
    try:
        found = FeedbackRequest.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error, expected) from error
    if len(found.pixels) != size or any(len(row) != size for row in found.pixels):
        raise ApiError("invalid", f"pixels: is of another size, {expected}.")
    return found


def _invalid(error: ValidationError, expected: str) -> ApiError:
    """Say where the first problem is, and nothing of what was sent."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return ApiError("malformed", f"The body is no JSON, {expected}.")
    fields = PixelsRequest.model_fields.keys() | FeedbackRequest.model_fields.keys()
    known = [str(part) for part in first["loc"] if isinstance(part, int) or part in fields]
    return ApiError("invalid", f"{'.'.join(known) or 'The body'}: is not as {expected}.")


async def pictures_from_form(request: Request, body: bytes, max_pictures: int) -> list[bytes]:
    """Return the files in a form, without their names.

    Raises:
        ApiError: it is no such form, or has no or too many files.
    """
    parser = MultiPartParser(request.headers, _once(body), max_files=max_pictures, max_fields=0)
    parser.spool_max_size = len(body) + 1  # nothing is written to disk
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError, UnicodeError) as error:
        raise ApiError(
            "malformed", f"The form is damaged, or has more than {max_pictures} files or fields."
        ) from error
    files = [value for _, value in form.multi_items() if not isinstance(value, str)]
    if not files:
        raise ApiError("invalid", f"The form has no file, expected 1 to {max_pictures} pictures.")
    contents = [await file.read() for file in files]
    await form.close()
    return contents


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def json_limit(size: int, max_images: int) -> int:
    """Return how long JSON of so many images may be in bytes."""
    return max_images * size * size * _JSON_BYTES + 1024
