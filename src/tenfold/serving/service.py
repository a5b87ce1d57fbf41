"""The service: what each address of the API does, from a request to its answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from tenfold.classifier import Classifier
from tenfold.pictures import ReadImage
from tenfold.serving.api_errors import ApiError, json_response
from tenfold.serving.bodies import (
    BodyReader,
    content_type,
    feedback_from_json,
    json_limit,
    pictures_from_form,
    pixels_from_bytes,
    pixels_from_json,
)
from tenfold.serving.engine import Engine
from tenfold.serving.feedback import FeedbackFile
from tenfold.serving.metrics import CONTENT_TYPE, Metrics
from tenfold.serving.settings import ServerSettings

OCTETS, JSON, FORM = "application/octet-stream", "application/json", "multipart/form-data"
_SMALL_JSON: Final = 20_000  # bytes, parsed at once; more of them would hold up other requests


class Service:
    """Answers the requests of one process.

    Args:
        settings: the limits.
        classifier: what predicts.
        metrics: that count.

    Raises:
        OutputError: the file for corrected digits cannot be written.
    """

    def __init__(self, settings: ServerSettings, classifier: Classifier, metrics: Metrics) -> None:
        self.settings, self.classifier, self.metrics = settings, classifier, metrics
        self.engine = Engine(classifier, settings, metrics)
        self.is_stopping = False
        self._answering = 0  # requests whose bodies are read
        self._bodies = BodyReader(settings.body_timeout_s, settings.max_held_bytes)
        collect, size = settings.collect, classifier.image_size
        self._feedback = None if collect is None else FeedbackFile(collect, size)

    async def predict_pictures(self, request: Request) -> Response:
        """Read the digits in one picture, or in each picture of a form."""
        if not self.engine.reads_pictures:
            raise ApiError("not_found", "This model reads stored pixels only, no pictures.")
        kind = content_type(request)
        if not kind.startswith("image/") and kind not in {OCTETS, FORM}:
            raise ApiError(
                "unsupported_type",
                f"The content type is not taken, expected image/* with one picture, or {FORM} "
                "with several.",
            )
        with_pixels = request.query_params.get("pixels") == "true"
        read = self.engine.read_picture
        async with self._bodies.read(request, self.settings.max_picture_bytes) as body:
            if kind != FORM:
                async with self._deadline():
                    answers = [_picture_json(await read(body), with_pixels)]
            else:
                pictures = await pictures_from_form(request, body, self.settings.max_pictures)
                async with self._deadline():
                    found = await asyncio.gather(*map(read, pictures), return_exceptions=True)
                answers = [_form_answer(each, with_pixels) for each in found]
        return self._answer("pictures", answers, sum(len(each["digits"] or ()) for each in answers))

    async def predict_pixels(self, request: Request) -> Response:
        """Classify stored images."""
        kind, most = content_type(request), self.settings.max_images
        if kind not in {OCTETS, JSON}:
            raise ApiError(
                "unsupported_type", f"The content type is not taken, expected {OCTETS} or {JSON}."
            )
        size = self.classifier.image_size
        limit = most * size * size if kind == OCTETS else json_limit(size, most)
        async with self._bodies.read(request, limit) as body, self._deadline():
            if kind == OCTETS:
                pixels = pixels_from_bytes(body, size, most)
            elif len(body) <= _SMALL_JSON:
                pixels = pixels_from_json(body, size, most)
            else:
                pixels = await self.engine.call(pixels_from_json, body, size, most)
            probabilities = await self.engine.batcher.predict_proba(pixels)
        return self._answer("digits", self._digits_json(probabilities), len(pixels))

    async def keep_feedback(self, request: Request) -> Response:
        """Keep a corrected digit."""
        if self._feedback is None:
            raise ApiError("not_found", "This server collects no digits; --collect FILE makes it.")
        if content_type(request) != JSON:
            raise ApiError("unsupported_type", f"The content type is not taken, expected {JSON}.")
        size, classes = self.classifier.image_size, self.classifier.classes
        async with self._bodies.read(request, json_limit(size, 1)) as body:
            found = feedback_from_json(body, size)
            if found.label not in classes:
                raise ApiError("invalid", f"label: is no class, expected {', '.join(classes)}.")
            await self.engine.call(self._feedback.append, found.label, found.pixels)
        return json_response({"kept": True})

    async def describe_model(self) -> Response:
        """Say what predicts, and within which limits."""
        rule = self.classifier.decision_rule
        return json_response(
            {
                "classes": self.classifier.classes,
                "image_size": self.classifier.image_size,
                "max_images": self.settings.max_images,
                "reads_pictures": self.engine.reads_pictures,
                "collects": self._feedback is not None,
                "decision_rule": {
                    "meaning": str(rule),
                    "sure_threshold": rule.sure_threshold,
                    "digit_threshold": rule.digit_threshold,
                    "n": rule.n,
                    "coverage": rule.coverage,
                    "sure_accuracy": rule.sure_accuracy,
                },
                "card": self.classifier.card,
            }
        )

    async def show_metrics(self) -> Response:
        """Show the counts to Prometheus."""
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    async def is_alive(self) -> Response:
        """Say that the process runs."""
        return json_response({"status": "alive"})

    async def is_ready(self) -> Response:
        """Say that it takes requests; it is about to stop when it does no more."""
        if self.is_stopping:
            raise ApiError("stopping")
        return json_response({"status": "ready"})

    @property
    def is_full(self) -> bool:
        """Whether it answers as many requests as it may. Those that still arrive do not count."""
        return self._answering >= self.settings.max_requests

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        """Bound how long an answer takes; what it waits for is given up.

        Raises:
            ApiError: it took longer.
        """
        self._answering += 1
        try:
            async with asyncio.timeout(self.settings.deadline_s):
                yield
        except TimeoutError as error:
            raise ApiError("deadline") from error
        finally:
            self._answering -= 1

    def _answer(self, name: str, answers: list[dict[str, Any]], digits: int) -> Response:
        self.metrics.digits.inc(digits)
        return json_response({name: answers})

    def _digits_json(self, probabilities: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Return the answer to each row of float32 [N, classes] as JSON values."""
        classes = self.classifier.classes
        decisions = self.classifier.decision_rule.decide(probabilities)
        rows = probabilities.astype(np.float64).round(6).tolist()
        best = probabilities.argmax(axis=1).tolist()
        return [
            {
                "digit": classes[index],
                "confidence": row[index],
                "decision": decision,
                "probabilities": dict(zip(classes, row, strict=True)),
            }
            for index, row, decision in zip(best, rows, decisions, strict=True)
        ]


def _picture_json(image: ReadImage, with_pixels: bool) -> dict[str, Any]:
    """Return what was read in a picture as JSON values, without its name."""
    found = image.to_json()
    del found["file"]
    if with_pixels:
        for digit, pixels in zip(found["digits"], image.segmentation.images, strict=True):
            digit["pixels"] = pixels.tolist()
    return found


def _form_answer(found: ReadImage | BaseException, with_pixels: bool) -> dict[str, Any]:
    """Return the answer to one picture of a form; an unreadable one spoils no other."""
    if isinstance(found, ReadImage):
        return _picture_json(found, with_pixels)
    if isinstance(found, ApiError) and found.code == "unreadable_picture":
        return {"digits": None, "error": found.to_json()}
    raise found
