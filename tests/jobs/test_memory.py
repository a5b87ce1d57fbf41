"""Too little memory: the youngest job waits, and nobody is killed."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tenfold.files import StopRequest
from tenfold.jobs import local, run_jobs, usable_cores
from tenfold.jobs.job import JobBatch
from tenfold.jobs.local import LocalExecutor
from tests.jobs.test_local import job, tasks  # noqa: F401 - a fixture


@pytest.mark.skipif(len(usable_cores()) < 2, reason="one core does one after the other")
def test_the_youngest_waits_until_there_is_room(tmp_path, monkeypatch):
    jobs = [job("sleep", n=n, s=2.0) for n in range(2)]
    free = {"bytes": 10 * local.reserve_bytes()}
    monkeypatch.setattr(local, "free_bytes", lambda: free["bytes"])
    heard, order = [], []

    def hear(who, what):
        heard.append(what.get("note", ""))
        if "begun" in what:
            order.append(who)
            if len(order) == 2:
                free["bytes"] = 0
        if "done" in what:
            free["bytes"] = 10 * local.reserve_bytes()

    assert run_jobs(jobs, tmp_path, hear=hear, workers=2) == [0, 1]
    assert "waits until others have made room in memory" in heard
    assert len(order) == 3  # one of them began again
    assert not any("was killed" in note for note in heard)


class Clock:
    """Time that passes when a test says so, and how often it was looked at."""

    now, looks = 1000.0, 0

    def monotonic(self):
        self.looks += 1
        return self.now


def until(condition):
    while not condition():
        time.sleep(0.01)


class Fake:
    """A process that saves for as long as the test lasts."""

    pid, asked = 0, False

    def ask_to_stop(self):
        self.asked = True


@pytest.fixture
def cores():
    work = JobBatch(
        [], 0, Path(), (), None, None, False, lambda: True, lambda *_: None, StopRequest()
    )
    return LocalExecutor(work)


def test_who_still_saves_is_counted_as_gone(cores, monkeypatch):
    """Or everybody would be asked to stop while the first one saves."""
    monkeypatch.setattr(local, "free_bytes", lambda: 0)
    monkeypatch.setattr(local, "used_by", lambda _pid: 2 * local.reserve_bytes())
    processes = [Fake() for _ in range(3)]
    cores._working = {job("sleep", n=n): fake for n, fake in enumerate(processes)}
    for _ in range(3):
        cores._memory_looked_at = 0.0
        cores._watch_memory()
    assert [fake.asked for fake in processes] == [False, False, True]


def test_they_go_on_one_at_a_time(cores, monkeypatch):
    monkeypatch.setattr(local, "SECONDS_BETWEEN_LOOKS_AT_MEMORY", 0.02)
    monkeypatch.setattr(local, "free_bytes", lambda: 10 * local.reserve_bytes())
    format_duration = Clock()
    monkeypatch.setattr(local, "time", format_duration)
    waiting, went = [job("sleep", n=n) for n in range(3)], []
    cores._working = {job("sleep", n=9): Fake()}
    cores._held = dict.fromkeys(waiting, 1)

    def wait(one):
        cores._wait_for_room(one)
        went.append(one)

    threads = [threading.Thread(target=wait, args=(one,)) for one in reversed(waiting)]
    for thread in threads:
        thread.start()
    for count in range(1, len(waiting) + 1):
        until(lambda: len(went) >= count)  # noqa: B023 - asked before the next
        if count < len(waiting):
            looked = format_duration.looks
            until(lambda: format_duration.looks >= looked + 6)  # noqa: B023 - likewise
        assert went == waiting[:count]
        format_duration.now += local.SECONDS_TO_GROW
    for thread in threads:
        thread.join()


def test_one_alone_is_never_held(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "free_bytes", lambda: 0)
    assert run_jobs([job("sleep", n=5, s=1.5)], tmp_path) == [5]


def test_a_container_says_less_than_the_machine(tmp_path, monkeypatch):
    whole, reserve = local.free_bytes(), local.reserve_bytes()
    (tmp_path / "local.max").write_text("1000000\n")
    (tmp_path / "local.current").write_text("700000\n")
    (tmp_path / "local.stat").write_text("anon 500000\ninactive_file 100000\n")
    monkeypatch.setattr(local, "CGROUP", tmp_path)
    assert local.free_bytes() == 400_000
    assert local.reserve_bytes() == 50_000
    (tmp_path / "local.max").write_text("max\n")
    assert local.free_bytes() > whole / 2
    assert local.reserve_bytes() >= reserve


def test_the_memory_of_a_process_that_is_gone():
    import subprocess
    import sys

    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert local.used_by(process.pid) == 0


def test_the_memory_of_a_process_at_work():
    used = local.used_by(os.getpid())
    held = np.ones(64 * 2**20, np.uint8)
    assert local.used_by(os.getpid()) - used > 0.9 * held.nbytes


def test_who_ends_while_asked_to_wait_holds_nobody_up(tmp_path, monkeypatch):
    """The first to be held is done all the same; the second must not wait for it."""
    cores = LocalExecutor(
        JobBatch(
            [], 0, tmp_path, (), None, None, False, lambda: True, lambda *_: None, StopRequest()
        )
    )
    one = job("sleep", n=1)
    cores._held = {one: 10**18}
    monkeypatch.setattr(cores, "_attempts", lambda *_: None)
    cores._run_to_completion(one)
    assert not cores._held
