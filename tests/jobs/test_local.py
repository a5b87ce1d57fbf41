"""Jobs of a few lines each, in processes that are killed, fail and are stopped, and inline."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tenfold.errors import DataError, Interrupted, JobError
from tenfold.jobs import (
    SKIPPED,
    InlineExecutor,
    Job,
    JobCallback,
    JobFailure,
    max_concurrent_jobs,
    run_jobs,
    usable_cores,
)

TASKS = """
import os, signal, sys, time
from tenfold.errors import DataError, Interrupted

def double(description, folder, emit):
    with (folder / "runs.txt").open("a") as file:
        file.write("x")
    print("a library that talks")
    emit({"half": description["n"]})
    return 2 * description["n"]

def die(description, folder, emit):
    with (folder / "runs.txt").open("a") as file:
        file.write("x")
    if len((folder / "runs.txt").read_text()) <= description["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"

def refuse(description, folder, emit):
    with (folder / "runs.txt").open("a") as file:
        file.write("x")
    raise DataError("digits.csv: is no good, expected better")

def stumble(description, folder, emit):
    return 1 / 0

def return_none(description, folder, emit):
    return None

def emit_a_path(description, folder, emit):
    emit({"folder": folder})

def interrupt(description, folder, emit):
    raise KeyboardInterrupt if description["how"] == "KeyboardInterrupt" else Interrupted("saved")

def rank(description, folder, emit):
    from tenfold.jobs.job import rank_and_world_size
    return rank_and_world_size()

def cores(description, folder, emit):
    time.sleep(0.3)
    return sorted(os.sched_getaffinity(0))

def sleep(description, folder, emit):
    emit({"started": True})
    time.sleep(description["s"])
    return description["n"]

def wait(description, folder, emit):
    (folder / "started").touch()
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
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.syspath_prepend(folder)  # for jobs that run inline


def job(task: str, **description: object) -> Job:
    return Job(f"toy_tasks:{task}", description, name=task)


class Recorder(JobCallback):
    """Keeps what the hooks are told, in order."""

    def __init__(self):
        self.events = []

    def on_job_progress(self, job, progress):
        self.events.append((job, "progress", progress))

    def on_job_end(self, job, result):
        self.events.append((job, "end", result))

    def on_job_failure(self, job, failure):
        self.events.append((job, "failure", failure))

    def of(self, job):
        return [event[1:] for event in self.events if event[0] == job]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.02)


BOTH = pytest.mark.parametrize("executor", ["local", "inline"])


def test_a_file_of_the_user_does_not_shadow_a_module_of_python(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit('not the one you want')")
    monkeypatch.chdir(tmp_path)
    assert run_jobs([job("double", n=1)], tmp_path / "jobs") == [2]


@BOTH
def test_results_come_in_order_and_equal_jobs_run_once(tmp_path, executor):
    jobs = [job("double", n=n) for n in (3, 1, 3)]
    recorder = Recorder()
    assert run_jobs(jobs, tmp_path, executor=executor, callback=recorder) == [6, 2, 6]
    assert (tmp_path / jobs[0].id / "runs.txt").read_text() == "x"
    for each, n in ((jobs[0], 3), (jobs[1], 1)):
        assert recorder.of(each) == [("progress", {"half": n}), ("end", 2 * n)]


@BOTH
def test_a_finished_job_is_reported_and_not_repeated(tmp_path, executor):
    jobs = [job("double", n=n) for n in (1, 2)]
    run_jobs(jobs[:1], tmp_path, executor=executor)
    recorder = Recorder()
    assert run_jobs(jobs, tmp_path, executor=executor, callback=recorder) == [2, 4]
    assert (tmp_path / jobs[0].id / "runs.txt").read_text() == "x"
    assert recorder.events[0] == (jobs[0], "end", 2)


def test_what_one_executor_finished_another_does_not_repeat(tmp_path):
    jobs = [job("double", n=n) for n in (1, 2)]
    run_jobs(jobs[:1], tmp_path, executor="local")
    assert run_jobs(jobs, tmp_path, executor="inline") == [2, 4]
    assert run_jobs(jobs, tmp_path, executor="local") == [2, 4]
    for each in jobs:
        assert (tmp_path / each.id / "runs.txt").read_text() == "x"


@BOTH
def test_none_is_a_result_too(tmp_path, executor):
    one = job("return_none")
    assert not one.is_done(tmp_path)
    assert run_jobs([one], tmp_path, executor=executor) == [None]
    assert one.is_done(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"id": "of another", "result": 1}'])
def test_a_manifest_that_is_damaged_or_foreign_counts_as_none(tmp_path, content):
    one = job("double", n=1)
    (tmp_path / one.id).mkdir()
    (tmp_path / one.id / "manifest.json").write_text(content)
    assert run_jobs([one], tmp_path) == [2]


def test_variables_of_torchrun_do_not_reach_a_job(tmp_path, monkeypatch):
    """Two trials of a search, each taken for a half of one training, would change each other."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert run_jobs([job("rank")], tmp_path) == [[0, 1]]


def test_the_id_comes_from_the_content_alone():
    assert job("double", a=1, b=2).id == job("double", b=2, a=1).id
    assert Job("m:f", {"n": 1}, "one") == Job("m:f", {"n": 1}, "other")
    assert len({job("double", n=n).id for n in range(50)} | {job("die", n=1).id}) == 51


def test_a_killed_process_is_started_again(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    assert run_jobs([job("die", times=2)], tmp_path) == ["alive"]
    assert caplog.messages == ["die: was killed (-9), starts again"] * 2


def test_a_process_that_is_always_killed_ends_in_an_error_message(tmp_path):
    fine = job("double", n=1)
    run_jobs([fine], tmp_path)
    with pytest.raises(JobError, match=r"die: its process was killed 3 times, .* memory"):
        run_jobs([fine, job("die", times=99)], tmp_path)
    assert fine.result(tmp_path) == 2


@BOTH
def test_an_error_of_the_task_is_reported_and_the_job_not_tried_again(tmp_path, executor):
    with pytest.raises(JobError, match=r"refuse: digits\.csv: is no good, expected better"):
        run_jobs([job("refuse")], tmp_path, executor=executor)
    assert (tmp_path / job("refuse").id / "runs.txt").read_text() == "x"


def test_a_bug_in_a_task_names_its_exception(tmp_path):
    with pytest.raises(JobError, match=r"stumble: ended with code 1 \(ZeroDivisionError"):
        run_jobs([job("stumble")], tmp_path)


def test_a_bug_in_a_task_that_runs_inline_is_raised_as_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run_jobs([job("stumble")], tmp_path, executor="inline", keep_going=True)
    assert not job("stumble").is_done(tmp_path)


def test_failures_can_be_kept_while_the_others_go_on(tmp_path):
    recorder = Recorder()
    jobs = [job("refuse"), job("double", n=2), job("stumble")]
    refused, doubled, stumbled = run_jobs(jobs, tmp_path, keep_going=True, callback=recorder)
    assert refused == JobFailure("digits.csv: is no good, expected better", "error")
    assert doubled == 4
    assert "ZeroDivisionError" in stumbled.reason
    assert recorder.of(jobs[0]) == [("failure", refused)]


def test_inline_failures_can_be_kept_too(tmp_path):
    recorder = Recorder()
    jobs = [job("refuse"), job("double", n=2)]
    refused, doubled = run_jobs(
        jobs, tmp_path, executor="inline", keep_going=True, callback=recorder
    )
    assert refused == JobFailure("digits.csv: is no good, expected better", "error")
    assert doubled == 4
    assert recorder.of(jobs[0]) == [("failure", refused)]


def test_inline_jobs_after_a_failure_do_not_start(tmp_path):
    with pytest.raises(JobError, match="refuse: "):
        run_jobs([job("refuse"), job("double", n=2)], tmp_path, executor="inline")
    assert not (tmp_path / job("double", n=2).id).exists()


@pytest.mark.parametrize("how", ["KeyboardInterrupt", "Interrupted"])
def test_an_interrupt_ends_inline_jobs_and_keeps_what_is_finished(tmp_path, how):
    jobs = [job("double", n=1), job("interrupt", how=how), job("double", n=2)]
    with pytest.raises(Interrupted, match="stopped, with all finished work and every state saved"):
        run_jobs(jobs, tmp_path, executor="inline", keep_going=True)
    assert [each.is_done(tmp_path) for each in jobs] == [True, False, False]
    assert not (tmp_path / jobs[2].id).exists()


def test_ctrl_c_lets_an_inline_task_finish_and_starts_no_other(tmp_path):
    class CtrlC(JobCallback):
        def on_job_progress(self, job, progress):
            os.kill(os.getpid(), signal.SIGINT)

    jobs = [job("double", n=n) for n in (1, 2)]
    with pytest.raises(Interrupted):
        run_jobs(jobs, tmp_path, executor="inline", callback=CtrlC())
    assert [each.is_done(tmp_path) for each in jobs] == [True, False]


def test_progress_that_is_not_json_fails_inline_too(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        run_jobs([job("emit_a_path")], tmp_path, executor="inline")


def test_an_inline_executor_can_run_a_function_in_place_of_the_task(tmp_path):
    executor = InlineExecutor(lambda job, folder, emit: [job.name, folder.name])
    one = job("double", n=1)
    assert run_jobs([one], tmp_path, executor=executor) == [["double", one.id]]
    assert one.is_done(tmp_path)


class EnoughError(DataError):
    pass


@BOTH
@pytest.mark.parametrize("error", [KeyError, EnoughError])
def test_what_a_callback_raises_stops_the_others_and_is_passed_on(tmp_path, executor, error):
    class Raises(JobCallback):
        def on_job_progress(self, job, progress):
            raise error("enough")

    arguments = {"executor": executor, "callback": Raises(), "keep_going": True}
    started = time.monotonic()
    with pytest.raises(error, match="enough"):
        run_jobs([job("sleep", n=1, s=60.0)], tmp_path, **arguments)
    assert time.monotonic() - started < 30


@BOTH
def test_when_the_time_is_up_no_more_jobs_start(tmp_path, executor):
    jobs = [job("double", n=n) for n in range(4)]
    allowed = iter([True, True, False, False])
    recorder = Recorder()
    results = run_jobs(
        jobs,
        tmp_path,
        executor=executor,
        callback=recorder,
        keep_going=True,
        workers=1,
        may_start=lambda: next(allowed),
    )
    assert results == [0, 2, SKIPPED, SKIPPED]
    assert recorder.of(jobs[3]) == [("failure", SKIPPED)]
    assert run_jobs(jobs, tmp_path, executor=executor) == [0, 2, 4, 6]


def test_the_number_of_concurrent_jobs():
    cores = len(usable_cores())
    assert max_concurrent_jobs("local") == max_concurrent_jobs("local", 10**6) == cores
    assert max_concurrent_jobs("local", 1) == max_concurrent_jobs("inline", 5) == 1


@pytest.mark.parametrize("name", ["mars", "here", "ray://", ""])
def test_an_executor_that_does_not_exist_is_an_error_message(tmp_path, name):
    with pytest.raises(JobError, match=f"--executor {name}: expected local, ray or ray://host"):
        run_jobs([job("double", n=1)], tmp_path / "new", executor=name)
    assert not (tmp_path / "new").exists()


def test_importing_the_package_imports_no_numerical_library():
    script = """
import sys
import tenfold.jobs
print(*{"torch", "numpy", "ray", "tenfold.jobs.ray"} & sys.modules.keys())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.skipif(len(usable_cores()) < 2, reason="one core cannot be divided")
def test_each_process_has_cores_of_its_own(tmp_path):
    jobs = [job("cores", n=n) for n in range(2)]
    first, second = run_jobs(jobs, tmp_path)
    assert first
    assert second
    assert not set(first) & set(second)
    assert run_jobs([job("cores", n=2)], tmp_path) == [usable_cores()]
    (one,) = run_jobs([job("cores", n=3)], tmp_path, cores_per_job=1)
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


@pytest.mark.skipif(len(usable_cores()) < 2, reason="one core runs one job after the other")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_is_stopped_or_killed_stops_its_processes(tmp_path, how):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)])
    slow, quick = tmp_path / job("wait").id, tmp_path / job("double", n=4).id
    wait_for(slow / "started")
    wait_for(quick / "manifest.json")
    driver.send_signal(how)
    assert driver.wait(30) == (-how if how == signal.SIGKILL else Interrupted.exit_code)
    wait_for(slow / "saved")
    assert not (slow / "manifest.json").exists()
    assert json.loads((quick / "manifest.json").read_text())["result"] == 8


SECOND = """
from pathlib import Path
from filelock import FileLock, Timeout
from tenfold.jobs import process

class NoisyLock(FileLock):
    def acquire(self, *arguments, **named):
        try:
            return super().acquire(blocking=False)
        except Timeout:
            Path(self.lock_file).with_name("waits").touch()
            return super().acquire(*arguments, **named)

process.folder_lock = lambda folder: NoisyLock(folder / "lock")
process.main()
"""


def test_two_drivers_never_run_the_same_job_at_once(tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)])
    folder = tmp_path / job("wait").id
    wait_for(folder / "started")
    (folder / "started").unlink()
    other = subprocess.Popen([sys.executable, "-c", SECOND, str(folder)], stdin=subprocess.PIPE)
    wait_for(folder / "waits")
    assert not (folder / "started").exists()  # the second waits for the first
    driver.kill()
    driver.wait(30)
    wait_for(folder / "started")
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()


def test_what_an_orphan_finished_is_not_started_again(tmp_path):
    (result,) = run_jobs([job("double", n=4)], tmp_path)
    folder = tmp_path / job("double", n=4).id
    runs = (folder / "runs.txt").read_text()
    late = subprocess.Popen(
        [sys.executable, "-c", "from tenfold.jobs.process import main; main()", str(folder)],
        stdin=subprocess.PIPE,
    )
    assert late.wait(30) == 0
    late.communicate()
    assert (result, (folder / "runs.txt").read_text()) == (8, runs)


def test_a_job_that_is_done_leaves_no_lock(tmp_path):
    run_jobs([job("double", n=n) for n in range(3)], tmp_path, executor="inline")
    assert not list(tmp_path.glob("*/lock"))
    assert run_jobs([job("double", n=1)], tmp_path, executor="inline") == [2]


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_a_lock_that_is_a_folder_is_the_failure_of_that_job(tmp_path, executor):
    (tmp_path / job("double", n=1).id / "lock").mkdir(parents=True)
    with pytest.raises(JobError, match="lock: is no ordinary file"):
        run_jobs([job("double", n=1)], tmp_path, executor=executor)
