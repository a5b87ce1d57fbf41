"""Batches across clients: what arrives while one batch is computed makes up the next.

So a lone request never waits for company, and many share the cost of a call.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tenfold.onnx_recognizer import PREDICT_BATCH
from tenfold.serving.api_errors import ApiError

_NEWEST: Final = 0.2  # the share of the newest batch in the average time of an image
Compute = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(eq=False)
class _Share:
    """Images of one request that are computed in one batch, and where their answer goes."""

    images: NDArray[np.uint8]
    answer: asyncio.Future[NDArray[np.float32]]


class Batcher:
    """Gathers the images of many requests into batches. It is used from one event loop.

    Args:
        compute: from uint8 [N, S, S] to float32 [N, classes]; several threads call it at once.
        executor: the threads that do.
        threads: how many batches are computed at once.
        max_images: that may wait; past them, requests are refused.
        max_wait_s: for how long they may have to wait, by how long the last ones took.
        max_batch: the images of one batch.
        on_batch: is called with the images of each batch.
    """

    def __init__(
        self,
        compute: Compute,
        executor: Executor,
        *,
        threads: int,
        max_images: int,
        max_wait_s: float = math.inf,
        max_batch: int = PREDICT_BATCH,
        on_batch: Callable[[int], None] = lambda _n: None,
    ) -> None:
        self._compute, self._executor, self._threads = compute, executor, threads
        self._max_images, self._max_wait_s = max_images, max_wait_s
        self._max_batch, self._on_batch = max_batch, on_batch
        self._waiting: deque[_Share] = deque()
        self._running = 0
        self._is_scheduled = False
        self._image_s = 0.0  # one image takes, on average over the last batches
        self.queued = 0  # images that wait

    async def predict_proba(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability of each class for each image: float32 [N, classes].

        Args:
            images: uint8 [N, S, S], N at least 1.

        Raises:
            ApiError: too many images wait already, or for too long.
        """
        queued = self.queued + len(images)
        wait_s = queued * self._image_s / self._threads
        if self.queued and (queued > self._max_images or wait_s > self._max_wait_s):
            raise ApiError("overloaded")
        loop = asyncio.get_running_loop()
        shares = [
            _Share(images[start : start + self._max_batch], loop.create_future())
            for start in range(0, len(images), self._max_batch)
        ]
        self._waiting.extend(shares)
        self.queued += len(images)
        if not self._is_scheduled:  # the requests that arrived together make one batch
            self._is_scheduled = True
            loop.call_soon(self._start)
        if len(shares) == 1:
            return await shares[0].answer
        return np.concatenate(await asyncio.gather(*(share.answer for share in shares)))

    def _start(self) -> None:
        """Start as many batches as there are idle threads."""
        self._is_scheduled = False
        while self._running < self._threads and (batch := self._next_batch()):
            images = [share.images for share in batch]
            joined = images[0] if len(images) == 1 else np.concatenate(images)
            self._on_batch(len(joined))
            self._running += 1
            loop = asyncio.get_running_loop()
            started_s = loop.time()
            done = loop.run_in_executor(self._executor, self._compute, joined)
            done.add_done_callback(partial(self._finish, batch, started_s))

    def _next_batch(self) -> list[_Share]:
        """Take the shares that have waited longest, as many as fit; nobody waits for some."""
        batch: list[_Share] = []
        room = self._max_batch
        while self._waiting and len(self._waiting[0].images) <= room:
            share = self._waiting.popleft()
            self.queued -= len(share.images)
            if not share.answer.done():  # the deadline is over, or the client is gone
                room -= len(share.images)
                batch.append(share)
        return batch

    def _finish(
        self, batch: list[_Share], started_s: float, done: asyncio.Future[NDArray[np.float32]]
    ) -> None:
        """Give each share its part of the answer, and start what waits."""
        self._running -= 1
        n = sum(len(share.images) for share in batch)
        image_s = (asyncio.get_running_loop().time() - started_s) / n
        self._image_s += (image_s - self._image_s) * _NEWEST
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        start = 0
        for share in batch:
            end = start + len(share.images)
            if share.answer.done():
                pass
            elif error is None:
                share.answer.set_result(done.result()[start:end])
            elif isinstance(error, asyncio.CancelledError):
                share.answer.cancel()
            else:
                share.answer.set_exception(error)
            start = end
        self._start()
