"""Jobs on this machine: at most one process for each core, each bound to its own.

Two processes of one thread train an eighth more than one process of two (docs/performance.md), and
one that dies takes no other along. One that is killed begins again. Memory is watched: where it
runs short the youngest process is asked to save, and waits until there is room for it.
"""

import contextlib
import os
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

from tenfold.errors import OutputError
from tenfold.jobs.job import SKIPPED, Job, JobBatch, JobFailure, JobProcess, Message

ATTEMPTS = 3  # of a process that was killed, by the system for want of memory for example
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_BETWEEN_LOOKS_AT_MEMORY = 1.0
SECONDS_TO_GROW = 10.0  # that a process needs to take its memory: until then the next one waits


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def killed_too_often(code: int) -> JobFailure:
    """Say what to make of a process that was killed again and again."""
    return JobFailure(
        f"its process was killed {ATTEMPTS} times, the last time with {code}; "
        "memory that runs out is the usual reason: use fewer workers or smaller networks",
        "killed",
    )


class LocalExecutor:
    """The processes at work; one thread here looks after each."""

    def __init__(self, work: JobBatch) -> None:
        self._work = work
        shares = _cpu_sets(work)
        self._size = len(shares)
        self._cpu_sets: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for share in shares:
            self._cpu_sets.put(share)
        self._heard: queue.SimpleQueue[tuple[Job, Message]] = queue.SimpleQueue()
        self._working: dict[Job, JobProcess] = {}  # in the order of their starts
        self._held: dict[Job, int] = {}  # asked to wait for memory: so much had they taken
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._memory_looked_at = 0.0
        self._let_go_at = 0.0

    def run(self) -> None:
        """See all jobs through, or until one fails or the user stops."""
        with ThreadPoolExecutor(self._size) as threads:
            waiting = [threads.submit(self._run_to_completion, job) for job in self._work.jobs]
            try:
                while not self._work.stop.is_set() and not all(future.done() for future in waiting):
                    if self._pass_on() and not self._work.keep_going:
                        break
                    self._watch_memory()
            finally:
                self._stop_all()
        self._pass_on()
        for future in waiting:
            future.result()  # a bug of ours, to be seen as one

    def _pass_on(self) -> bool:
        """Hand over what was said, waiting a moment for it; tell whether a job failed."""
        failed = False
        with contextlib.suppress(queue.Empty):
            job, message = self._heard.get(timeout=SECONDS_BETWEEN_LOOKS)
            while True:
                failed |= "failed" in message
                self._work.hear(job, message)
                job, message = self._heard.get_nowait()
        return failed

    def _run_to_completion(self, job: Job) -> None:
        """Start the process of `job`, again if it is killed, until the job is done or failed."""
        cores = self._cpu_sets.get()
        try:
            if not self._stopping.is_set() and not self._work.may_start():
                self._heard.put((job, SKIPPED.message()))
                return
            failure = self._attempts(job, cores)
            if failure is not None:
                self._heard.put((job, failure.message()))
            elif job.is_done(self._work.folder):
                self._heard.put((job, {"done": job.result(self._work.folder)}))
        except OutputError as error:
            self._heard.put((job, JobFailure(str(error)).message()))
        finally:
            with self._lock:
                self._held.pop(job, None)  # it may have ended as it was asked to wait
            self._cpu_sets.put(cores)

    def _attempts(self, job: Job, cores: list[int]) -> JobFailure | None:
        """Run the process until the job is done, or until told to stop; else say what is wrong."""
        code, attempts = 0, 0
        while attempts < ATTEMPTS:
            process = self._start(job, cores)
            if process is None:
                return None
            for message in process.listen():
                self._heard.put((job, message))
            with self._lock:
                del self._working[job]
            code, trouble = process.code, process.trouble()
            if job.is_done(self._work.folder):
                return None
            if trouble is not None:
                return JobFailure(trouble)
            if job in self._held:
                self._wait_for_room(job)
            elif not self._stopping.is_set():
                attempts += 1
                self._heard.put((job, {"note": f"was killed ({code}), begins again"}))
        return killed_too_often(code)

    def _start(self, job: Job, cores: list[int]) -> JobProcess | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            process = JobProcess(job, self._work.folder, threads=len(cores), cores=cores)
            self._working[job] = process
        return process

    def _stop_all(self) -> None:
        """Ask whoever still works to save and stop; kill what does not listen."""
        with self._lock:
            self._stopping.set()
            working = list(self._working.values())
        for process in working:
            process.ask_to_stop()
        for process in working:
            process.join()

    # Memory

    def _watch_memory(self) -> None:
        """Where memory runs short, ask the youngest of several processes to save and to wait."""
        now = time.monotonic()
        if now - self._memory_looked_at < SECONDS_BETWEEN_LOOKS_AT_MEMORY:
            return
        self._memory_looked_at = now
        with self._lock:
            at_work = [job for job in self._working if job not in self._held]
            coming_free = sum(self._held[job] for job in self._working if job in self._held)
            if len(at_work) < 2 or free_bytes() + coming_free >= reserve_bytes():
                return
            youngest = at_work[-1]
            self._held[youngest] = used_by(self._working[youngest].pid)
            self._working[youngest].ask_to_stop()
        self._heard.put((youngest, {"note": "waits until others have made room in memory"}))

    def _wait_for_room(self, job: Job) -> None:
        """Wait until what `job` had taken is free again, or nobody else is at work.

        One goes on at a time: the next looks again when this one has taken what it needs.
        """
        while not self._stopping.wait(SECONDS_BETWEEN_LOOKS_AT_MEMORY):
            with self._lock:
                first = next(held for held in self._held if held not in self._working)
                settled = time.monotonic() - self._let_go_at >= SECONDS_TO_GROW
                room = free_bytes() - reserve_bytes() >= self._held[job]
                if job is first and settled and (room or not self._working):
                    del self._held[job]
                    self._let_go_at = time.monotonic()
                    return


def _cpu_sets(work: JobBatch) -> list[list[int]]:
    """Divide the cores among the processes, as evenly as whole cores allow."""
    cores = usable_cores()
    processes = max(1, min(work.count, work.workers or len(cores), len(cores)))
    each = min(len(cores), work.cores_each or len(cores) // processes)
    processes = min(processes, len(cores) // each)
    return [cores[start : start + each] for start in range(0, processes * each, each)]


CGROUP = Path("/sys/fs/cgroup")  # of version 2
RESERVE = 0.05  # of all memory: with less the system begins to swap, or to kill


def free_bytes() -> int:
    """Return how much memory can still be had: the machine's, or less where a container says so."""
    free = int(psutil.virtual_memory().available)
    try:
        most = _limit()
        taken = int((CGROUP / "memory.current").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        given_back = int(dict(line.split() for line in lines)["inactive_file"])  # cached files
    except (OSError, ValueError, KeyError):  # no container, or "max": no limit
        return free
    return min(free, max(0, most - taken + given_back))


def reserve_bytes() -> int:
    """Return what should stay free."""
    total = int(psutil.virtual_memory().total)
    with suppress(OSError, ValueError):  # as above
        total = min(total, _limit())
    return int(RESERVE * total)


def _limit() -> int:
    """Return what the container allows; where there is none, or no limit, that is an error."""
    return int((CGROUP / "memory.max").read_text())


def used_by(pid: int) -> int:
    """Return the memory that a process holds; 0 if it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
