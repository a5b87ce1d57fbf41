"""Which device, and with which switches."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tenfold.device import Device
from tenfold.errors import TenfoldError


def test_deterministic_leaves_the_gpus_library_on():
    before = torch.backends.cudnn.enabled
    with Device(torch.device("cpu"), "fp32").deterministic():
        assert torch.backends.cudnn.enabled
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.enabled == before


def test_reproducible_draws_alike_and_gives_the_callers_state_back():
    device = Device(torch.device("cpu"), "fp32")
    state = torch.random.get_rng_state()
    with device.deterministic():
        torch.manual_seed(5)
        torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_more_processes_than_gpus_error_message(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Device.detect("fp32").torch_device == torch.device("cuda", 0)  # somebody else's
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TenfoldError, match="process 2 here, of 1 GPUs: expected"):
        Device.detect("fp32")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert Device.detect("fp32").torch_device == torch.device("cuda", 0)


@pytest.mark.parametrize("items", [1, 9])
def test_parallel_map_keeps_the_order_and_gives_each_item_one_thread(items):
    device, before = Device.detect(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = list(
            device.parallel_map(lambda item: (item, torch.get_num_threads()), range(items))
        )
        assert found == [(item, 1 if items > 1 else 3) for item in range(items)]
    finally:
        torch.set_num_threads(before)


def test_parallel_map_leaves_the_thread_count_alone_meanwhile_and_afterwards():
    device, before = Device.detect(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        counts = []
        for _ in device.parallel_map(abs, range(9)):
            with ThreadPoolExecutor(1) as fresh:
                counts.append(fresh.submit(torch.get_num_threads).result())
        assert counts == [3] * 9
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_parallel_map_raises_what_an_item_raises():
    def function(item):
        if item == 2:
            raise ValueError("no such item")
        return item

    with pytest.raises(ValueError, match="no such item"):
        list(Device.detect().parallel_map(function, range(50)))
