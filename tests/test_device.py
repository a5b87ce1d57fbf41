"""Which device, and with which switches."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tenfold.device import Device
from tenfold.errors import TenfoldError


def test_reproducible_leaves_the_gpus_library_on():
    before = torch.backends.cudnn.enabled
    with Device(torch.device("cpu"), "fp32").reproducible():
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


def test_more_processes_than_gpus_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Device.detect("fp32").device == torch.device("cuda", 0)  # somebody else's
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TenfoldError, match="process 2 here, and GPUs are 1: expected"):
        Device.detect("fp32")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert Device.detect("fp32").device == torch.device("cuda", 0)


@pytest.mark.parametrize("pieces", [1, 9])
def test_pieces_side_by_side_come_in_order_on_a_thread_each(pieces):
    device, before = Device.detect(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = list(device.parallel_map(lambda at: (at, torch.get_num_threads()), range(pieces)))
        assert found == [(at, 1 if pieces > 1 else 3) for at in range(pieces)]
        with ThreadPoolExecutor(1) as fresh:  # PyTorch's count for threads to come is as before
            assert fresh.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_a_piece_that_fails_ends_it():
    def work(at):
        if at == 2:
            raise ValueError("no such piece")
        return at

    with pytest.raises(ValueError, match="no such piece"):
        list(Device.detect().parallel_map(work, range(50)))
