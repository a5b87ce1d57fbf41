"""The process of one job, seen from both ends.

It is `python -P -m tenfold.jobs FOLDER`: it reads `job.json`, writes messages as JSON lines to
stdout, and stops, with its state saved, when its stdin closes: also by the death of whoever started
it.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from tenfold.errors import Interrupted, TenfoldError
from tenfold.files import clear_partials, output_folder, write_json
from tenfold.jobs.job import MANIFEST, Job, Message, Tell, read_manifest

# A job is one process, also where a launcher told ours that it is one of several.
OF_A_LAUNCHER = {"WORLD_SIZE", "RANK", "LOCAL_RANK"}
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
        given = {name: value for name, value in os.environ.items() if name not in OF_A_LAUNCHER}
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

    def make_end(self) -> None:
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
