"""One job in a process of its own: the parent's handle on it, and what the process does.

The two talk through pipes. The child writes JSON lines to its stdout, {"progress": ...} for what
its task emits and {"error": ...} for the sentence that it fails with; what libraries print goes to
stderr.txt in the job's folder. Stdin carries nothing: when it closes, the parent is gone and the
child saves and stops. The exit code is that of the command line, see `tenfold.errors`.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.errors import Interrupted, TenfoldError
from tenfold.files import clear_partials, folder_lock, lock_errors, output_folder, write_json
from tenfold.jobs.job import MANIFEST, TORCHRUN_VARS, Emit, Job, JobFailure
from tenfold.machine import memory_sentence
from tenfold.signals import handle_signals

SHUTDOWN_TIMEOUT_S = 60.0  # for saving, before a stopped process is killed
_COMMAND = "from tenfold.jobs.process import main; main()"

RunTask = Callable[[Job, Path, Emit], Any]


class JobProcess:
    """The parent's handle: starts the process, reads its progress, stops it.

    Args:
        job: what it does.
        folder: the job's own folder is made in it.
        threads: that it may compute with.
        cores: that it is bound to; None leaves that to the system.
        environment: variables that it gets besides those of this process.
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
        spec = {"task": job.task, "description": job.description, "cores": cores}
        write_json(self._folder / "job.json", spec)
        self._error = ""
        inherited = {name: value for name, value in os.environ.items() if name not in TORCHRUN_VARS}
        with (self._folder / "stderr.txt").open("w", encoding="utf-8") as stderr:
            self._process = subprocess.Popen(
                # -P: a random.py in the current folder must not shadow Python's own
                [sys.executable, "-P", "-c", _COMMAND, str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=inherited | {"OMP_NUM_THREADS": str(threads)} | dict(environment or {}),
                start_new_session=True,  # Ctrl-C reaches the parent alone, which stops its children
            )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def exit_code(self) -> int:
        """Exit code of the ended process; a negative one is the signal that killed it."""
        return self._process.returncode

    def progress(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the task emits until the process ends, then close the pipes."""
        assert self._process.stdout is not None
        try:
            for message in _json_lines(self._process.stdout):
                if "error" in message:
                    self._error = message["error"]
                else:
                    yield message["progress"]
            self._process.wait()
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def terminate(self) -> None:
        """Ask it to save and end."""
        self._process.terminate()

    def join(self) -> None:
        """Wait until it has ended, and kill it if that takes too long."""
        try:
            self._process.wait(SHUTDOWN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def failure(self) -> JobFailure | None:
        """Return why another attempt is pointless; None if the process was killed or stopped."""
        code = self._process.returncode
        if code == TenfoldError.exit_code:
            return JobFailure(self._error)
        if code > 0 and code != Interrupted.exit_code:
            last_line = _last_line(self._folder / "stderr.txt")
            return JobFailure(f"ended with code {code} ({last_line})")
        return None


def _json_lines(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Parse JSON lines; the last one of a killed process may be torn, and is left out."""
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def _last_line(path: Path) -> str:
    lines = path.read_text("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no message")


def call_task(job: Job, folder: Path, emit: Emit) -> Any:
    """Import the task of `job` and call it with the job's own `folder`."""
    module, _, function = job.task.partition(":")
    return getattr(importlib.import_module(module), function)(job.description, folder, emit)


def run_job(job: Job, folder: Path, emit: Emit, run_task: RunTask = call_task) -> None:
    """Run `job` in this process and leave its result under `folder`, unless it is done already.

    Args:
        job: what to do.
        folder: the job's own folder is made in it.
        emit: takes the task's progress.
        run_task: runs the task and returns its result.

    Raises:
        TenfoldError: as the task.
        OutputError: the folder cannot be written to.
    """
    own = output_folder(folder / job.id)
    lock = folder_lock(own)
    with lock_errors(own):
        lock.acquire()  # an orphan of a killed run may still be saving
    try:
        clear_partials(own)
        if job.is_done(folder):  # the orphan has finished
            _remove_lock(own)
            return
        result = run_task(job, own, emit)
        write_json(own / MANIFEST, {"id": job.id, "result": result})
        _remove_lock(own)
    finally:
        lock.release()


def _remove_lock(folder: Path) -> None:
    """Remove the lock of a job that is done: whoever waits for it finds the result."""
    with contextlib.suppress(OSError):  # Windows keeps a file that is open
        (folder / "lock").unlink(missing_ok=True)


def main() -> None:
    """Run the job whose folder is the first argument, as the process of a `JobProcess`."""
    sys.exit(_run_as_child(Path(sys.argv[1])))


def _run_as_child(own_folder: Path) -> int:
    send = _reserve_stdout()
    handle_signals()
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        spec = json.loads((own_folder / "job.json").read_text("utf-8"))
        if spec["cores"] and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, spec["cores"])
        job = Job(spec["task"], spec["description"])
        run_job(job, own_folder.parent, lambda progress: send({"progress": progress}))
    except TenfoldError as error:
        send({"error": str(error)})
        return error.exit_code
    except (Interrupted, KeyboardInterrupt):
        return Interrupted.exit_code
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if (sentence := memory_sentence(error)) is None:
            raise
        send({"error": sentence})
        return TenfoldError.exit_code
    return 0


def _reserve_stdout() -> Callable[[Mapping[str, Any]], None]:
    """Keep stdout for JSON lines, and send what libraries print to stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone; stdin says so too
            channel.write(json.dumps(message) + "\n")
            channel.flush()

    return send


def _stop_with_parent() -> None:
    """Wait until the parent's end of stdin is closed, then ask this process to stop."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)  # a real signal also wakes a process that sleeps
