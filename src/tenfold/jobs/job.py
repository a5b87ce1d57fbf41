"""What a job is, and how its folder tells that it is done."""

import contextlib
import hashlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from tenfold.errors import Interrupted, TenfoldError
from tenfold.files import clear_partials, output_folder, write_json

Message = Mapping[str, Any]
Tell = Callable[[dict[str, Any]], None]
MANIFEST = "manifest.json"


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
        return read_manifest(folder / self.id).get("id") == self.id

    def result(self, folder: Path) -> Any:
        """Return what the job left under `folder`, once it is done."""
        return read_manifest(folder / self.id)["result"]


Hear = Callable[[Job, Message], None]


@dataclass(frozen=True)
class JobBatch:
    """What a place where jobs run is told; see `tenfold.jobs.run_jobs`.

    Attributes:
        jobs: those not done yet, each once.
        count: how many there are with those that are done.
        folder, supplies, workers, cores_each, keep_going, may_start: as given there.
        hear: is to be told all that the jobs say, on the calling thread.
        stop: whether the user asked to stop.
    """

    jobs: Sequence[Job]
    count: int
    folder: Path
    input_files: Sequence[Path]
    workers: int | None
    cores_each: int | None
    keep_going: bool
    may_start: Callable[[], bool]
    hear: Hear
    stop: threading.Event


@dataclass(frozen=True)
class JobFailure:
    """Takes the place of a result: the job did not come to an end.

    Attributes:
        reason: a sentence.
        kind: "error" is a mistake or a bug that it told, "killed" a process that was killed again
            and again, "not begun" a job for which there was no time.
    """

    reason: str
    kind: Literal["error", "killed", "not begun"] = "error"

    def message(self) -> dict[str, Any]:
        """Return it as `hear` is told."""
        return {"failed": self.reason, "kind": self.kind}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`; an absent or damaged one means that the job is not done."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and "result" in manifest else {}


SKIPPED = JobFailure("not begun, the time was up", "not begun")


# A job is one process, also where a launcher told ours that it is one of several.
TORCHRUN_VARS = {"WORLD_SIZE", "RANK", "LOCAL_RANK"}
SECONDS_TO_SAVE = 60.0  # that a stopped process has before it is killed


class JobProcess:
    """The near end: starts the process, passes its messages on, stops it.

    Args:
        job: what it does.
        folder: the job's folder is made in here.
        threads: that it may compute with.
        cores: that it is bound to; None leaves that to the system.
        environment: variables that it gets besides ours.
    """

    def __init__(
        self,
        job: Job,
        folder: Path,
        *,
        threads: int,
        cores: Sequence[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.job = job
        self._folder = output_folder(folder / job.id)
        about = {"task": job.task, "description": job.description, "id": job.id, "cores": cores}
        write_json(self._folder / "job.json", about)
        self._error = ""
        given = {name: value for name, value in os.environ.items() if name not in TORCHRUN_VARS}
        with (self._folder / "stderr.txt").open("w", encoding="utf-8") as stderr:
            self._process = subprocess.Popen(
                # -P: a random.py in the current folder must not be taken for Python's own
                [sys.executable, "-P", "-m", "tenfold.jobs", str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=given | {"OMP_NUM_THREADS": str(threads)} | dict(environment or {}),
                start_new_session=True,  # Ctrl-C reaches us alone, and we pass it on in order
            )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def listen(self) -> Iterator[Message]:
        """Yield what the process says until it ends, and tidy up behind it.

        Its last word on why it gave up is kept for `trouble`.
        """
        assert self._process.stdout is not None
        try:
            for message in _messages(self._process.stdout):
                if "error" in message:
                    self._error = message["error"]
                else:
                    yield message
            self._process.wait()
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def ask_to_stop(self) -> None:
        """Ask it to save and end."""
        self._process.terminate()

    def join(self) -> None:
        """Wait until it has ended, and kill it if it takes too long."""
        try:
            self._process.wait(SECONDS_TO_SAVE)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def trouble(self) -> str | None:
        """Say why an ended process is not worth another try; None if it was killed or stopped."""
        code = self._process.returncode
        if code == TenfoldError.exit_code:
            return self._error
        if code > 0 and code != Interrupted.exit_code:
            return f"ended with code {code} ({_last_line(self._folder / 'stderr.txt')})"
        return None

    @property
    def code(self) -> int:
        """Exit code of the ended process; below 0 it is the signal that killed it."""
        return self._process.returncode


def _messages(lines: Iterable[str]) -> Iterator[Message]:
    """Read JSON lines; the last one of a killed process may be torn, and is left out."""
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def _last_line(path: Path) -> str:
    lines = path.read_text("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def work(folder: Path) -> int:
    """Be the far end: do the job in `folder` and return the exit code, as of the command line."""
    tell = _only_messages_on_stdout()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        with FileLock(folder / "lock"):  # an orphan of a killed run may still be saving
            clear_partials(folder)
            about = json.loads((folder / "job.json").read_text("utf-8"))
            if read_manifest(folder).get("id") == about["id"]:
                return 0  # the orphan finished
            if about["cores"] and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, about["cores"])
            module, _, function = about["task"].partition(":")
            task = getattr(importlib.import_module(module), function)
            result = task(about["description"], folder, tell)
            write_json(folder / MANIFEST, {"id": about["id"], "result": result})
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

    def tell(message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone; stdin says so too
            channel.write(json.dumps(message) + "\n")
            channel.flush()

    return tell


def _stop_with_parent() -> None:
    """Wait until nobody holds the other end of stdin, then ask this process to stop."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)  # a real signal also wakes a process that sleeps


def rank_and_world_size() -> tuple[int, int]:
    """Return which of how many processes this is, counted from 0; without torchrun 0 of 1.

    Raises:
        TenfoldError: WORLD_SIZE is no number, or it says several and RANK is none of them.
    """
    count = _number("WORLD_SIZE", "1", "a whole number from 1")
    if count < 2:
        return 0, 1  # then RANK is somebody else's
    expected = f"a whole number below {count}, the WORLD_SIZE"
    rank = _number("RANK", "", expected)
    if rank >= count:
        raise TenfoldError(f"RANK is {rank} in the environment, expected {expected}")
    return rank, count


def _number(variable: str, default: str, expected: str) -> int:
    text = os.environ.get(variable, default)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise TenfoldError(f"{variable} is {text!r} in the environment, expected {expected}")
    return int(text)
