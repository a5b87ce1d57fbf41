"""What a job is, what runs jobs, and what is called as they run.

Nothing here starts a process or imports a numerical library: `tenfold.jobs.process` and the
executors build on these types.
"""

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from tenfold.errors import TenfoldError

MANIFEST = "manifest.json"

Emit = Callable[[Mapping[str, Any]], None]
"""Sends progress, as JSON values, from a running task to `JobCallback.on_job_progress`."""


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of work; two jobs are equal if their ids are.

    Attributes:
        task: "package.module:function"; it is called as `function(description, folder, emit)` with
            the job's own folder and an `Emit`, and returns its result as JSON values.
        description: everything that the result depends on, as JSON values.
        name: how messages call the job; not part of the id.
    """

    task: str
    description: Mapping[str, Any]
    name: str = "job"

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits from the content: equal work, equal id."""
        content = json.dumps([self.task, self.description], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def is_done(self, folder: Path) -> bool:
        """Tell whether the job has left its result under `folder`."""
        return _read_manifest(folder / self.id).get("id") == self.id

    def result(self, folder: Path) -> Any:
        """Return the result that the job left under `folder`, once it is done."""
        return _read_manifest(folder / self.id)["result"]


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`; an absent or damaged one means that the job is not done."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and "result" in manifest else {}


@dataclass(frozen=True)
class JobFailure:
    """Takes the place of a result: the job did not finish.

    Attributes:
        reason: a sentence.
        kind: "error" if the task raised an exception, "killed" if its process was killed again and
            again, "skipped" if the job was never started for want of time.
    """

    reason: str
    kind: Literal["error", "killed", "skipped"] = "error"


SKIPPED = JobFailure("not started, the time budget was used up", "skipped")


class JobCallback:
    """Hooks that `tenfold.jobs.run_jobs` calls on the thread that called it; none does anything.

    What a hook raises stops the other jobs and is passed on to the caller.
    """

    def on_job_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """A running task has called `emit(progress)`."""

    def on_job_end(self, job: Job, result: Any) -> None:
        """A job is done; also called for each job that was done before."""

    def on_job_failure(self, job: Job, failure: JobFailure) -> None:
        """A job failed, or was skipped."""


@dataclass
class JobBatch:
    """What an executor is given to run; see `tenfold.jobs.run_jobs` for the shared arguments.

    Attributes:
        jobs: those that are not done yet, each once.
        n_jobs: how many there are, including those that are done.
        folder: each job's own folder is made in it.
        input_files: files in `folder` that the jobs read.
        workers: processes at a time on this machine; None for one per core.
        cores_per_job: of each process on this machine; None for an equal share.
        keep_going: whether a failure leaves the other jobs running.
        may_start: is asked before each job.
        callback: is called at every event, on the calling thread.
        stop: is set once the user asks to stop.
        failures: the jobs that failed or were skipped so far.
    """

    jobs: Sequence[Job]
    n_jobs: int
    folder: Path
    input_files: Sequence[Path] = ()
    workers: int | None = None
    cores_per_job: int | None = None
    keep_going: bool = False
    may_start: Callable[[], bool] = lambda: True
    callback: JobCallback = field(default_factory=JobCallback)
    stop: threading.Event = field(default_factory=threading.Event)
    failures: dict[Job, JobFailure] = field(default_factory=dict)

    @property
    def should_stop(self) -> bool:
        """Whether the user asked to stop, or a job failed and the others are not to go on."""
        return self.stop.is_set() or (bool(self.failures) and not self.keep_going)

    def report_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """Pass on what a running task emitted."""
        self.callback.on_job_progress(job, progress)

    def report_end(self, job: Job) -> None:
        """Announce a job whose result stands in its folder."""
        self.callback.on_job_end(job, job.result(self.folder))

    def report_failure(self, job: Job, failure: JobFailure) -> None:
        """Record a failure and announce it."""
        self.failures[job] = failure
        self.callback.on_job_failure(job, failure)


class Executor(Protocol):
    """Where jobs run."""

    @property
    def is_remote(self) -> bool:
        """Whether jobs run on other machines, where a job that is stopped starts over."""

    def max_concurrent_jobs(self, workers: int | None = None) -> int:
        """Return how many jobs run at a time; `workers` limits processes on this machine.

        Raises:
            JobError: the cluster cannot be reached.
        """

    def run(self, batch: JobBatch) -> None:
        """Run the jobs, report each through `batch`, and return early once it `should_stop`.

        Raises:
            JobError: the cluster cannot be reached, or was lost.
        """


# The variables by which torchrun tells a process that it is one of several. A job is one process
# of its own and does not inherit them.
TORCHRUN_VARS = {"WORLD_SIZE", "RANK", "LOCAL_RANK"}


def rank_and_world_size() -> tuple[int, int]:
    """Return torchrun's rank of this process, from 0, and its world size; (0, 1) without torchrun.

    Raises:
        TenfoldError: WORLD_SIZE is no number, or RANK is not below it.
    """
    world_size = _environment_number("WORLD_SIZE", "1", "a whole number from 1")
    if world_size < 2:
        return 0, 1  # a RANK without a WORLD_SIZE is not torchrun's
    expected = f"a whole number below {world_size}, the WORLD_SIZE"
    rank = _environment_number("RANK", "", expected)
    if rank >= world_size:
        raise TenfoldError(f"RANK is {rank} in the environment, expected {expected}")
    return rank, world_size


def _environment_number(variable: str, default: str, expected: str) -> int:
    text = os.environ.get(variable, default)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise TenfoldError(f"{variable} is {text!r} in the environment, expected {expected}")
    return int(text)
