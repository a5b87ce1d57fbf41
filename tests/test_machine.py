"""Cores and memory as containers of both kinds limit them; running out of memory is a sentence."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tenfold import machine
from tenfold.device import Device

LIMITS_OF_VERSION = {
    "v2": {"cpu.max": "{quota} 100000", "memory.max": "{limit}", "memory.current": "{used}",
           "memory.stat": "anon 5\ninactive_file 100"},
    "v1": {"cpu.cfs_quota_us": "{quota}", "cpu.cfs_period_us": "100000",
           "memory.limit_in_bytes": "{limit}", "memory.usage_in_bytes": "{used}",
           "memory.stat": "inactive_file 7\ntotal_inactive_file 100"},
}  # fmt: skip


@pytest.fixture(params=["v1", "v2", "v1 nested", "v2 nested", "v1 hidden"])
def container(request, tmp_path, monkeypatch):
    """A function that sets the limits of a container: of each version, seen as they can be."""
    version, _, place = request.param.partition(" ")
    path = {"": "/", "nested": "/docker/abc", "hidden": "/docker/abc"}[place]
    (tmp_path / "own").write_text(
        f"0::{path}\n" if version == "v2" else f"4:memory:{path}\n2:cpu,cpuacct:{path}\n"
    )
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "fs")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")

    def limit(quota, limit=10**18, used=0):
        # The kernel shows a container its own group at the root, or nests it as the host does.
        inner = "docker" if place == "nested" else ""
        for name, text in LIMITS_OF_VERSION[version].items():
            controller = "" if version == "v2" else name.partition(".")[0]
            folder = tmp_path / "fs" / controller / inner
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.format(quota=quota, limit=limit, used=used) + "\n")

    return limit


@pytest.fixture
def sixty_four_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("quota", "cores"), [(150_000, 2), (100_000, 1), (1000, 1), (6_400_000, 64), (10**9, 64)]
)
def test_a_quota_bounds_the_cores(container, sixty_four_cores, quota, cores):
    container(quota)
    found = machine.usable_cores()
    assert len(found) == cores
    assert set(found) <= set(range(64))
    assert found == machine.usable_cores()


@pytest.mark.parametrize("quota", ["max", "-1", "0", "nonsense"])
def test_no_quota_leaves_all_cores(container, sixty_four_cores, quota):
    container(quota)
    assert machine.usable_cores() == list(range(64))


def test_containers_of_one_machine_do_not_all_take_its_first_core(
    container, sixty_four_cores, monkeypatch
):
    container(150_000)
    taken = set()
    for name in "abcdefgh":
        monkeypatch.setattr(machine.platform, "node", lambda name=name: name)
        taken |= set(machine.usable_cores())
    assert len(taken) > 4


def test_a_limit_bounds_the_memory(container):
    container(-1, limit=1_000_000, used=700_000)
    assert machine.free_bytes() == 300_100
    assert machine.reserve_bytes() == 50_000
    container(-1, limit=1_000_000, used=2_000_000)
    assert machine.free_bytes() == 0


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096)])
def test_no_limit_leaves_the_memory_of_the_machine(container, monkeypatch, tmp_path, limit):
    container("max", limit=limit)
    limited = machine.free_bytes()
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "nowhere")
    assert limited > machine.free_bytes() / 2 > 0


def test_pytorch_starts_no_more_threads_than_the_quota_allows(container, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        Device.detect()
        assert torch.get_num_threads() == min(4, len(machine.usable_cores()))
        container(100_000)
        Device.detect()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def raised_by(function):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        function()
    return caught.value


@pytest.mark.parametrize(
    ("error", "needed"),
    [
        (lambda: raised_by(lambda: np.empty(2**62, np.uint8)), "4.00 EiB more were needed"),
        (lambda: raised_by(lambda: torch.empty(2**50)), "GiB more were needed"),
        (MemoryError, "more was needed"),
        (lambda: OSError(errno.ENOMEM, "Cannot allocate memory"), "more was needed"),
        (lambda: ImportError("x.so: failed to map segment: Cannot allocate memory"), "more was"),
        (lambda: RuntimeError("can't start new thread"), "more was needed"),
        (lambda: torch.OutOfMemoryError("out of memory. Tried to allocate 20.00 GiB"), "20.00"),
    ],
)  # fmt: skip
def test_out_of_memory_is_a_sentence(error, needed):
    sentence = machine.memory_sentence(error())
    assert sentence.startswith("the memory does not suffice (")
    assert needed in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ImportError("no x"), OSError(errno.EACCES, "no")]
)
def test_another_error_is_not(error):
    assert machine.memory_sentence(error) is None


LIMITED = """
import re, resource, sys
from pathlib import Path
import numpy, tenfold.data.checks, tenfold.data.formats
from tenfold.cli.main import run
# What is loaded stays; an interpreter without memory for its own modules may fail in any way.
used = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, used + 2**27))
run()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold the limit")
def test_a_command_that_runs_out_of_memory_says_so(tmp_path):
    np.save(tmp_path / "large.npy", np.zeros((400_000, 28, 28), np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "check", tmp_path / "large.npy"],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("tenfold: the memory does not suffice (")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "9"}, "9"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_sleep_soon_unless_the_user_chose(monkeypatch, chosen, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    machine.shorten_spinning()
    found = os.environ.get("GOMP_SPINCOUNT")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert found == expected
