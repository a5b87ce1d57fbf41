"""Jobs: pure functions of a JSON description, each run once, whatever is killed on the way.

A job has an id made from its content, works in a folder of that name, and is done when its
manifest stands there. What is done is never repeated, so running the same jobs again is how one
resumes. Members of an ensemble, trials of a search, folds of a comparison and parts of a large
file are all jobs. This package knows nothing of digits.

    job        what a job is, and how its folder tells that it is done
    process    the process of one job, seen from both ends
    local      jobs on this machine's cores
    memory     how much memory is free, and who waits when it is not
    cluster    the same jobs on a Ray cluster
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tenfold.errors import Interrupted, JobError
from tenfold.files import graceful_shutdown, output_folder
from tenfold.jobs.job import Hear, Job, JobBatch, JobFailure, Message, Tell
from tenfold.jobs.local import LocalExecutor, usable_cores

__all__ = [
    "HERE",
    "JobFailure",
    "Hear",
    "Job",
    "Message",
    "Tell",
    "run_jobs",
    "usable_cores",
    "workers_on",
]

HERE = "here"


def workers_on(on: str, workers: int | None = None) -> int:
    """Return how many jobs run at a time; `on` and `workers` are those of `run_jobs`.

    Raises:
        JobError: the cluster cannot be reached.
    """
    if on == HERE:
        return min(workers or len(usable_cores()), len(usable_cores()))
    from tenfold.jobs.ray import capacity  # noqa: PLC0415 - an optional extra

    return capacity(on)


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    *,
    on: str = HERE,
    input_files: Sequence[Path] = (),
    hear: Hear = lambda _job, _message: None,
    workers: int | None = None,
    cores_each: int | None = None,
    keep_going: bool = False,
    may_start: Callable[[], bool] = lambda: True,
) -> list[Any]:
    """Run every job that is not done yet, several at a time, and return all results in order.

    Args:
        jobs: what to do; equal jobs are done once.
        folder: each job's own folder is made in here.
        on: "here", "ray" or "ray://host:port"; see `tenfold.jobs.ray`.
        supplies: files in `folder` that the jobs read; a cluster gets each of them once.
        hear: is told, on the calling thread, what the processes say; a finished job says
            {"done": result}, also when it was done before, and a failed one {"failed": sentence}
            with the "kind" of `JobFailure`. What it raises stops the others and is passed on.
        workers: processes at a time here; None takes one a core. Each has an equal share of the
            cores, which depends on how many jobs there are in all, not on how many are left.
        cores_each: of each process here, in place of an equal share. On a cluster it is one.
        keep_going: let the other jobs finish when one fails; its result is then a `JobFailure`.
        may_start: is asked before each job; once it says no, jobs that have not begun do not,
            and their result is a `JobFailure` too. Needs `keep_going`.

    Raises:
        JobError: a job failed, or its process was killed three times; unless `keep_going`. The
            others are stopped with their state saved. Or the cluster cannot be reached.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
        OutputError: the folder cannot be written to.
    """
    output_folder(folder)
    unique = list(dict.fromkeys(jobs))
    todo = [job for job in unique if not job.is_done(folder)]
    for job in unique:
        if job not in todo:
            hear(job, {"done": job.result(folder)})
    failed: dict[Job, JobFailure] = {}

    def listen(job: Job, message: Message) -> None:
        if "failed" in message:
            failed[job] = JobFailure(message["failed"], message["kind"])
        hear(job, message)

    with graceful_shutdown() as stop:
        work = JobBatch(
            todo,
            len(unique),
            folder,
            input_files,
            workers,
            cores_each,
            keep_going,
            may_start,
            listen,
            stop,
        )
        if todo and on == HERE:
            LocalExecutor(work).run()
        elif todo:
            from tenfold.jobs.ray import RayExecutor  # noqa: PLC0415 - an optional extra

            RayExecutor(work, on).run()
        if stop.is_set():
            saved = "all finished work and every state" if on == HERE else "all finished work"
            raise Interrupted(f"stopped, with {saved} saved")
    if failed and not keep_going:
        job, failure = next(iter(failed.items()))
        raise JobError(f"{job.name}: {failure.reason}")
    return [failed[job] if job in failed else job.result(folder) for job in jobs]
