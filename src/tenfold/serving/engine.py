"""The engine: one prepared classifier, and the threads that compute for all requests."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from tenfold.classifier import PICTURE_SIZE, Classifier
from tenfold.errors import ImageError
from tenfold.images import decode
from tenfold.machine import usable_cores
from tenfold.pictures import ReadImage, read_picture
from tenfold.serving.api_errors import ApiError
from tenfold.serving.batching import Batcher
from tenfold.serving.metrics import Metrics
from tenfold.serving.settings import ServerSettings

Result = TypeVar("Result")


class Engine:
    """Computes answers off the event loop.

    Attributes:
        classifier: what predicts.
        batcher: what takes stored images.
    """

    def __init__(self, classifier: Classifier, settings: ServerSettings, metrics: Metrics) -> None:
        self.classifier, self._settings = classifier, settings
        self._predictor = classifier.predictor()
        cores = len(usable_cores())
        # Two pools: single digits do not wait behind photos.
        self._batch_threads = ThreadPoolExecutor(cores, "batches")
        self._picture_threads = ThreadPoolExecutor(cores, "pictures")
        self.batcher = Batcher(
            self._predictor.predict_proba,
            self._batch_threads,
            threads=cores,
            max_images=settings.max_queue_images,
            max_wait_s=settings.max_wait_s,
            on_batch=metrics.batch.observe,
        )
        self._lock = threading.Lock()
        self._pictures = 0
        metrics.watch_queues(lambda: self.batcher.queued, lambda: self._pictures)
        size = classifier.image_size
        self._predictor.predict_proba(np.zeros((1, size, size), np.uint8))  # the first is slow

    def close(self) -> None:
        """Start no more work; what is running goes on to its end."""
        for threads in (self._batch_threads, self._picture_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    @property
    def reads_pictures(self) -> bool:
        """Whether the classifier was trained on what a picture's digits are turned into."""
        return self.classifier.image_size == PICTURE_SIZE

    async def read_picture(self, content: bytes) -> ReadImage:
        """Find and read the digits in a picture's file.

        Raises:
            ApiError: it is no picture, or there is too much work already.
        """
        return await self.call(self._read_picture, content)

    def _read_picture(self, content: bytes) -> ReadImage:
        limit = self._settings.max_picture_pixels
        try:
            picture = decode(content, "picture", max_pixels=limit)
        except ImageError as error:
            raise ApiError(
                "unreadable_picture",
                "The picture cannot be read: expected a whole PNG, JPEG, WebP, TIFF, BMP, GIF or "
                f"HEIC file of at most {limit:,} pixels.",
            ) from error
        return read_picture(picture, self.classifier, self._predictor)

    async def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function that takes long in a thread.

        Raises:
            ApiError: too many such calls wait or run already.
        """
        with self._lock:
            if self._pictures >= self._settings.max_queue_pictures:
                raise ApiError("overloaded")
            self._pictures += 1
        future = self._picture_threads.submit(function, *arguments)
        # It counts as long as a thread works on it, also after its client gave up.
        future.add_done_callback(self._count_down)
        return await asyncio.wrap_future(future)

    def _count_down(self, _future: Future[Any]) -> None:
        with self._lock:
            self._pictures -= 1
