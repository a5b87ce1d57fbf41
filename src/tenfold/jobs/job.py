"""What a job is, and how its folder tells that it is done."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tenfold.interrupt import StopRequest

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
class Work:
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
    supplies: Sequence[Path]
    workers: int | None
    cores_each: int | None
    keep_going: bool
    may_start: Callable[[], bool]
    hear: Hear
    stop: StopRequest


@dataclass(frozen=True)
class Failed:
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


NOT_BEGUN = Failed("not begun, the time was up", "not begun")
