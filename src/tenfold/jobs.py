"""Jobs: pure functions of a JSON description, each run once, whatever is killed on the way.

A job has an id made from its content, works in a folder of that name, and is done when its
manifest stands there. What is done is never repeated, so running the same jobs again is how one
resumes. Each runs in a process of its own on cores of its own: two processes of one thread train
a fifth more than one process of two (docs/performance.md), and one that dies takes no other
along. This module knows nothing of digits.

The process of a job is `python -m tenfold.jobs FOLDER`: it reads `job.json`, writes messages as
JSON lines to stdout, and stops, with its state saved, when its stdin closes.
"""

import contextlib
import hashlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock

from tenfold.errors import Interrupted, JobError, TenfoldError
from tenfold.files import output_folder, write_json
from tenfold.interrupt import StopRequest, stop_request

Message = Mapping[str, Any]
Tell = Callable[[Message], None]

ATTEMPTS = 3  # of a process that was killed, by the system's memory watch for example
SECONDS_TO_SAVE = 60.0  # that a stopped process has before it is killed
SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of work; two jobs are equal if their ids are.

    Attributes:
        task: "package.module:function"; it is called with the description, the job's folder and
            a function that takes messages, and returns its result as JSON values.
        description: all that the result depends on, as JSON values.
        name: what people call it, in messages; not part of the id.
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
        """Return what the job left under `folder`, once it is done."""
        return _read_manifest(folder / self.id)["result"]


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    *,
    hear: Callable[[Job, Message], None] = lambda _job, _message: None,
    workers: int | None = None,
) -> list[Any]:
    """Run every job that is not done yet, several at a time, and return all results in order.

    Args:
        jobs: what to do; equal jobs are done once.
        folder: each job's own folder is made in here.
        hear: is told, on the calling thread, what the processes say; a finished job says
            {"done": result}, also when it was done before.
        workers: processes at a time; None takes one a core. Each has an equal share of the
            cores, which depends on how many jobs there are in all, not on how many are left.

    Raises:
        JobError: a job failed, or its process was killed three times. The others are stopped
            with their state saved.
        Interrupted: Ctrl-C or SIGTERM; everything is saved.
        OutputError: the folder cannot be written to.
    """
    output_folder(folder)
    unique = list(dict.fromkeys(jobs))
    todo = [job for job in unique if not job.is_done(folder)]
    for job in unique:
        if job not in todo:
            hear(job, {"done": job.result(folder)})
    crew = _Crew(folder, _shares(len(unique), workers))
    with stop_request() as stop:
        crew.run(todo, hear, stop)
    return [job.result(folder) for job in jobs]


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _shares(count: int, workers: int | None) -> list[list[int]]:
    """Divide the cores among at most `workers` processes, as evenly as whole cores allow."""
    cores = usable_cores()
    processes = max(1, min(count, workers or len(cores), len(cores)))
    each = len(cores) // processes
    return [cores[start : start + each] for start in range(0, processes * each, each)]


class _Crew:
    """The processes at work: one thread here looks after each."""

    def __init__(self, folder: Path, shares: Sequence[list[int]]) -> None:
        self._folder = folder
        self._size = len(shares)
        self._shares: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for share in shares:
            self._shares.put(share)
        self._heard: queue.SimpleQueue[tuple[Job, Message]] = queue.SimpleQueue()
        self._working: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def run(
        self,
        jobs: Sequence[Job],
        hear: Callable[[Job, Message], None],
        stop: StopRequest,
    ) -> None:
        with ThreadPoolExecutor(self._size) as threads:
            waiting = [threads.submit(self._see_through, job) for job in jobs]
            try:
                while not all(future.done() for future in waiting):
                    self._pass_on(hear)
                    if stop or any(_failed(future) for future in waiting):
                        break
            finally:
                self._stop_all()
        self._pass_on(hear)
        failures = [error for future in waiting if (error := future.exception())]
        real = [error for error in failures if not isinstance(error, Interrupted)]
        if real:
            raise real[0]
        if failures or stop:
            raise Interrupted("stopped, with all finished work and every state saved")

    def _pass_on(self, hear: Callable[[Job, Message], None]) -> None:
        """Hand over what was said, waiting a moment for the first word."""
        with contextlib.suppress(queue.Empty):
            hear(*self._heard.get(timeout=SECONDS_BETWEEN_LOOKS))
            while True:
                hear(*self._heard.get_nowait())

    def _see_through(self, job: Job) -> None:
        """Start the process of `job`, again if it is killed, until the job is done."""
        cores = self._shares.get()
        try:
            for _attempt in range(ATTEMPTS):
                code, last_words = self._attempt(job, cores)
                if job.is_done(self._folder):
                    self._heard.put((job, {"done": job.result(self._folder)}))
                    return
                if code == TenfoldError.exit_code:
                    raise JobError(f"{job.name}: {last_words}")
                if code > 0 and code != Interrupted.exit_code:
                    trouble = _last_line(self._folder / job.id / "stderr.txt")
                    raise JobError(f"{job.name}: ended with code {code} ({trouble})")
                if not self._stopping.is_set():
                    self._heard.put((job, {"note": f"was killed ({code}), begins again"}))
            raise JobError(
                f"{job.name}: its process was killed {ATTEMPTS} times, the last time with {code}; "
                "memory that runs out is the usual reason: use fewer workers or smaller networks"
            )
        finally:
            self._shares.put(cores)

    def _attempt(self, job: Job, cores: list[int]) -> tuple[int, str]:
        """Run the process of `job` once; return its exit code and the error that it told."""
        folder = output_folder(self._folder / job.id)
        about = {"task": job.task, "description": job.description, "id": job.id, "cores": cores}
        write_json(folder / "job.json", about)
        last_words = ""
        with (folder / "stderr.txt").open("w", encoding="utf-8") as stderr:
            process = self._start(folder, len(cores), stderr)
            try:
                assert process.stdout is not None
                for message in _messages(process.stdout):
                    last_words = message.get("error", last_words)
                    self._heard.put((job, message))
                return process.wait(), last_words
            finally:
                with self._lock:
                    self._working.discard(process)
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()

    def _start(self, folder: Path, threads: int, stderr: TextIO) -> "subprocess.Popen[str]":
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with self._lock:
            if self._stopping.is_set():
                raise Interrupted("stopped before it began")
            process = subprocess.Popen(
                [sys.executable, "-m", "tenfold.jobs", str(folder)],
                stdin=subprocess.PIPE,  # the process stops when this closes, also by our death
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches us alone, and we pass it on in order
            )
            self._working.add(process)
        return process

    def _stop_all(self) -> None:
        """Ask whoever still works to save and stop; kill what does not listen."""
        with self._lock:
            self._stopping.set()
            working = list(self._working)
        for process in working:
            process.terminate()
        for process in working:
            try:
                process.wait(SECONDS_TO_SAVE)
            except subprocess.TimeoutExpired:
                process.kill()


def _failed(future: "Future[None]") -> bool:
    return future.done() and future.exception() is not None


def _messages(lines: Iterable[str]) -> Iterator[Message]:
    """Read JSON lines; the last one of a killed process may be torn, and is left out."""
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`; an absent or damaged one means that the job is not done."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest


def _last_line(path: Path) -> str:
    lines = path.read_text("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


# The other side: the process of one job


def _work(folder: Path) -> int:
    """Do the job described in `folder` and return the exit code, as for the command line."""
    tell = _only_messages_on_stdout()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        with FileLock(folder / "lock"):  # an orphan of a killed run may still be saving
            about = json.loads((folder / "job.json").read_text("utf-8"))
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, about["cores"])
            module, _, function = about["task"].partition(":")
            task = getattr(importlib.import_module(module), function)
            result = task(about["description"], folder, tell)
            write_json(folder / "manifest.json", {"id": about["id"], "result": result})
    except TenfoldError as error:
        tell({"error": str(error)})
        return error.exit_code
    except (Interrupted, KeyboardInterrupt):
        return Interrupted.exit_code
    return 0


def _only_messages_on_stdout() -> Tell:
    """Keep stdout for messages: what a library prints goes where its complaints go."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: Message) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone; stdin says so too
            channel.write(json.dumps(message) + "\n")
            channel.flush()

    return tell


def _stop_with_parent() -> None:
    """Wait until nobody holds the other end of stdin, then ask this process to stop."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)  # a real signal also wakes a process that sleeps


if __name__ == "__main__":
    sys.exit(_work(Path(sys.argv[1])))
