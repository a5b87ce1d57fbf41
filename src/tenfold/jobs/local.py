"""Executors on this machine: one process per job, or all jobs in this process.

`LocalExecutor` runs at most one process per core, each bound to cores of its own. Two processes of
one thread train an eighth more than one process of two (docs/performance.md), and one that dies
does not take the others with it. A process that is killed is started again. Memory is watched: when
it runs short, the youngest process is asked to save and end, and resumes once there is room for it.

`InlineExecutor` starts no process: for tests and for debugging a task.
"""

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import psutil

from tenfold.errors import Interrupted, OutputError, TenfoldError
from tenfold.jobs.job import SKIPPED, Job, JobBatch, JobFailure
from tenfold.jobs.process import JobProcess, RunTask, call_task, run_job
from tenfold.machine import free_bytes, reserve_bytes, usable_cores

MAX_ATTEMPTS = 3  # of a process that was killed, for example by the system when memory ran out
POLL_INTERVAL_S = 0.1
MEMORY_POLL_INTERVAL_S = 1.0
# A process that resumes needs so long to take its memory: until then the next one waits.
MEMORY_SETTLE_S = 10.0

logger = logging.getLogger(__name__)


def killed_failure(exit_code: int) -> JobFailure:
    """Return the failure of a job whose process was killed in its last attempt too."""
    return JobFailure(
        f"its process was killed {MAX_ATTEMPTS} times, the last time with {exit_code}; "
        "memory that runs out is the usual reason: use fewer workers or smaller networks",
        "killed",
    )


class InlineExecutor:
    """Runs jobs in this process, one after the other: for tests and debugging.

    Manifests, locks, failures and interrupts are those of the other executors: a `TenfoldError` is
    the failure of one job, and `Interrupted` or `KeyboardInterrupt` ends the run. Any other
    exception is a bug and is raised as it is, for a debugger to catch.

    Args:
        run_task: is called as `run_task(job, folder, emit)` with the job's own folder and returns
            the result; tests can pass their own in place of the job's task.
    """

    is_remote = False

    def __init__(self, run_task: RunTask = call_task) -> None:
        self._run_task = run_task

    def __str__(self) -> str:
        return "inline"

    def max_concurrent_jobs(self, workers: int | None = None) -> int:
        """Return 1."""
        del workers
        return 1

    def run(self, batch: JobBatch) -> None:
        """Run the jobs in order until the last, or until one fails or the user stops."""
        for job in batch.jobs:
            if batch.should_stop:
                return
            if batch.may_start():
                self._run_one(job, batch)
            else:
                batch.report_failure(job, SKIPPED)

    def _run_one(self, job: Job, batch: JobBatch) -> None:
        raised_by_callback: list[Exception] = []

        def emit(progress: Mapping[str, Any]) -> None:
            # Through JSON, as from another process: what does not fit fails here too.
            progress = json.loads(json.dumps(progress))
            try:
                batch.report_progress(job, progress)
            except Exception as error:
                raised_by_callback.append(error)
                raise

        try:
            run_job(job, batch.folder, emit, self._run_task)
        except TenfoldError as error:
            if error in raised_by_callback:
                raise
            batch.report_failure(job, JobFailure(str(error)))
        except (Interrupted, KeyboardInterrupt):
            batch.stop.set()
        else:
            batch.report_end(job)


class LocalExecutor:
    """Runs each job in a process of its own on this machine."""

    is_remote = False

    def __str__(self) -> str:
        return "local"

    def max_concurrent_jobs(self, workers: int | None = None) -> int:
        """Return `workers`, at most one per core."""
        cores = len(usable_cores())
        return min(workers or cores, cores)

    def run(self, batch: JobBatch) -> None:
        """Run all jobs to completion, or until one fails or the user stops."""
        _ProcessPool(batch).run()


class _ProcessPool:
    """The processes of one batch; a thread of this process looks after each."""

    def __init__(self, batch: JobBatch) -> None:
        self._batch = batch
        cpu_sets = _cpu_sets(batch)
        self._size = len(cpu_sets)
        self._cpu_sets: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for cpu_set in cpu_sets:
            self._cpu_sets.put(cpu_set)
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._running: dict[Job, JobProcess] = {}  # in the order of their starts
        self._paused: dict[Job, int] = {}  # for want of memory, with the bytes that each had taken
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._memory_checked_at = 0.0
        self._resumed_at = 0.0

    def run(self) -> None:
        """Run all jobs to completion, or until one fails or the user stops."""
        with ThreadPoolExecutor(self._size) as threads:
            futures = [threads.submit(self._run_to_completion, job) for job in self._batch.jobs]
            try:
                while not (self._batch.should_stop or all(future.done() for future in futures)):
                    self._dispatch_events()
                    self._check_memory()
            finally:
                self._stop_all()
        self._dispatch_events()
        for future in futures:
            future.result()  # raises what is a bug of this class

    def _dispatch_events(self) -> None:
        """Report on this thread what the others saw, waiting a moment for the first event."""
        with suppress(queue.Empty):
            event = self._events.get(timeout=POLL_INTERVAL_S)
            while True:
                event()
                event = self._events.get_nowait()

    def _put(self, report: Callable[..., None], *arguments: Any) -> None:
        """Have `report(*arguments)` called on the thread of `run`."""
        self._events.put(partial(report, *arguments))

    def _run_to_completion(self, job: Job) -> None:
        """Start the process of `job`, again if it is killed, until the job is done or failed."""
        cores = self._cpu_sets.get()
        try:
            if not self._stopping.is_set() and not self._batch.may_start():
                self._put(self._batch.report_failure, job, SKIPPED)
                return
            failure = self._attempt(job, cores)
            if failure is not None:
                self._put(self._batch.report_failure, job, failure)
            elif job.is_done(self._batch.folder):
                self._put(self._batch.report_end, job)
        except OutputError as error:
            self._put(self._batch.report_failure, job, JobFailure(str(error)))
        finally:
            with self._lock:
                self._paused.pop(job, None)  # it may have ended as it was asked to pause
            self._cpu_sets.put(cores)

    def _attempt(self, job: Job, cores: list[int]) -> JobFailure | None:
        """Run the process until the job is done or the pool stops; else return the failure."""
        exit_code, attempts = 0, 0
        while attempts < MAX_ATTEMPTS:
            process = self._start(job, cores)
            if process is None:
                return None
            for progress in process.progress():
                self._put(self._batch.report_progress, job, progress)
            with self._lock:
                del self._running[job]
            exit_code, failure = process.exit_code, process.failure()
            if job.is_done(self._batch.folder):
                return None
            if failure is not None:
                return failure
            if job in self._paused:
                self._wait_for_memory(job)
            elif not self._stopping.is_set():
                attempts += 1
                if attempts < MAX_ATTEMPTS:
                    self._put(
                        logger.warning, "%s: was killed (%s), starts again", job.name, exit_code
                    )
        return killed_failure(exit_code)

    def _start(self, job: Job, cores: list[int]) -> JobProcess | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            process = JobProcess(job, self._batch.folder, threads=len(cores), cores=cores)
            self._running[job] = process
        return process

    def _stop_all(self) -> None:
        """Ask every running process to save and end; kill those that do not."""
        with self._lock:
            self._stopping.set()
            running = list(self._running.values())
        for process in running:
            process.terminate()
        for process in running:
            process.join()

    def _check_memory(self) -> None:
        """When memory runs short, ask the youngest of several processes to save and pause."""
        now = time.monotonic()
        if now - self._memory_checked_at < MEMORY_POLL_INTERVAL_S:
            return
        self._memory_checked_at = now
        with self._lock:
            active = [job for job in self._running if job not in self._paused]
            # A paused process that still saves counts as gone: else the others were paused too.
            being_freed = sum(self._paused[job] for job in self._running if job in self._paused)
            if len(active) < 2 or free_bytes() + being_freed >= reserve_bytes():
                return
            youngest = active[-1]
            self._paused[youngest] = process_bytes(self._running[youngest].pid)
            self._running[youngest].terminate()
        logger.info("%s: paused until others have freed memory", youngest.name)

    def _wait_for_memory(self, job: Job) -> None:
        """Wait until what `job` had taken is free again, or no other process runs.

        Paused jobs resume in the order in which they were paused, one at a time: the next one
        checks again once this one has taken what it needs.
        """
        while not self._stopping.wait(MEMORY_POLL_INTERVAL_S):
            with self._lock:
                first = next(paused for paused in self._paused if paused not in self._running)
                settled = time.monotonic() - self._resumed_at >= MEMORY_SETTLE_S
                room = free_bytes() - reserve_bytes() >= self._paused[job]
                if job is first and settled and (room or not self._running):
                    del self._paused[job]
                    self._resumed_at = time.monotonic()
                    self._put(logger.info, "%s: resumes", job.name)
                    return


def _cpu_sets(batch: JobBatch) -> list[list[int]]:
    """Divide the cores among the processes, as evenly as whole cores allow."""
    cores = usable_cores()
    processes = max(1, min(batch.n_jobs, batch.workers or len(cores), len(cores)))
    size = min(len(cores), batch.cores_per_job or len(cores) // processes)
    processes = min(processes, len(cores) // size)
    return [cores[start : start + size] for start in range(0, processes * size, size)]


def process_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
