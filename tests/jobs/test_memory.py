"""Too little memory: the youngest job waits, and nobody is killed."""

import threading
import time

from tenfold.jobs import memory, run_jobs
from tests.jobs.test_local import job, tasks  # noqa: F401 - a fixture


def test_the_youngest_waits_until_there_is_room(tmp_path, monkeypatch):
    jobs = [job("sleep", n=n, s=2.0) for n in range(2)]
    free = {"bytes": 10 * memory.reserve_bytes()}
    monkeypatch.setattr(memory, "free_bytes", lambda: free["bytes"])
    heard, order = [], []

    def hear(who, what):
        heard.append(what.get("note", ""))
        if "begun" in what:
            order.append(who)
            if len(order) == 2:
                free["bytes"] = 0
        if "done" in what:
            free["bytes"] = 10 * memory.reserve_bytes()

    assert run_jobs(jobs, tmp_path, hear=hear, workers=2) == [0, 1]
    assert "waits until others have made room in memory" in heard
    assert len(order) == 3  # one of them began again
    assert not any("was killed" in note for note in heard)


def test_one_alone_is_never_held(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    started = time.monotonic()
    assert run_jobs([job("sleep", n=5, s=1.5)], tmp_path) == [5]
    assert time.monotonic() - started < 60


def test_a_container_says_less_than_the_machine(tmp_path, monkeypatch):
    whole = memory.free_bytes()
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 100000\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.free_bytes() == 400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes() > whole / 2


def test_the_memory_of_a_process_that_is_gone():
    import subprocess
    import sys

    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert memory.used_by(process.pid) == 0
    assert memory.used_by(threading.get_native_id()) >= 0
