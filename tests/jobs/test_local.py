"""Jobs of a few lines each, in real processes that die, fail and are stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tenfold.errors import Interrupted, JobError
from tenfold.jobs import Job, JobFailure, run_jobs, usable_cores

TASKS = """
import os, signal, sys, time
from tenfold.errors import DataError

def double(about, folder, tell):
    with (folder / "runs.txt").open("a") as file:
        file.write("x")
    print("a library that talks")
    tell({"half": about["n"]})
    return 2 * about["n"]

def die(about, folder, tell):
    with (folder / "runs.txt").open("a") as file:
        file.write("x")
    if len((folder / "runs.txt").read_text()) <= about["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"

def refuse(about, folder, tell):
    raise DataError("digits.csv: is no good, expected better")

def stumble(about, folder, tell):
    return 1 / 0

def nothing(about, folder, tell):
    return None

def rank(about, folder, tell):
    from tenfold.jobs.job import rank_and_world_size
    return rank_and_world_size()

def where(about, folder, tell):
    time.sleep(0.3)
    return sorted(os.sched_getaffinity(0))

def sleep(about, folder, tell):
    tell({"begun": True})
    time.sleep(about["s"])
    return about["n"]

def wait(about, folder, tell):
    (folder / "begun").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        (folder / "saved").touch()
        raise
"""


@pytest.fixture(autouse=True)
def tasks(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "toy_tasks.py").write_text(TASKS)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def job(task: str, **about: object) -> Job:
    return Job(f"toy_tasks:{task}", about, name=task)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.02)


def test_a_file_of_the_users_own_is_not_taken_for_a_module_of_python(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit('not the one you want')")
    monkeypatch.chdir(tmp_path)
    assert run_jobs([job("double", n=1)], tmp_path / "jobs") == [2]


def test_results_come_in_order_and_equal_jobs_are_done_once(tmp_path):
    jobs = [job("double", n=n) for n in (3, 1, 3)]
    heard = []
    assert run_jobs(jobs, tmp_path, hear=lambda who, what: heard.append((who, what))) == [6, 2, 6]
    assert (tmp_path / jobs[0].id / "runs.txt").read_text() == "x"
    for each, n in ((jobs[0], 3), (jobs[1], 1)):
        assert [what for who, what in heard if who == each] == [{"half": n}, {"done": 2 * n}]


def test_what_is_done_is_not_repeated_but_told(tmp_path):
    jobs = [job("double", n=n) for n in (1, 2)]
    run_jobs(jobs[:1], tmp_path)
    heard = []
    assert run_jobs(jobs, tmp_path, hear=lambda _, what: heard.append(what)) == [2, 4]
    assert (tmp_path / jobs[0].id / "runs.txt").read_text() == "x"
    assert heard[0] == {"done": 2}


def test_nothing_is_a_result_too(tmp_path):
    one = job("nothing")
    assert not one.is_done(tmp_path)
    assert run_jobs([one], tmp_path) == [None]
    assert one.is_done(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"id": "of another", "result": 1}'])
def test_a_manifest_that_is_damaged_or_foreign_counts_as_none(tmp_path, content):
    one = job("double", n=1)
    (tmp_path / one.id).mkdir()
    (tmp_path / one.id / "manifest.json").write_text(content)
    assert run_jobs([one], tmp_path) == [2]


def test_a_launcher_of_ours_does_not_reach_into_a_job(tmp_path, monkeypatch):
    """Two trials of a search, each taken for a half of one training, would change each other."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert run_jobs([job("rank")], tmp_path) == [[0, 1]]


def test_the_id_comes_from_the_content_alone():
    assert job("double", a=1, b=2).id == job("double", b=2, a=1).id
    assert Job("m:f", {"n": 1}, "one") == Job("m:f", {"n": 1}, "other")
    assert len({job("double", n=n).id for n in range(50)} | {job("die", n=1).id}) == 51


def test_a_killed_process_is_started_again(tmp_path):
    heard = []
    assert run_jobs([job("die", times=2)], tmp_path, hear=lambda _, m: heard.append(m)) == ["alive"]
    assert sum("was killed" in message.get("note", "") for message in heard) == 2


def test_a_process_that_is_always_killed_ends_in_a_sentence(tmp_path):
    fine = job("double", n=1)
    run_jobs([fine], tmp_path)
    with pytest.raises(JobError, match=r"die: its process was killed 3 times, .* memory"):
        run_jobs([fine, job("die", times=99)], tmp_path)
    assert fine.result(tmp_path) == 2


def test_a_mistake_of_the_caller_is_told_and_not_tried_again(tmp_path):
    with pytest.raises(JobError, match=r"refuse: digits\.csv: is no good, expected better"):
        run_jobs([job("refuse")], tmp_path)


def test_a_bug_in_a_job_names_itself(tmp_path):
    with pytest.raises(JobError, match=r"stumble: ended with code 1 \(ZeroDivisionError"):
        run_jobs([job("stumble")], tmp_path)


def test_failures_can_be_kept_while_the_others_go_on(tmp_path):
    heard = []
    jobs = [job("refuse"), job("double", n=2), job("stumble")]
    refused, doubled, stumbled = run_jobs(
        jobs, tmp_path, keep_going=True, hear=lambda who, what: heard.append((who.name, what))
    )
    assert refused == JobFailure("digits.csv: is no good, expected better")
    assert doubled == 4
    assert "ZeroDivisionError" in stumbled.reason
    last_words = [what for who, what in heard if who == "refuse"]
    assert last_words == [{"failed": refused.reason, "kind": "error"}]


def test_what_the_listener_raises_stops_the_others(tmp_path):
    def hear(_job, message):
        if "begun" in message:
            raise KeyError("enough")

    started = time.monotonic()
    with pytest.raises(KeyError, match="enough"):
        run_jobs([job("sleep", n=1, s=60.0)], tmp_path, hear=hear)
    assert time.monotonic() - started < 30


def test_when_the_time_is_up_no_more_begin(tmp_path):
    jobs = [job("double", n=n) for n in range(4)]
    allowed = iter([True, True, False, False])
    results = run_jobs(jobs, tmp_path, keep_going=True, workers=1, may_start=lambda: next(allowed))
    assert results == [0, 2, *[JobFailure("not begun, the time was up", "not begun")] * 2]
    assert run_jobs(jobs, tmp_path) == [0, 2, 4, 6]


@pytest.mark.skipif(len(usable_cores()) < 2, reason="one core cannot be divided")
def test_each_process_has_cores_of_its_own(tmp_path):
    jobs = [job("where", n=n) for n in range(2)]
    first, second = run_jobs(jobs, tmp_path)
    assert first
    assert second
    assert not set(first) & set(second)
    assert run_jobs([job("where", n=2)], tmp_path) == [usable_cores()]
    (one,) = run_jobs([job("where", n=3)], tmp_path, cores_each=1)
    assert len(one) == 1


DRIVER = """
import sys
from pathlib import Path
from tenfold.jobs import Job, run_jobs
from tenfold.errors import Interrupted
try:
    jobs = [Job("toy_tasks:wait", {}, "wait"), Job("toy_tasks:double", {"n": 4})]
    run_jobs(jobs, Path(sys.argv[1]))
except Interrupted as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(len(usable_cores()) < 2, reason="one core does one after the other")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_is_stopped_or_killed_stops_its_processes(tmp_path, how):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)])
    slow, quick = tmp_path / job("wait").id, tmp_path / job("double", n=4).id
    wait_for(slow / "begun")
    wait_for(quick / "manifest.json")
    driver.send_signal(how)
    assert driver.wait(30) == (-how if how == signal.SIGKILL else Interrupted.exit_code)
    wait_for(slow / "saved")
    assert not (slow / "manifest.json").exists()
    assert json.loads((quick / "manifest.json").read_text())["result"] == 8


SECOND = """
import sys
from pathlib import Path
from filelock import FileLock, Timeout
from tenfold.jobs import process

class Telling(FileLock):
    def acquire(self, *arguments, **named):
        try:
            return super().acquire(blocking=False)
        except Timeout:
            Path(self.lock_file).with_name("waits").touch()
            return super().acquire(*arguments, **named)

process.FileLock = Telling
sys.exit(process.work(Path(sys.argv[1])))
"""


def test_two_drivers_never_do_the_same_job_at_once(tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)])
    folder = tmp_path / job("wait").id
    wait_for(folder / "begun")
    (folder / "begun").unlink()
    other = subprocess.Popen([sys.executable, "-c", SECOND, str(folder)], stdin=subprocess.PIPE)
    wait_for(folder / "waits")
    assert not (folder / "begun").exists()  # the second waits for the first
    driver.kill()
    driver.wait(30)
    wait_for(folder / "begun")
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()


def test_what_an_orphan_finished_is_not_begun_again(tmp_path):
    (result,) = run_jobs([job("double", n=4)], tmp_path)
    folder = tmp_path / job("double", n=4).id
    runs = (folder / "runs.txt").read_text()
    late = subprocess.Popen(
        [sys.executable, "-m", "tenfold.jobs", str(folder)], stdin=subprocess.PIPE
    )
    assert late.wait(30) == 0
    late.communicate()
    assert (result, (folder / "runs.txt").read_text()) == (8, runs)
