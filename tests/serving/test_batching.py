"""Batches across clients."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tenfold.serving.api_errors import ApiError
from tenfold.serving.batching import Batcher


class Recorder:
    """Computes the mean of each image, and keeps the sizes of the batches."""

    def __init__(self):
        self.sizes = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error = None
        self.pause_s = 0

    def __call__(self, images):
        self.may_go_on.wait(5)
        time.sleep(self.pause_s)
        self.sizes.append(len(images))
        if self.error is not None:
            raise self.error
        return images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)[:, None]


def run(scenario, **options):
    """Run a scenario with a recorder and its batcher."""
    recorder = Recorder()
    with ThreadPoolExecutor(2) as threads:
        limits = {"threads": 1, "max_images": 1000, "max_batch": 64} | options
        batcher = Batcher(recorder, threads, **limits)
        asyncio.run(scenario(recorder, batcher))
    return recorder, batcher


def test_requests_share_batches_and_get_their_own_answers(digits):
    parts = np.split(digits.images[:500], [1, 2, 5, 69, 70, 300])

    async def scenario(_recorder, batcher):
        found = await asyncio.gather(*map(batcher.predict_proba, parts))
        for answer, images in zip(found, parts, strict=True):
            expected = images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)
            np.testing.assert_array_equal(answer[:, 0], expected)

    recorder, batcher = run(scenario)
    assert sum(recorder.sizes) == 500
    assert max(recorder.sizes) <= 64
    assert recorder.sizes[0] == 5
    assert batcher.queued == 0


def test_a_lone_request_waits_for_nobody(digits):
    async def scenario(recorder, batcher):
        for image in digits.images[:10]:
            await batcher.predict_proba(image[None])
        assert recorder.sizes == [1] * 10

    run(scenario)


def test_past_its_queue_it_refuses_and_who_gave_up_is_not_computed(digits):
    async def scenario(recorder, batcher):
        recorder.may_go_on.clear()
        first = asyncio.ensure_future(batcher.predict_proba(digits.images[:1]))
        await asyncio.sleep(0.01)
        waiting = [
            asyncio.ensure_future(batcher.predict_proba(digits.images[:10])) for _ in range(3)
        ]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="all the work"):
            await batcher.predict_proba(digits.images[:10])
        waiting[0].cancel()
        await asyncio.sleep(0)
        recorder.may_go_on.set()
        assert len(await first) == 1
        assert [len(await each) for each in waiting[1:]] == [10, 10]
        assert recorder.sizes == [1, 20]

    run(scenario, max_images=30)


def test_who_would_wait_too_long_is_refused(digits):
    async def scenario(recorder, batcher):
        recorder.pause_s = 0.1
        await batcher.predict_proba(digits.images[:1])  # so an image takes a tenth of a second
        recorder.may_go_on.clear()
        first = asyncio.ensure_future(batcher.predict_proba(digits.images[:1]))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(batcher.predict_proba(digits.images[:1]))
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="all the work"):
            await batcher.predict_proba(digits.images[:50])
        recorder.may_go_on.set()
        assert len(await first) == len(await second) == 1
        assert len(await batcher.predict_proba(digits.images[:50])) == 50

    run(scenario, max_wait_s=0.5)


def test_an_error_reaches_those_whose_batch_it_was_and_work_goes_on(digits):
    async def scenario(recorder, batcher):
        recorder.error = RuntimeError("broken")
        calls = [batcher.predict_proba(digits.images[:n]) for n in (1, 100)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(each) for each in found] == ["broken"] * 2
        recorder.error = None
        assert len(await batcher.predict_proba(digits.images[:3])) == 3

    run(scenario)
