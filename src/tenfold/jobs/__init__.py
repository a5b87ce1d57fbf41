"""Jobs: pure functions of a JSON description, each run once, however often a run is killed.

A job has an id made from its content, works in a folder of that name, and is done when its
manifest exists. A finished job is never repeated, so running the same jobs again resumes a
run. Members of an ensemble, trials of a search, folds of a comparison and shards of a large file
are all jobs. This package knows nothing of digits.

    job        jobs, failures, callbacks, and what an executor is
    process    one job in a process of its own
    local      executors on this machine: one process per job, or inline
    ray        an executor on a Ray cluster
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tenfold.errors import Interrupted, JobError
from tenfold.files import output_folder
from tenfold.jobs.job import SKIPPED, Emit, Executor, Job, JobBatch, JobCallback, JobFailure
from tenfold.jobs.local import InlineExecutor, LocalExecutor
from tenfold.machine import usable_cores
from tenfold.signals import graceful_shutdown

__all__ = [
    "LOCAL",
    "SKIPPED",
    "Emit",
    "Executor",
    "InlineExecutor",
    "Job",
    "JobBatch",
    "JobCallback",
    "JobFailure",
    "LocalExecutor",
    "get_executor",
    "max_concurrent_jobs",
    "run_jobs",
    "usable_cores",
]

LOCAL = "local"


def get_executor(executor: str | Executor) -> Executor:
    """Return the executor of that name; an executor is returned as it is.

    Args:
        executor: "local" for processes on this machine, "inline" for this process, "ray" or
            "ray://host:port" for a cluster (see `tenfold.jobs.ray`), or an executor.

    Raises:
        JobError: there is none of that name.
    """
    if not isinstance(executor, str):
        return executor
    if executor == LOCAL:
        return LocalExecutor()
    if executor == "inline":
        return InlineExecutor()
    if re.fullmatch("ray|ray://[^/]+", executor):
        from tenfold.jobs.ray import RayExecutor  # noqa: PLC0415 - only where it is used

        return RayExecutor(executor)
    raise JobError(f"--executor {executor}: expected local, ray or ray://host:port")


def max_concurrent_jobs(executor: str | Executor, workers: int | None = None) -> int:
    """Return how many jobs run at a time; the arguments are those of `run_jobs`.

    Raises:
        JobError: there is no such executor, or its cluster cannot be reached.
    """
    return get_executor(executor).max_concurrent_jobs(workers)


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    *,
    executor: str | Executor = LOCAL,
    input_files: Sequence[Path] = (),
    callback: JobCallback | None = None,
    workers: int | None = None,
    cores_per_job: int | None = None,
    keep_going: bool = False,
    may_start: Callable[[], bool] = lambda: True,
) -> list[Any]:
    """Run every job that is not done yet, several at a time, and return all results in order.

    Args:
        jobs: what to do; equal jobs are done once.
        folder: each job's own folder is made in it.
        executor: "local", "inline", "ray", "ray://host:port" or an executor; see `get_executor`.
        input_files: files in `folder` that the jobs read; a cluster gets each of them once.
        callback: its hooks are called on this thread.
        workers: processes at a time on this machine; None for one per core. Each has an equal
            share of the cores, which depends on the number of all jobs, not of those left.
        cores_per_job: of each process on this machine, in place of an equal share. On a cluster
            it is one.
        keep_going: let the other jobs finish when one fails; its result is then a `JobFailure`.
        may_start: is asked before each job; once it returns False, jobs that have not started are
            skipped, and their result is `SKIPPED`. Needs `keep_going`.

    Raises:
        JobError: a job failed, or its process was killed three times; unless `keep_going`. The
            others are stopped with their state saved. Or there is no such executor, or its
            cluster cannot be reached.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
        OutputError: the folder cannot be written to.
    """
    where = get_executor(executor)
    output_folder(folder)
    done = {job: job.is_done(folder) for job in jobs}
    with graceful_shutdown() as stop:
        batch = JobBatch(
            jobs=[job for job, is_done in done.items() if not is_done],
            n_jobs=len(done),
            folder=folder,
            input_files=input_files,
            workers=workers,
            cores_per_job=cores_per_job,
            keep_going=keep_going,
            may_start=may_start,
            callback=callback or JobCallback(),
            stop=stop,
        )
        for job, is_done in done.items():
            if is_done:
                batch.report_end(job)
        if batch.jobs:
            where.run(batch)
        if stop.is_set():
            saved = "all finished work" if where.is_remote else "all finished work and every state"
            raise Interrupted(f"stopped, with {saved} saved")
    return _results(jobs, batch)


def _results(jobs: Sequence[Job], batch: JobBatch) -> list[Any]:
    """Return the results in the order of `jobs`, with failures in their places if they are kept."""
    if batch.failures and not batch.keep_going:
        job, failure = next(iter(batch.failures.items()))
        raise JobError(f"{job.name}: {failure.reason}")
    return [batch.failures.get(job) or job.result(batch.folder) for job in jobs]
