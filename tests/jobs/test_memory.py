"""When memory runs short the youngest job pauses, and no process is killed."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from tenfold import machine
from tenfold.jobs import Job, JobCallback, local, run_jobs, usable_cores
from tests.jobs.test_local import job, tasks  # noqa: F401 - a fixture

PLENTY = 10 * local.reserve_bytes()

SAVING_TASK = """
import time

def work(description, folder, emit):
    try:
        emit({"started": True})
        while not (folder.parent / "release").exists():
            time.sleep(0.01)
    except KeyboardInterrupt:
        first = not list(folder.parent.glob("*/asked"))
        (folder / "asked").touch()
        time.sleep(description["saving_s"])
        (folder / "saved").touch()
        if first and description["first_finishes"]:
            return "finished all the same"
        raise
    return description["n"]
"""


@pytest.fixture
def memory(monkeypatch):
    """How much memory is free, and how much each process holds, as a test says."""

    class Memory:
        free, of_each = PLENTY, 0

    monkeypatch.setattr(local, "free_bytes", lambda: Memory.free)
    monkeypatch.setattr(local, "process_bytes", lambda _pid: Memory.of_each)
    monkeypatch.setattr(local, "MEMORY_POLL_INTERVAL_S", 0.05)
    monkeypatch.setattr(local, "MEMORY_SETTLE_S", 0.0)
    # As many processes as a test wants, on one core: none of them computes.
    one_core = usable_cores()[:1]
    monkeypatch.setattr(local, "usable_cores", lambda: one_core * 4)
    return Memory


@pytest.fixture
def saving_jobs(tmp_path_factory, monkeypatch):
    """Jobs that run until the file "release" is there; asked to stop, they save for a while."""
    folder = tmp_path_factory.mktemp("saving")
    (folder / "saving_task.py").write_text(SAVING_TASK)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}")

    def saving_jobs(count, saving_s=0.0, first_finishes=False):
        shared = {"saving_s": saving_s, "first_finishes": first_finishes}
        return [Job("saving_task:work", {"n": n, **shared}, f"job {n}") for n in range(count)]

    return saving_jobs


class OnStart(JobCallback):
    """Calls `functions[n]` as soon as the n-th process has started, counted from 1."""

    def __init__(self, functions):
        self.functions, self.count = functions, 0

    def on_job_progress(self, job, progress):
        self.count += 1
        self.functions.get(self.count, lambda: None)()


def messages_of(caplog, text):
    """The names of the jobs that are logged with `text`, and the times of the messages."""
    found = [record for record in caplog.records if text in record.getMessage()]
    names = [record.getMessage().partition(":")[0] for record in found]
    return names, [record.created for record in found]


@pytest.mark.parametrize("is_freed", [True, False])
def test_the_youngest_pauses_until_there_is_room_or_nobody_else(tmp_path, memory, caplog, is_freed):
    caplog.set_level(logging.INFO, logger="tenfold")
    memory.of_each = PLENTY // 2
    started, paused = [], []

    class Shortage(JobCallback):
        def on_job_progress(self, job, progress):
            started.append(job.name)
            if len(started) == 2:
                memory.free = 0

        def on_job_end(self, job, result):
            paused.append(messages_of(caplog, "paused until others have freed memory")[0])
            memory.free = PLENTY if is_freed else 0

    jobs = [Job("toy_tasks:sleep", {"n": n, "s": 1.0}, f"job {n}") for n in range(2)]
    assert run_jobs(jobs, tmp_path, callback=Shortage(), workers=2) == [0, 1]
    assert len(started) == 3
    assert paused[0] == [started[2]]
    assert messages_of(caplog, "resumes")[0] == [started[2]]
    assert messages_of(caplog, "was killed")[0] == []


def test_a_process_that_still_saves_counts_as_gone(tmp_path, memory, saving_jobs, monkeypatch):
    """Or every process would be asked to stop while the first one saves."""
    memory.of_each = 2 * local.reserve_bytes()

    def free_bytes():
        return PLENTY if list(tmp_path.glob("*/saved")) else memory.free

    monkeypatch.setattr(local, "free_bytes", free_bytes)
    callback = OnStart({3: lambda: setattr(memory, "free", 0), 4: (tmp_path / "release").touch})
    jobs = saving_jobs(3, saving_s=1.0)
    assert run_jobs(jobs, tmp_path, callback=callback) == [0, 1, 2]
    assert len(list(tmp_path.glob("*/asked"))) == 1


def test_paused_jobs_resume_one_at_a_time_in_their_order(
    tmp_path, memory, saving_jobs, monkeypatch, caplog
):
    """Each needs a while to take its memory: the next one looks only then."""
    caplog.set_level(logging.INFO, logger="tenfold")
    monkeypatch.setattr(local, "MEMORY_SETTLE_S", 1.0)

    def free_bytes():
        return PLENTY if len(list(tmp_path.glob("*/saved"))) == 3 else memory.free

    monkeypatch.setattr(local, "free_bytes", free_bytes)
    callback = OnStart({4: lambda: setattr(memory, "free", 0), 7: (tmp_path / "release").touch})
    assert run_jobs(saving_jobs(4), tmp_path, callback=callback) == [0, 1, 2, 3]
    paused, _ = messages_of(caplog, "paused until others have freed memory")
    resumed, times = messages_of(caplog, "resumes")
    assert len(set(paused)) == 3
    assert resumed == paused
    assert np.diff(times).min() > 0.5


def test_a_job_that_ends_when_asked_to_pause_delays_no_other(
    tmp_path, memory, saving_jobs, monkeypatch
):
    """The first one paused finishes all the same; the second must not wait for it to resume."""

    def free_bytes():
        return PLENTY if len(list(tmp_path.glob("*/saved"))) == 2 else memory.free

    monkeypatch.setattr(local, "free_bytes", free_bytes)
    callback = OnStart({3: lambda: setattr(memory, "free", 0), 4: (tmp_path / "release").touch})
    jobs = saving_jobs(3, saving_s=0.5, first_finishes=True)
    results = run_jobs(jobs, tmp_path, callback=callback)
    assert results.count("finished all the same") == 1
    assert callback.count == 4


def test_a_job_alone_is_never_paused(tmp_path, memory, caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    memory.free = 0
    assert run_jobs([job("sleep", n=5, s=0.5)], tmp_path) == [5]
    assert caplog.messages == []


def test_a_container_allows_less_than_the_machine(tmp_path, monkeypatch):
    whole, reserve = local.free_bytes(), local.reserve_bytes()
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 100000\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert local.free_bytes() == 400_000
    assert local.reserve_bytes() == 50_000
    (tmp_path / "memory.max").write_text("max\n")
    assert local.free_bytes() > whole / 2
    assert local.reserve_bytes() >= reserve


def test_a_process_that_has_ended_holds_no_memory():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert local.process_bytes(process.pid) == 0


def test_the_memory_of_a_process_includes_its_arrays():
    """In a process of its own: this one may have as much left from what came before."""
    code = (
        "import os, numpy as np\n"
        "from tenfold.jobs.local import process_bytes\n"
        "before = process_bytes(os.getpid())\n"
        "held = np.ones(2**26, np.uint8)\n"
        "print(process_bytes(os.getpid()) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0.9 * 2**26
