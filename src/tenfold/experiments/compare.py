"""Comparing methods: all on the same folds, with the time, size and memory that each one takes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset, save_dataset
from tenfold.data.splits import fold_rows
from tenfold.device import Device
from tenfold.errors import ExperimentError
from tenfold.experiments.baselines import Method
from tenfold.experiments.cross_validation import (
    COLUMNS,
    Cost,
    Entry,
    fit_job,
    makespan,
    probe_job,
    rank,
    read_answers,
    row_of,
)
from tenfold.experiments.trial import failure_reason, tolerable_failure
from tenfold.files import write_json
from tenfold.formatting import format_duration, pluralize
from tenfold.jobs import (
    LOCAL,
    Executor,
    Job,
    JobCallback,
    JobFailure,
    max_concurrent_jobs,
    run_jobs,
)
from tenfold.metrics import McNemarResult, mcnemar
from tenfold.report.experiment_report import write_compare_page
from tenfold.run_folder import ExperimentFolder, write_csv
from tenfold.training.console import NullDisplay, Standing, StatusDisplay, add_resume_hint

FEWEST = 500  # images that a method learns from, however small the budget


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison found.

    Attributes:
        entries: best first, then those that failed.
        pairs: for each two that did not fail, by their places in `entries`, how they compare.
        expected_s, took_s: how long the fits that were not done were expected to take, and took.
    """

    entries: Sequence[Entry]
    pairs: Mapping[tuple[int, int], McNemarResult]
    expected_s: float
    took_s: float


def compare(
    labelled: Dataset,
    methods: Sequence[Method],
    out: Path,
    *,
    folds: int = 3,
    seed: int = 0,
    budget_s: float | None = None,
    executor: str | Executor = LOCAL,
    board: StatusDisplay | None = None,
) -> ComparisonResult:
    """Fit every method on every fold, and leave compare.csv and its page in `out`.

    Stopped or killed at any moment, the same call goes on: no finished fit is repeated.

    Args:
        labelled: the images; each is judged once by every method.
        methods: what to compare.
        out: the folder.
        folds: equal parts, each held out in turn.
        seed: of the division.
        budget_s: seconds for all fits; methods that would take more than their share learn from
            fewer images.
        executor: where jobs run: "local", "ray" or "ray://host:port".
        board: is told how it goes.

    Raises:
        ExperimentError: the folder holds another comparison, or no method could be fitted.
        DataError: a class has fewer images than there are folds.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    if folds < 2:
        raise ExperimentError(f"--folds {folds}: expected at least 2")
    folder = ExperimentFolder(out, "compare")
    board = NullDisplay() if board is None else board
    ground = CVSplits.of(labelled, folds, seed)
    with folder.alone(), add_resume_hint(board):
        return _Comparison(ground, methods, folder, executor, board).run(budget_s)


@dataclass(frozen=True)
class CVSplits:
    """The images on which methods are compared, and their folds.

    Attributes:
        labelled: all of them.
        divisions: each fold as `fit_job` takes it.
        judged: int64 [n], the rows of each fold.
    """

    labelled: Dataset
    divisions: Sequence[Mapping[str, int]]
    judged: Sequence[NDArray[np.int64]]

    @classmethod
    def of(cls, labelled: Dataset, folds: int, seed: int) -> "CVSplits":
        """Divide images into folds."""
        divisions = [{"index": index, "folds": folds, "seed": seed} for index in range(folds)]
        return cls(
            labelled,
            divisions,
            [fold_rows(labelled, folds, index, seed)[1] for index in range(folds)],
        )

    @property
    def learned(self) -> int:
        """Images outside a fold."""
        return len(self.labelled) - len(self.judged[0])


class _Comparison:
    """One comparison at work; `compare` is the way in."""

    def __init__(
        self,
        ground: CVSplits,
        methods: Sequence[Method],
        folder: ExperimentFolder,
        executor: str | Executor,
        board: StatusDisplay,
    ) -> None:
        self.ground, self.folder, self.board = ground, folder, board
        self.executor = executor
        self.device = Device.detect()
        self.entries = [Entry(method) for method in methods]
        self.identity = {
            "data": ground.labelled.content_hash(),
            "folds": len(ground.divisions),
            "seed": ground.divisions[0]["seed"],
        }
        self.before = folder.claim(self.identity) or {}
        asked = {method.name for method in methods}
        left_out = [one["method"] for one in self.before.get("methods", ())]
        if left_out := [name for name in left_out if name not in asked]:
            board.note(
                f"compared here before and left out of the table now: {', '.join(left_out)} "
                "(what they learned is kept; name them in --methods to have them back)"
            )
        self.path = folder.jobs / "labelled.safetensors"
        self.learn = save_dataset(ground.labelled, self.path)
        self._owners: dict[Job, Entry] = {}

    def run(self, budget_s: float | None) -> ComparisonResult:
        """Estimate, fit, judge, compare."""
        self._estimate()
        expected_s = self._settle(budget_s)
        took_s = self._fit()
        ranked = sorted(self.entries, key=rank)
        if ranked[0].score is None:
            raise ExperimentError(
                f"no method could be fitted: {ranked[0].method.name}: {ranked[0].reason}"
            )
        found = ComparisonResult(ranked, self._pairs(ranked), expected_s, took_s)
        self._write(found)
        self.path.unlink(missing_ok=True)
        return found

    # The time it will take

    def _estimate(self) -> None:
        """Fit every method on a few images, to tell what many will take."""
        many = pluralize(len(self.entries), "method")
        self.board.note(f"fitting {many} on a few images, to tell what many images will take")
        division = self.ground.divisions[0]
        jobs = [probe_job(entry.method, self.learn, division) for entry in self.entries]
        for entry, result in zip(self.entries, self._run(jobs, "small fits"), strict=True):
            if (why := failure_reason(result)) is not None:
                entry.reason = why
                self.board.note(f"{entry.method.name} failed: {entry.reason}")
            else:
                entry.cost = Cost.of(entry.method, result["fits"])

    def _settle(self, budget_s: float | None) -> float:
        """Decide who learns from how much, say what each will take, and return the seconds."""
        if budget_s is not None:
            self._fit_into(budget_s)
        for entry in self._in_turn():
            told = f"{entry.method.name}: about {format_duration(self._seconds(entry))} a fold"
            if entry.part < 1:
                some = round(entry.part * self.ground.learned)
                told += f", from {some:,} of {self.ground.learned:,} images for the budget"
            self.board.note(told)
        left = [
            entry
            for entry in self._in_turn()
            for division in self.ground.divisions
            if not self._job(entry, division).is_done(self.folder.jobs)
        ]
        if not left:
            return 0.0
        folds, methods = len(self.ground.judged), len(self._in_turn())
        workers = max_concurrent_jobs(self.executor, self.device.workers)
        expected_s = makespan([self._seconds(entry) for entry in left], workers)
        done = folds * methods - len(left)
        self.board.note(
            f"{folds} folds of {pluralize(methods, 'method')}, {workers} at a time: "
            + (f"{pluralize(done, 'fit')} done before, the others take " if done else "")
            + f"about {format_duration(expected_s)}"
        )
        return expected_s

    def _fit_into(self, budget_s: float) -> None:
        """Take images from whoever takes longest, until all fits end within the budget.

        It counts with as many at a time as when it was first asked: so the parts, and with them
        the jobs, stay the same though a node may be gone.
        """
        workers = self.before.get("workers") or max_concurrent_jobs(
            self.executor, self.device.workers
        )
        self.before = {**self.before, "identity": self.identity, "workers": workers}
        write_json(self.folder.settings, self.before)

        def in_all(most_s: float) -> float:
            for entry in able:
                assert entry.cost is not None
                part = entry.cost.affordable(most_s, learned, len(self.ground.judged[0]))
                part = max(part, min(1.0, FEWEST / learned))
                entry.part = 1.0 if learned * (1 - part) < classes else part
            fits = [self._seconds(entry) for entry in self._in_turn() for _ in self.ground.judged]
            return makespan(fits, workers)

        able, learned = self._in_turn(), self.ground.learned
        classes = len(self.ground.labelled.classes)
        low, high = 0.0, budget_s
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if in_all(middle) <= budget_s else (low, middle)
        in_all(low)

    def _seconds(self, entry: Entry) -> float:
        assert entry.cost is not None
        return entry.cost.seconds(entry.part * self.ground.learned, len(self.ground.judged[0]))

    def _in_turn(self) -> list[Entry]:
        """Return who can be fitted, quickest first: so the table fills early."""
        able = [entry for entry in self.entries if entry.cost is not None]
        return sorted(able, key=self._seconds)

    # Fitting

    def _fit(self) -> float:
        """Fit all, fill in the results, and return the seconds that it took."""
        self._owners = {
            self._job(entry, division): entry
            for entry in self._in_turn()
            for division in self.ground.divisions
        }
        started = time.perf_counter()
        jobs = list(self._owners)
        for job, result in zip(jobs, self._run(jobs, "fits"), strict=True):
            if isinstance(result, JobFailure):
                self._owners[job].reason = result.reason
        return time.perf_counter() - started

    def _job(self, entry: Entry, division: Mapping[str, int]) -> Job:
        return fit_job(entry.method, self.learn, division, part=entry.part)

    def _run(self, jobs: Sequence[Job], what: str) -> list[Any]:
        """Run jobs and tell how they go."""
        return run_jobs(
            jobs,
            self.folder.jobs,
            executor=self.executor,
            input_files=[self.path],
            callback=_FitProgress(self, f"of {len(jobs)} {what} done"),
            workers=self.device.workers,
            cores_per_job=1,  # every method is timed on one core
            keep_going=True,
        )

    def take(self, job: Job, result: Mapping[str, Any]) -> None:
        """Fill in the result of one fold, and tell of a method when it has all."""
        entry = self._owners.get(job)
        if entry is None:  # a small fit
            return
        if "failed" in result:
            entry.reason = result["failed"]
            self.board.note(f"{entry.method.name} failed: {entry.reason}")
            return
        entry.results.append(result)
        if entry.score is not None and len(entry.results) == len(self.ground.divisions):
            self.board.note(f"{entry.method.name}: {entry.score}, {entry.fit_s:.1f} s a fit")

    # Telling

    def show(self, line: str) -> None:
        """Show how the methods stand."""
        ranked = sorted((entry for entry in self.entries if entry.results), key=rank)
        header = ("method", "accuracy", "folds", "fit, s", "1,000 answers, s", "size, kB")
        rows = [
            (
                entry.method.name,
                "failed" if entry.score is None else f"{entry.score.accuracy:.4f}",
                f"{len(entry.results)}",
                f"{entry.fit_s:.1f}",
                f"{entry.predict_s_per_1000:.3f}",
                f"{entry.mean('bytes') / 1000:,.0f}",
            )
            for entry in ranked
        ]
        self.board.show(Standing(line, header, rows))

    def _pairs(self, ranked: Sequence[Entry]) -> dict[tuple[int, int], McNemarResult]:
        """Test every two methods on all images, each judged once by each."""
        right = [self._is_right(entry) for entry in ranked if entry.score is not None]
        return {
            (one, other): mcnemar(right[one], right[other])
            for one, other in combinations(range(len(right)), 2)
        }

    def _is_right(self, entry: Entry) -> NDArray[np.bool_]:
        labels = self.ground.labelled.require_labels()
        right = np.empty(len(labels), np.bool_)
        for rows, division in zip(self.ground.judged, self.ground.divisions, strict=True):
            answers = read_answers(self.folder.jobs / self._job(entry, division).id)
            right[rows] = answers == labels[rows]
        return right

    def _place(self) -> str:
        if self.executor != LOCAL:
            return "one core or GPU of the cluster"
        return "one core" if self.device.workers is None else "one core, networks on a GPU"

    def _write(self, found: ComparisonResult) -> None:
        told = [entry.to_json() for entry in found.entries]
        write_csv(self.folder.table, COLUMNS, [row_of(one) for one in told])
        pairs = [
            {"methods": [told[one]["method"], told[other]["method"]], **vars(pair)}
            for (one, other), pair in found.pairs.items()
        ]
        about = {
            "identity": self.identity,
            "images": len(self.ground.labelled),
            "learned": self.ground.learned,
            "place": self._place(),
            "workers": self.before.get("workers"),
            "methods": told,
            "pairs": pairs,
            "expected_s": found.expected_s,
            "took_s": found.took_s,
        }
        write_json(self.folder.settings, about)
        write_compare_page(about, self.folder.report, self.folder.figures)


class _FitProgress(JobCallback):
    """Fills in the entries as their fits end."""

    def __init__(self, comparison: _Comparison, of_all: str) -> None:
        self._comparison, self._of_all, self._ended = comparison, of_all, 0

    def on_job_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        self._show()

    def on_job_end(self, job: Job, result: Any) -> None:
        self._ended += 1
        self._comparison.take(job, result)
        self._show()

    def on_job_failure(self, job: Job, failure: JobFailure) -> None:
        self._ended += 1
        tolerable_failure(job, failure)
        self._show()

    def _show(self) -> None:
        self._comparison.show(f"{self._ended} {self._of_all}")
