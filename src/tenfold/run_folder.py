"""What lies in the folder of a run, and in that of a search or comparison: every name, once."""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tenfold.artifact import ArtifactSchema, parse_json, read_text, validate_artifact
from tenfold.errors import ExperimentError, OutputError, RecognizerError
from tenfold.files import check_format, exclusive_lock, path_exists, write_json, write_text

RUN_FORMAT: Final = "tenfold-run-2"


@dataclass(frozen=True)
class RunFolder:
    """The folder that one training leaves: every name in it."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe; `--recipe` takes it and repeats the run."""
        return self.path / "recipe.toml"

    @property
    def environment(self) -> Path:
        """Format of the folder, and device, versions, precision and threads of the run."""
        return self.path / "environment.json"

    @property
    def data(self) -> Path:
        """Content hashes of the data, and what the checks found."""
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
            rows = [parse_json(line) for line in read_text(self.metrics).splitlines()]
            return [validate_artifact(row, ArtifactSchema) for row in rows]
        except (OSError, ValueError) as error:
            raise RecognizerError(
                f"{self.metrics}: is missing or damaged, expected an object for each epoch; "
                "without the folder that it is in, --resume trains that network again"
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
        """The trained recognizer."""
        return self.path / "recognizer.safetensors"

    @property
    def members(self) -> Path:
        """Of an ensemble: a run folder for each member, named by its job."""
        return self.path / "members"

    @property
    def elapsed(self) -> Path:
        """Of an ensemble: the seconds that its training took, in all sessions."""
        return self.members / "elapsed.json"

    @property
    def validation(self) -> Path:
        """Predictions for the validation images; in an ensemble by members that held them out."""
        return self.path / "validation.safetensors"

    @property
    def seen_images(self) -> Path:
        """Fingerprints of the images that were trained and validated on."""
        return self.path / "seen-images.safetensors"

    @property
    def predictions(self) -> Path:
        """Predictions for the test images."""
        return self.path / "predictions.safetensors"

    @property
    def teacher(self) -> Path:
        """The run folder of the teacher, if it was trained for this run."""
        return self.path / "teacher"

    @property
    def pseudo_label_stage(self) -> Path:
        """The run folder of the first training, whose predictions became pseudo-labels."""
        return self.path / "pseudo-label-stage"

    def check_format(self) -> None:
        """Make sure that the run, if there is one, was written in this version's format.

        Raises:
            RecognizerError: an older or newer version of tenfold wrote it.
        """
        if not path_exists(self.environment):
            return
        try:
            environment = parse_json(read_text(self.environment))
        except (OSError, ValueError):
            return  # damaged: whoever reads it says so
        if isinstance(environment, dict):
            check_format(self.path, str(environment.get("format", "tenfold-run-1")), RUN_FORMAT)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was trained here, not even in part."""
        parts = (
            self.checkpoint,
            self.recognizer,
            self.members,
            self.teacher,
            self.pseudo_label_stage,
        )
        return not any(path_exists(part) for part in parts)

    def check_is_empty(self) -> None:
        """Make sure that nothing was trained here.

        Raises:
            OutputError: something was.
        """
        if not self.is_empty:
            raise OutputError(
                f"{self.path}: already holds a run, expected an empty folder, or --resume to "
                "continue that run"
            )

    def remove_stale_outputs(self) -> None:
        """Remove the outputs of a recognizer that is about to be replaced."""
        for path in (
            self.submission,
            self.kaggle_result,
            self.predictions,
            self.validation,
            self.score,
            self.summary,
            self.report,
        ):
            path.unlink(missing_ok=True)

    @property
    def submission(self) -> Path:
        """The predictions as the competition takes them."""
        return self.path / "submission.csv"

    @property
    def summary(self) -> Path:
        """Validation score; seconds of training, and of the whole unless it was resumed."""
        return self.path / "run.json"

    @property
    def score(self) -> Path:
        """Accuracy against the test labels, where they are known."""
        return self.path / "score.json"

    @property
    def kaggle_result(self) -> Path:
        """The score of `submission` on Kaggle."""
        return self.path / "kaggle.json"

    @property
    def examples(self) -> Path:
        """A few training images of each class, for the figures."""
        return self.path / "examples.safetensors"

    @property
    def report(self) -> Path:
        """The report of the run."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Every figure as PNG."""
        return self.path / "figures"


EXPERIMENT_FORMATS = {"search": "tenfold-search-2", "compare": "tenfold-comparison-2"}


@dataclass(frozen=True)
class ExperimentFolder:
    """The folder of an experiment; `kind` is "search" or "compare", the name of its command."""

    path: Path
    kind: str

    @property
    def noun(self) -> str:
        """What the experiment is called in a sentence."""
        return {"compare": "comparison"}.get(self.kind, self.kind)

    @property
    def format(self) -> str:
        """Name and version of the format of `summary`."""
        return EXPERIMENT_FORMATS[self.kind]

    @property
    def summary(self) -> Path:
        """What identifies the experiment, its results, and everything that the report shows."""
        return self.path / f"{self.kind}.json"

    @property
    def table(self) -> Path:
        """The results for spreadsheets: a row for each trial, or for each method."""
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
        """The report, as HTML."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Every figure as PNG."""
        return self.path / "figures"

    def read(self) -> dict[str, Any] | None:
        """Return what `summary` holds; None if there is no such file.

        Raises:
            ExperimentError: it is damaged, or of another version of tenfold.
        """
        try:
            summary = parse_json(read_text(self.summary))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            summary = None
        is_experiment = isinstance(summary, dict) and isinstance(summary.get("identity"), dict)
        if is_experiment:
            self.check_format(summary, str(self.summary))
        if not is_experiment or not _can_resume_from(summary):
            raise ExperimentError(
                f"{self.summary}: is damaged, expected it as a {self.noun} writes it; without "
                "it the same command resumes from the finished jobs"
            )
        found: dict[str, Any] = summary
        return found

    def check_format(self, summary: Mapping[str, Any], where: str) -> None:
        """Make sure that a summary from `where` is of this version; the first had no format.

        Raises:
            ExperimentError: it is of another version.
        """
        version_1 = f"{self.format.rpartition('-')[0]}-1"
        try:
            check_format(where, str(summary.get("format", version_1)), self.format)
        except RecognizerError as error:
            raise ExperimentError(str(error)) from None

    def claim(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make sure that the experiment in this folder, if any, is the same; return its summary.

        Raises:
            ExperimentError: it is another one, damaged, or of another version of tenfold.
        """
        earlier = self.read()
        if earlier is None:
            self.write_summary({"identity": identity})
            return None
        known = earlier["identity"]
        if differing := sorted(key for key in identity if known.get(key) != identity[key]):
            raise ExperimentError(
                f"{self.path}: holds a {self.noun} that differs in {' and '.join(differing)}, "
                "expected the same to resume it, or another folder in --out"
            )
        return earlier

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary` with the format, whole or not at all."""
        write_json(self.summary, {"format": self.format, **summary})

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes out; see `tenfold.files.exclusive_lock`."""
        return exclusive_lock(self.path, self.noun)


def _can_resume_from(summary: Mapping[str, Any]) -> bool:
    """Tell whether what an experiment needs to resume has the right types."""
    brackets, workers = summary.get("brackets", []), summary.get("workers")
    methods = summary.get("methods", [])
    return (
        isinstance(brackets, list)
        and all(isinstance(size, int) for size in brackets)
        and isinstance(methods, list)
        and all(isinstance(each, dict) and "method" in each for each in methods)
        and isinstance(workers, int | None)
    )


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write rows as CSV, whole or not at all; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
