"""Which device, and with which switches."""

import pytest
import torch

from tenfold.errors import TenfoldError
from tenfold.machine import Machine


def test_reproducible_leaves_the_gpus_library_on():
    before = torch.backends.cudnn.enabled
    with Machine(torch.device("cpu"), "fp32").reproducible():
        assert torch.backends.cudnn.enabled
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.enabled == before


def test_reproducible_draws_alike_and_gives_the_callers_state_back():
    machine = Machine(torch.device("cpu"), "fp32")
    state = torch.random.get_rng_state()
    with machine.reproducible():
        torch.manual_seed(5)
        torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_more_processes_than_gpus_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(TenfoldError, match="process 2 here, and GPUs are 1: expected"):
        Machine.detect("fp32")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert Machine.detect("fp32").device == torch.device("cuda", 0)
