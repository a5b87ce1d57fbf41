"""Toy jobs on a real Ray cluster of two nodes on this machine, one of which is lost on the way."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenfold.errors import JobError
from tenfold.jobs import Job, JobCallback, JobFailure, run_jobs
from tenfold.jobs import ray as ray_executor
from tenfold.jobs.ray import connect

ray = pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]

TASKS = """
import os, time
from tenfold.errors import DataError

def read(description, folder, emit):
    emit({"half": description["n"]})
    time.sleep(description["s"])
    text = (folder.parent / "words.txt").read_text()
    (folder / "kept.txt").write_text(text)
    return len(text) * description["n"]

def refuse(description, folder, emit):
    raise DataError("digits.csv: is no good, expected better")

def die(description, folder, emit):
    os.kill(os.getpid(), 9)
"""

# The client runs in a process of its own: Ray changes much of the process that it is in.
DRIVER = """
import json, sys
from pathlib import Path
from tenfold.errors import TenfoldError
from tenfold.jobs import Job, JobCallback, JobFailure, run_jobs

executor, folder, keep_going = sys.argv[1], Path(sys.argv[2]), sys.argv[4] == "y"
tasks = enumerate(json.loads(sys.argv[3]))
jobs = [Job(f"ray_tasks:{task}", content, f"{task} {at}") for at, (task, content) in tasks]

class Printer(JobCallback):
    def on_job_progress(self, job, progress):
        print(json.dumps([job.name, "progress", progress]), flush=True)

    def on_job_end(self, job, result):
        print(json.dumps([job.name, "end", result]), flush=True)

try:
    results = run_jobs(
        jobs,
        folder,
        executor=executor,
        input_files=[folder / "words.txt"],
        callback=Printer(),
        keep_going=keep_going,
    )
    print(json.dumps([r.reason if isinstance(r, JobFailure) else r for r in results]))
except TenfoldError as error:
    sys.exit(str(error))
"""


class Nodes:
    """Two nodes, and what runs jobs on them."""

    def __init__(self, folder: Path) -> None:
        (folder / "ray_tasks.py").write_text(TASKS)
        paths = [str(folder), os.environ.get("PYTHONPATH", "")]
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with (folder / "ray.txt").open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "benchmarks" / "two_nodes.py")],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("ray://"), (folder / "ray.txt").read_text()[-2000:]

    def drive(
        self,
        folder: Path,
        tasks: list,
        keep_going: str = "n",
        executor: str | None = None,
        **more: str,
    ) -> subprocess.Popen:
        folder.mkdir(exist_ok=True)
        (folder / "words.txt").write_text("seven words that are shipped only once")
        arguments = [executor or self.address, str(folder), json.dumps(tasks), keep_going]
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments],
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    nodes = Nodes(tmp_path_factory.mktemp("nodes"))
    yield nodes
    nodes.process.communicate(timeout=60)


def test_the_same_jobs_give_the_same_results_on_a_cluster(nodes, tmp_path, monkeypatch):
    tasks = [("read", {"n": n, "s": 0}) for n in range(4)]
    out, err = nodes.drive(tmp_path / "cluster", tasks).communicate(timeout=90)
    assert out, err
    results = json.loads(out.splitlines()[-1])
    events = [json.loads(line) for line in out.splitlines()[:-1]]
    assert ["read 3", "progress", {"half": 3}] in events, err
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "words.txt").write_text("seven words that are shipped only once")
    monkeypatch.setenv("PYTHONPATH", nodes.environment["PYTHONPATH"])
    jobs = [Job(f"ray_tasks:{task}", description) for task, description in tasks]
    assert run_jobs(jobs, tmp_path / "local") == results == [0, 38, 76, 114]
    for job in jobs:
        folders = [tmp_path / executor / job.id for executor in ("local", "cluster")]
        assert len({folder.stat().st_mode for folder in folders}) == 1
        for name in ("kept.txt", "manifest.json"):
            assert len({(folder / name).read_bytes() for folder in folders}) == 1


def test_failures_are_error_messages_and_the_others_go_on(nodes, tmp_path):
    tasks = [("refuse", {}), ("die", {}), ("read", {"n": 1, "s": 0})]
    out, _ = nodes.drive(tmp_path / "one", tasks, "y").communicate(timeout=90)
    refused, died, read = json.loads(out.splitlines()[-1])
    assert refused == "digits.csv: is no good, expected better"
    assert died.startswith("its process was killed 3 times")
    assert read == 38
    driver = nodes.drive(tmp_path / "two", tasks[:1])
    _, err = driver.communicate(timeout=90)
    assert err.strip().endswith("refuse 0: digits.csv: is no good, expected better")


class OneCore:
    """Stands in for Ray, on one core: the first job fails, the second never ends."""

    exceptions = ray.exceptions

    def __init__(self):
        self.sent, self.polls, self.cancelled = [], 0, []

    def cluster_resources(self):
        return {"CPU": 1}

    def remote(self, **_options):
        return lambda _function: SimpleNamespace(remote=self.send)

    def send(self, spec, _input_files, _event_queue):
        self.sent.append(spec[2])
        return spec[2]

    def wait(self, running, timeout):
        self.polls += 1
        assert self.polls < 10, "it waits for the others"
        return [one for one in running if one == "first"], []

    def get(self, _reference):
        return JobFailure("is no good")

    def cancel(self, reference, force):
        self.cancelled.append(reference)

    def shutdown(self):
        pass


class NoEvents:
    def qsize(self):
        return 0

    def get_nowait_batch(self, _size):
        return []


def test_when_one_fails_the_others_are_cancelled(monkeypatch, tmp_path):
    stand_in = OneCore()
    failed = []

    class Failures(JobCallback):
        def on_job_failure(self, job, failure):
            failed.append((job.name, failure.reason))

    monkeypatch.setattr(ray_executor, "connect", lambda _address: stand_in)
    monkeypatch.setattr(ray_executor, "_event_queue", lambda _ray: NoEvents())
    jobs = [Job("ray_tasks:read", {"n": name}, name) for name in ("first", "second", "third")]
    with pytest.raises(JobError, match="first: is no good"):
        run_jobs(jobs, tmp_path, executor="ray", callback=Failures())
    assert (stand_in.sent, stand_in.cancelled) == (["first", "second"], ["second"])
    assert failed == [("first", "is no good")]


@pytest.mark.parametrize("failures", [2, 3])
def test_a_client_whose_server_process_died_connects_again(monkeypatch, failures):
    """What Ray's proxy says then, as a real one once did in these tests."""
    asked = []

    def init(address, **options):
        asked.append(address)
        if len(asked) <= failures:
            raise ConnectionAbortedError("Initialization failure from server:\n...")

    monkeypatch.setattr("ray.init", init)
    if failures < 3:
        assert connect("ray://there:10001").__name__ == "ray"
    else:
        with pytest.raises(JobError, match="ray://there:10001: the cluster cannot be reached"):
            connect("ray://there:10001")
    assert asked == ["ray://there:10001"] * 3


def test_a_wrong_token_and_a_wrong_name_are_error_messages(nodes, tmp_path):
    soon = {
        "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "1", "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "1",
    }  # fmt: skip
    stranger = nodes.drive(tmp_path / "a", [("refuse", {})], RAY_AUTH_TOKEN="no" * 16, **soon)
    slurm = nodes.drive(tmp_path / "b", [("refuse", {})], executor="slurm")
    for driver, found in ((stranger, "cannot be reached"), (slurm, "expected local, ray or ray:")):
        _, err = driver.communicate(timeout=60)
        assert found in err.strip().splitlines()[-1]


def test_a_lost_node_costs_only_its_running_jobs(nodes, tmp_path):
    tasks = [("read", {"n": n, "s": 1.5}) for n in range(6)]
    driver = nodes.drive(tmp_path / "run", tasks)
    assert any('"end"' in line for line in iter(driver.stdout.readline, ""))
    nodes.process.stdin.write("kill\n")
    nodes.process.stdin.flush()
    assert nodes.process.stdout.readline() == "killed\n"
    out, err = driver.communicate(timeout=110)
    assert out, err[-2000:]
    assert json.loads(out.splitlines()[-1]) == [38 * n for n in range(6)]
