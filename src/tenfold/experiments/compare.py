"""Cross-validate methods on the same folds; measure time, size and memory of each."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset, save_dataset
from tenfold.data.splits import fold_rows
from tenfold.device import Device
from tenfold.errors import ExperimentError
from tenfold.experiments.baselines import Method
from tenfold.experiments.cross_validation import (
    Cost,
    MethodResult,
    apply_budget,
    estimate_job,
    fit_job,
    makespan,
    read_predicted,
)
from tenfold.experiments.trial import JobProgress, add_resume_hint, failure_reason
from tenfold.formatting import format_duration, pluralize
from tenfold.jobs import LOCAL, Executor, Job, JobFailure, get_executor, run_jobs
from tenfold.metrics import McNemarResult, mcnemar
from tenfold.report.experiment_report import write_compare_page
from tenfold.run_folder import ExperimentFolder, write_csv
from tenfold.training.callbacks import Callback, Status

logger = logging.getLogger(__name__)

COLUMNS: Final = (
    "method", "accuracy", "low", "high", "correct", "n", "train_images", "fit_s",
    "predict_s_per_1000", "model_bytes", "peak_memory_bytes", "reason",
)  # fmt: skip
STATUS_COLUMNS: Final = (
    "method",
    "accuracy",
    "folds",
    "fit, s",
    "1,000 predictions, s",
    "size, kB",
)


@dataclass(frozen=True)
class ComparisonResult:
    """The result of a comparison.

    Attributes:
        methods: most accurate first, then those that failed.
        pairs: McNemar's test for each two methods that did not fail, by their positions in
            `methods`.
        expected_s, took_s: seconds that the fits were expected to take, and took; without those
            that had finished earlier.
    """

    methods: Sequence[MethodResult]
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
    callback: Callback | None = None,
) -> ComparisonResult:
    """Fit every method on every fold, and leave compare.csv and its report in `out`.

    Stopped or killed at any moment, the same call resumes: no finished fit is repeated.

    Args:
        labelled: the images; every method predicts each of them once.
        methods: to compare.
        out: the folder.
        folds: equal parts, each held out in turn.
        seed: of the split into folds.
        budget_s: seconds for all fits; methods that would take too long train on fewer images.
        executor: of the jobs, as `tenfold.jobs.run_jobs` takes it.
        callback: its hook `on_status` is called whenever something changes.

    Raises:
        ExperimentError: the folder holds another comparison, or no method could be fitted.
        DataError: a class has fewer images than there are folds.
        Interrupted: Ctrl-C or SIGTERM; the same call resumes.
    """
    if folds < 2:
        raise ExperimentError(f"--folds {folds}: expected at least 2")
    folder = ExperimentFolder(out, "compare")
    callback = Callback() if callback is None else callback
    splits = CVSplits.create(labelled, folds, seed)
    with folder.lock(), add_resume_hint(callback):
        return _Comparison(splits, methods, folder, get_executor(executor), callback).run(budget_s)


@dataclass(frozen=True)
class CVSplits:
    """The images on which methods are compared, and their folds.

    Attributes:
        labelled: all images.
        folds: each as `fit_job` takes it.
        eval_rows: int64 [n] for each fold, the images that it holds out.
    """

    labelled: Dataset
    folds: Sequence[Mapping[str, int]]
    eval_rows: Sequence[NDArray[np.int64]]

    @classmethod
    def create(cls, labelled: Dataset, folds: int, seed: int) -> "CVSplits":
        """Split images into folds, stratified by class."""
        each = [{"index": index, "folds": folds, "seed": seed} for index in range(folds)]
        return cls(labelled, each, [fold_rows(labelled, **fold)[1] for fold in each])

    @property
    def eval_images(self) -> int:
        """Images of the first fold; the others have about as many."""
        return len(self.eval_rows[0])

    @property
    def train_images(self) -> int:
        """Images outside the first fold."""
        return len(self.labelled) - self.eval_images


class _Comparison:
    """One running comparison; `compare` is the entry point."""

    def __init__(
        self,
        splits: CVSplits,
        methods: Sequence[Method],
        folder: ExperimentFolder,
        executor: Executor,
        callback: Callback,
    ) -> None:
        self.splits, self.folder, self.executor = splits, folder, executor
        self.callback = callback
        self.device = Device.detect()
        self.methods = [MethodResult(method) for method in methods]
        self.identity = {
            "data": splits.labelled.content_hash(),
            "folds": len(splits.folds),
            "seed": splits.folds[0]["seed"],
        }
        self.earlier = folder.claim(self.identity) or {}
        names = {method.name for method in methods}
        earlier_names = [result["method"] for result in self.earlier.get("methods", ())]
        if left_out := [name for name in earlier_names if name not in names]:
            logger.info(
                "compared here earlier and now left out of the table: %s (their fits are kept; "
                "name them in --methods to include them)",
                ", ".join(left_out),
            )
        self.input_file = folder.jobs / "labelled.safetensors"
        self.train_ref = save_dataset(splits.labelled, self.input_file)

    def run(self, budget_s: float | None) -> ComparisonResult:
        """Estimate the times, fit, test the differences, and write everything."""
        self._estimate_costs()
        if budget_s is not None:
            self._apply_budget(budget_s)
        expected_s = self._log_expected_times()
        took_s = self._fit()
        ranked = sorted(self.methods, key=MethodResult.sort_key)
        if ranked[0].score is None:
            raise ExperimentError(
                f"no method could be fitted: {ranked[0].method.name}: {ranked[0].reason}"
            )
        result = ComparisonResult(ranked, self._test_pairs(ranked), expected_s, took_s)
        self._write(result)
        self.input_file.unlink(missing_ok=True)
        return result

    # Expected times

    def _estimate_costs(self) -> None:
        """Fit every method on a few images, to estimate the time of the large fits."""
        count = pluralize(len(self.methods), "method")
        logger.info("fitting %s on a few images, to estimate the time of all fits", count)
        first = self.splits.folds[0]
        jobs = [estimate_job(result.method, self.train_ref, first) for result in self.methods]
        estimates = self._run(jobs, _FitProgress(self, f"{len(jobs)} time estimates"))
        for result, estimate in zip(self.methods, estimates, strict=True):
            if (reason := failure_reason(estimate)) is not None:
                result.reason = reason
                logger.warning("%s failed: %s", result.method.name, reason)
            else:
                result.cost = Cost.from_fits(result.method, estimate["fits"])

    def _apply_budget(self, budget_s: float) -> None:
        """Let slow methods train on fewer images, so that all fits end within the budget.

        The number of workers is that of the first call: so the fractions, and with them the jobs,
        stay the same though a node of a cluster may be gone.
        """
        workers = self.earlier.get("workers") or self._workers()
        self.earlier = {"identity": self.identity, **self.earlier, "workers": workers}
        self.folder.write_summary(self.earlier)
        fittable = self._by_cost()
        fractions = apply_budget(
            [result.cost for result in fittable if result.cost is not None],
            budget_s,
            train_images=self.splits.train_images,
            eval_images=self.splits.eval_images,
            folds=len(self.splits.folds),
            workers=workers,
            classes=len(self.splits.labelled.classes),
        )
        for result, fraction in zip(fittable, fractions, strict=True):
            result.subset_fraction = fraction

    def _log_expected_times(self) -> float:
        """Log the expected time of each fit, and return the seconds until all have ended."""
        fittable, folds = self._by_cost(), self.splits.folds
        for result in fittable:
            expected = (
                f"{result.method.name}: about {format_duration(self._seconds(result))} a fold"
            )
            if result.subset_fraction < 1:
                images = self.splits.train_images
                subset = round(result.subset_fraction * images)
                expected += f", on {subset:,} of {images:,} images to stay within the budget"
            logger.info(expected)
        left = [
            self._seconds(result)
            for result in fittable
            for fold in folds
            if not self._job(result, fold).is_done(self.folder.jobs)
        ]
        if not left:
            return 0.0
        workers, done = self._workers(), len(folds) * len(fittable) - len(left)
        expected_s = makespan(left, workers)
        finished = f"{pluralize(done, 'fit')} finished earlier, the others take " if done else ""
        logger.info(
            f"{len(folds)} folds of {pluralize(len(fittable), 'method')}, {workers} fits at a "
            f"time: {finished}about {format_duration(expected_s)}"
        )
        return expected_s

    def _seconds(self, result: MethodResult) -> float:
        assert result.cost is not None
        train_images = result.subset_fraction * self.splits.train_images
        return result.cost.seconds(train_images, self.splits.eval_images)

    def _by_cost(self) -> list[MethodResult]:
        """Return the methods that can be fitted, fastest first: the table fills early."""
        fittable = [result for result in self.methods if result.cost is not None]
        return sorted(fittable, key=self._seconds)

    def _workers(self) -> int:
        return self.executor.max_concurrent_jobs(self.device.workers)

    # Fits

    def _fit(self) -> float:
        """Fit every method on every fold, and return the seconds that it took."""
        owners = {
            self._job(result, fold): result
            for result in self._by_cost()
            for fold in self.splits.folds
        }
        started = time.perf_counter()
        self._run(list(owners), _FitProgress(self, f"{len(owners)} fits", owners))
        return time.perf_counter() - started

    def _job(self, result: MethodResult, fold: Mapping[str, int]) -> Job:
        return fit_job(result.method, self.train_ref, fold, subset_fraction=result.subset_fraction)

    def _run(self, jobs: Sequence[Job], progress: JobProgress) -> list[Any]:
        return run_jobs(
            jobs,
            self.folder.jobs,
            executor=self.executor,
            input_files=[self.input_file],
            callback=progress,
            workers=self.device.workers,
            cores_per_job=1,  # every method is timed on one core
            keep_going=True,
        )

    def add_fold(self, fitted: MethodResult, result: JobFailure | Mapping[str, Any]) -> None:
        """Take the result of one fold, and log the score of a method that has all."""
        if (reason := failure_reason(result)) is not None:
            fitted.reason = reason
            logger.warning("%s failed: %s", fitted.method.name, reason)
            return
        assert not isinstance(result, JobFailure)
        fitted.folds.append(result)
        if fitted.score is not None and len(fitted.folds) == len(self.splits.folds):
            logger.info("%s: %s, %.1f s per fit", fitted.method.name, fitted.score, fitted.fit_s)

    def show(self, line: str) -> None:
        """Show all methods that have a result."""
        fitted = [result for result in self.methods if result.folds]
        rows = [
            (
                result.method.name,
                "failed" if result.score is None else f"{result.score.accuracy:.4f}",
                f"{len(result.folds)}",
                f"{result.fit_s:.1f}",
                f"{result.predict_s_per_1000:.3f}",
                f"{result.mean('model_bytes') / 1000:,.0f}",
            )
            for result in sorted(fitted, key=MethodResult.sort_key)
        ]
        self.callback.on_status(Status(line, STATUS_COLUMNS, rows))

    # Results

    def _test_pairs(self, ranked: Sequence[MethodResult]) -> dict[tuple[int, int], McNemarResult]:
        """Test each two methods on all images, each predicted once by both."""
        correct = [self._correct(result) for result in ranked if result.score is not None]
        return {
            (first, second): mcnemar(correct[first], correct[second])
            for first, second in combinations(range(len(correct)), 2)
        }

    def _correct(self, result: MethodResult) -> NDArray[np.bool_]:
        """Return bool [N], whether each image was predicted correctly."""
        labels = self.splits.labelled.require_labels()
        correct = np.empty(len(labels), np.bool_)
        for rows, fold in zip(self.splits.eval_rows, self.splits.folds, strict=True):
            predicted = read_predicted(self.folder.jobs / self._job(result, fold).id)
            correct[rows] = predicted == labels[rows]
        return correct

    def _hardware(self) -> str:
        """Return what each fit ran on, in words."""
        if self.executor.is_remote:
            return "one core or GPU of the cluster"
        return "one core" if self.device.workers is None else "one core, networks on a GPU"

    def _write(self, result: ComparisonResult) -> None:
        methods = [each.to_json() for each in result.methods]
        write_csv(self.folder.table, COLUMNS, [_csv_row(each) for each in methods])
        pairs = [
            {"methods": [methods[first]["method"], methods[second]["method"]], **vars(test)}
            for (first, second), test in result.pairs.items()
        ]
        summary = {
            "identity": self.identity,
            "images": len(self.splits.labelled),
            "train_images": self.splits.train_images,
            "hardware": self._hardware(),
            "workers": self.earlier.get("workers"),
            "methods": methods,
            "pairs": pairs,
            "expected_s": result.expected_s,
            "took_s": result.took_s,
        }
        self.folder.write_summary(summary)
        write_compare_page(summary, self.folder.report, self.folder.figures)


def _csv_row(method: Mapping[str, Any]) -> list[Any]:
    """Return the `COLUMNS` of a method's JSON; None where it has no value."""
    low, high = method.get("interval", (None, None))
    return [{**method, "low": low, "high": high}.get(column) for column in COLUMNS]


class _FitProgress(JobProgress):
    """Adds the results of fits to their methods; jobs without an owner are time estimates."""

    def __init__(
        self,
        comparison: _Comparison,
        total: str,
        owners: Mapping[Job, MethodResult] | None = None,
    ) -> None:
        super().__init__()
        self._comparison, self._total, self._owners = comparison, total, owners or {}

    def on_result(self, job: Job, result: JobFailure | Mapping[str, Any]) -> None:
        """Add the result of a fold."""
        if job in self._owners:
            self._comparison.add_fold(self._owners[job], result)

    def on_change(self) -> None:
        """Show the table."""
        self._comparison.show(f"{self.ended} of {self._total} done")
