"""The folder that an experiment leaves, and the one process that may work in it."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.errors import ExperimentError
from tenfold.files import alone_in, write_json, write_text


@dataclass(frozen=True)
class ExperimentFolder:
    """Every name in it, said once; `kind` is "search" or "compare", as the command is called."""

    path: Path
    kind: str

    @property
    def noun(self) -> str:
        """What the experiment is called in a sentence."""
        return {"compare": "comparison"}.get(self.kind, self.kind)

    @property
    def settings(self) -> Path:
        """What the experiment is, what came of it, and all that its page is drawn from."""
        return self.path / f"{self.kind}.json"

    @property
    def table(self) -> Path:
        """The same for spreadsheets: a row for each trial, or for each method."""
        return self.path / f"{self.kind}.csv"

    @property
    def jobs(self) -> Path:
        """A folder for each job."""
        return self.path / "jobs"

    @property
    def study(self) -> Path:
        """Optuna's journal."""
        return self.path / "study.journal"

    @property
    def best(self) -> Path:
        """The winning recipe."""
        return self.path / "best.toml"

    @property
    def report(self) -> Path:
        """The page that tells of it."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Every picture as PNG."""
        return self.path / "figures"

    def read(self) -> dict[str, Any] | None:
        """Return what the settings hold; None if there are none.

        Raises:
            ExperimentError: they are damaged.
        """
        try:
            found = json.loads(self.settings.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            found = None
        if not _is_sound(found):
            raise ExperimentError(
                f"{self.settings}: is damaged, expected it as a {self.noun} writes it; without "
                "it the same command goes on from the finished jobs"
            )
        settings: dict[str, Any] = found
        return settings

    def claim(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make sure that what is here, if anything, is the same experiment; return it.

        Raises:
            ExperimentError: it is another one, or damaged.
        """
        found = self.read()
        if found is None:
            write_json(self.settings, {"identity": identity})
            return None
        before = found["identity"]
        if differing := sorted(key for key in identity if before.get(key) != identity[key]):
            raise ExperimentError(
                f"{self.path}: holds a {self.noun} that differs in {' and '.join(differing)}, "
                "expected the same to go on with it, or another folder in --out"
            )
        return found

    def alone(self) -> AbstractContextManager[None]:
        """Keep everybody else out meanwhile; see `tenfold.files.alone_in`."""
        return alone_in(self.path, self.noun)


def _is_sound(settings: Any) -> bool:
    """Tell whether what an experiment needs to go on has the types that it wrote."""
    if not isinstance(settings, dict) or not isinstance(settings.get("identity"), dict):
        return False
    batches, workers = settings.get("batches", []), settings.get("workers")
    methods = settings.get("methods", [])
    return (
        isinstance(batches, list)
        and all(isinstance(size, int) for size in batches)
        and isinstance(methods, list)
        and all(isinstance(each, dict) and "method" in each for each in methods)
        and isinstance(workers, int | None)
    )


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write rows as CSV, whole or not at all; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
