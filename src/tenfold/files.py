"""Files that are whole or absent, and the names inside a run folder."""

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tenfold.errors import OutputError, RecognizerError


def output_folder(path: Path) -> Path:
    """Make `path` a folder that can be written to, and return it.

    Raises:
        OutputError: something else stands there, or it may not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".tenfold-"):
            pass
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written to ({reason(error)}), expected a writable folder"
        ) from error
    return path


def new_folder(path: Path) -> Path:
    """Make a folder that was not there, and return it: `path`, or path-2, path-3 and so on.

    Raises:
        OutputError: none can be made there.
    """
    output_folder(path.parent)
    for number in count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("counting ends nowhere")


# What tells, in a folder, which kind of work left it. Each has its own report.html, so a folder is
# of one kind.
_SIGNS = {"run": "recipe.toml", "search": "search.json", "comparison": "compare.json"}


@contextmanager
def alone_in(folder: Path, kind: str) -> Iterator[None]:
    """Make `folder`, and keep every other process of ours out of it meanwhile.

    It is taken away again if nothing was left in it.

    Args:
        folder: where the work is done.
        kind: "run", "search" or "comparison".

    Raises:
        OutputError: it cannot be written to, somebody is at work there, or it holds work of
            another kind.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - slow to import

    lock = FileLock(output_folder(folder) / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{folder}: another process is at work there, expected to be alone; wait for it, or "
            "name another folder in --out"
        ) from error
    try:
        clear_partials(folder)
        for other, sign in _SIGNS.items():
            if other != kind and is_there(folder / sign):
                raise OutputError(
                    f"{folder}: holds a {other} ({sign}), expected an empty folder for a {kind}; "
                    "name another one in --out"
                )
        yield
    finally:
        (folder / "lock").unlink(missing_ok=True)  # ours still, so nobody else's
        lock.release()
        with suppress(OSError):
            folder.rmdir()


def clear_partials(folder: Path) -> None:
    """Remove what killed processes left half written in `folder`, which is ours alone."""
    for path in folder.glob(".*.partial*"):
        path.unlink(missing_ok=True)


def is_there(path: Path) -> bool:
    """Tell whether anything stands at `path`; not where we may not look, or no name is so long."""
    try:
        return path.exists()
    except OSError:
        return False


@contextmanager
def no_empty_folders(out: Path) -> Iterator[None]:
    """Where nothing comes of `out`, remove the folders that were made for it."""
    new = [folder for folder in out.parents if not is_there(folder)]
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something else was put there
            for folder in new:
                folder.rmdir()
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success flush it to disk and rename it to `path`.

    Readers see the old file or the new one, never half of it, and a failure leaves no litter.
    The temporary name keeps the suffix, since some writers choose the format by it.

    Raises:
        OutputError: the folder or the disk does not take the file.
    """
    if not path.name or (is_there(path) and not path.is_file()):
        raise OutputError(f"{path}: is no ordinary file, expected the name of one to write")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # for whom it is, the umask decides
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # some writers make files for their owner alone
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({reason(error)})") from error
    finally:
        with suppress(OSError):  # the folder may be the very thing that is wrong
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the rename itself; a no-op where folders cannot be opened (Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def reason(error: OSError) -> str:
    """The system's own words for `error`, in lower case: 'no space left on device'."""
    return (error.strerror or str(error)).lower()


@dataclass(frozen=True)
class RunFolder:
    """The folder that one training leaves: every name in it, said once."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe; `--recipe` takes it and repeats the run."""
        return self.path / "recipe.toml"

    @property
    def environment(self) -> Path:
        """Machine, versions, precision and threads that the run had."""
        return self.path / "environment.json"

    @property
    def data(self) -> Path:
        """Fingerprints of the data and what the checks found."""
        return self.path / "data.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line for each epoch."""
        return self.path / "metrics.jsonl"

    @property
    def steps(self) -> Path:
        """One JSON object a line for each few steps."""
        return self.path / "steps.jsonl"

    def history(self) -> list[dict[str, Any]]:
        """Read the finished epochs from `metrics`.

        Raises:
            RecognizerError: the file is missing or damaged.
        """
        try:
            return [json.loads(line) for line in self.metrics.read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise RecognizerError(
                f"{self.metrics}: is missing or damaged, expected an object for each epoch; "
                "without the folder that it is in, --resume trains that network anew"
            ) from error

    @property
    def tensorboard(self) -> Path:
        """Event files: `tensorboard --logdir` reads this folder."""
        return self.path / "tensorboard"

    @property
    def checkpoint(self) -> Path:
        """All that `--resume` needs."""
        return self.path / "checkpoint.safetensors"

    @property
    def recognizer(self) -> Path:
        """The recognizer that the run kept."""
        return self.path / "recognizer.safetensors"

    @property
    def members(self) -> Path:
        """Of an ensemble: a run folder for each member, named by its job."""
        return self.path / "members"

    @property
    def elapsed(self) -> Path:
        """Of an ensemble: the seconds that its training took, in all its sittings."""
        return self.members / "elapsed.json"

    @property
    def held_out(self) -> Path:
        """What was said of the images held out; in an ensemble by those that held them out."""
        return self.path / "held-out.safetensors"

    @property
    def predictions(self) -> Path:
        """What was said of the images to predict."""
        return self.path / "predictions.safetensors"

    @property
    def teacher(self) -> Path:
        """The run folder of the recognizer that this one learned from, if it was trained for it."""
        return self.path / "teacher"

    @property
    def first(self) -> Path:
        """The run folder of the first training, where a second one learned from its answers."""
        return self.path / "first"

    @property
    def is_free(self) -> bool:
        """Whether nothing was trained here, not even in part."""
        parts = (self.checkpoint, self.recognizer, self.members, self.teacher, self.first)
        return not any(is_there(part) for part in parts)

    def check_is_free(self) -> None:
        """Make sure that nothing was trained here.

        Raises:
            OutputError: something was.
        """
        if not self.is_free:
            raise OutputError(
                f"{self.path}: already holds a run, expected an empty folder, or --resume to go "
                "on with that run"
            )

    def forget_answers(self) -> None:
        """Remove what was said and told by a recognizer that is about to be replaced."""
        for path in (
            self.submission,
            self.submitted,
            self.predictions,
            self.held_out,
            self.score,
            self.summary,
            self.report,
        ):
            path.unlink(missing_ok=True)

    @property
    def submission(self) -> Path:
        """What the competition takes."""
        return self.path / "submission.csv"

    @property
    def summary(self) -> Path:
        """Validation score; seconds of training, and of the whole unless it was resumed."""
        return self.path / "run.json"

    @property
    def score(self) -> Path:
        """Accuracy against known truth, where there was any."""
        return self.path / "score.json"

    @property
    def submitted(self) -> Path:
        """What became of `submission` on Kaggle."""
        return self.path / "submitted.json"

    @property
    def examples(self) -> Path:
        """A few images of each class that was learned, for the pictures."""
        return self.path / "examples.safetensors"

    @property
    def report(self) -> Path:
        """The page that tells the story of the run."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Every picture as PNG."""
        return self.path / "figures"
