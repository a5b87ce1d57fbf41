"""One training by a recipe, evaluated on images that were not trained on: a job.

The trials of a search are such jobs, one for each fold and rung, and so are the trainings of the
paired test that follows it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset, load_dataset
from tenfold.data.splits import fold_rows, split_rows
from tenfold.errors import Interrupted, JobError, RecipeError
from tenfold.experiments.halving import Eta, Rung, RungResult, Trial
from tenfold.formatting import pluralize
from tenfold.jobs import SKIPPED, Emit, Job, JobCallback, JobFailure
from tenfold.metrics import AccuracyDifference, accuracy_difference, evaluate_probabilities
from tenfold.predictions import Predictions
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback, JobReporter
from tenfold.training.loop import fit_single

logger = logging.getLogger(__name__)

TASK = "tenfold.experiments.trial:train_and_evaluate_trial"

JobResult = JobFailure | Mapping[str, Any]


def trial_job(
    name: str,
    recipe: Recipe,
    train_ref: Mapping[str, str],
    *,
    eval_ref: Mapping[str, str] | None = None,
    fold: Mapping[str, int] | None = None,
    subset_fraction: float = 1.0,
) -> Job:
    """Describe one training.

    Args:
        name: for messages.
        recipe: of one network.
        train_ref: reference to the images to train on, saved beside the jobs.
        eval_ref: likewise to those to evaluate on; None holds a fold of the first out instead:
        fold: "index", "folds" and "seed" of `tenfold.data.splits.fold_rows`.
        subset_fraction: of the images to train on, stratified by class.
    """
    description = {
        "recipe": recipe.model_dump(mode="json", exclude=METADATA_FIELDS),
        "train": dict(train_ref),
        "eval": None if eval_ref is None else dict(eval_ref),
        "fold": None if fold is None else dict(fold),
        "subset_fraction": subset_fraction,
    }
    return Job(TASK, description, name)


def train_and_evaluate_trial(
    description: Mapping[str, Any], folder: Path, emit: Emit
) -> dict[str, Any]:
    """Do the job that `trial_job` described.

    Returns:
        "correct" and "n" on the images held out, "loss" in nats, "train_images", "epochs" and
        "train_s"; or "failed" with the reason if this recipe cannot be trained.
    """
    recipe = Recipe.model_validate(description["recipe"])
    train_set, eval_set = load_split(description, folder.parent)
    train_set = subsample(train_set, description["subset_fraction"], recipe.split_seed)
    run = RunFolder(folder)
    try:
        trained = fit_single(train_set, recipe, run, callbacks=[JobReporter(emit)])
    except RecipeError as error:
        return {"failed": "; ".join(error.problems)}
    trained.recognizer.save(run.recognizer)
    probabilities = trained.recognizer.predict_proba(eval_set)
    evaluation = evaluate_probabilities(probabilities, eval_set.require_labels(), eval_set.classes)
    Predictions.from_probabilities(
        eval_set, probabilities, dataset_sha256=eval_set.content_hash()
    ).save(run.predictions)
    run.checkpoint.unlink(missing_ok=True)  # the largest file, and no training resumes from it
    return {
        "correct": evaluation.score.correct,
        "n": evaluation.score.n,
        "loss": evaluation.loss,
        "train_images": len(train_set),
        "epochs": len(trained.history),
        "train_s": trained.train_s,
    }


def load_split(description: Mapping[str, Any], folder: Path) -> tuple[Dataset, Dataset]:
    """Return the images to train on and those to evaluate on that a job's description names.

    Args:
        description: with "train", "eval" and "fold" as `trial_job` has them.
        folder: where the datasets are saved.
    """
    labelled = load_dataset(folder, description["train"])
    if description["eval"] is not None:
        return labelled, load_dataset(folder, description["eval"])
    fold = description["fold"]
    train_rows, eval_rows = fold_rows(labelled, fold["folds"], fold["index"], fold["seed"])
    return labelled.select(train_rows), labelled.select(eval_rows)


def subsample(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Return a fraction of the images, stratified by class.

    All are returned where fewer would be left out than there are classes.
    """
    if len(dataset) - ceil(fraction * len(dataset)) < len(dataset.classes):
        return dataset
    _, rows = split_rows(dataset, fraction, seed)
    return dataset.select(rows)


def failure_reason(result: JobResult) -> str | None:
    """Return why a job of an experiment failed; None if it did not."""
    return result.reason if isinstance(result, JobFailure) else result.get("failed")


def tolerable_failure(job: Job, failure: JobFailure) -> JobFailure:
    """Return a failure of one job that the experiment survives.

    A recipe that cannot be trained says so in its result, and a process that is killed may need
    too much memory. Any other failure would happen to the other jobs too: a full disk, or a bug.

    Raises:
        JobError: the failure is of the other kind. Finished jobs are kept.
    """
    if failure.kind == "error":
        raise JobError(f"{job.name}: {failure.reason}")
    return failure


@contextmanager
def add_resume_hint(callback: Callback) -> Iterator[None]:
    """Let an interrupt say how to resume, and tear down `callback` at the end."""
    try:
        yield
    except Interrupted as interrupt:
        raise Interrupted(f"{interrupt}; the same command resumes from there") from interrupt
    finally:
        callback.teardown()


class JobProgress(JobCallback):
    """Counts the jobs of an experiment that have ended, and raises what it does not survive.

    Attributes:
        started: the jobs that ran, and were not done before.
        ended: how many are done, failed or skipped.
    """

    def __init__(self) -> None:
        self.started: set[Job] = set()
        self.ended = 0

    def on_job_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """Remember that the job runs."""
        self.started.add(job)
        self.on_change()

    def on_job_end(self, job: Job, result: Any) -> None:
        """Count the job."""
        self.ended += 1
        self.on_result(job, result)
        self.on_change()

    def on_job_failure(self, job: Job, failure: JobFailure) -> None:
        """Count the job, if the experiment survives the failure."""
        self.on_job_end(job, tolerable_failure(job, failure))

    def on_result(self, job: Job, result: JobResult) -> None:
        """A job ended; subclasses take its result."""

    def on_change(self) -> None:
        """A job runs or ended; subclasses show it."""


class RungProgress(JobProgress):
    """Updates trials as the jobs of a rung run and end."""

    def __init__(
        self,
        rung: Rung,
        owners: Mapping[Job, Sequence[Trial]],
        folds: int,
        on_change: Callable[[], None],
        eta: Eta | None,
    ) -> None:
        super().__init__()
        self._rung, self._owners, self._folds = rung, owners, folds
        self._on_change, self._eta = on_change, eta
        self._results: dict[int, list[JobResult]] = {}

    def on_job_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """Mark the trials as running."""
        for trial in self._owners[job]:
            trial.state = "running"
        super().on_job_progress(job, progress)

    def on_result(self, job: Job, result: JobResult) -> None:
        """Keep the result of a fold, and update a trial that has all."""
        if self._eta is not None:
            add = self._eta.add_done if job in self.started else self._eta.add_skipped
            add(self._rung.budget_fraction)
        for trial in self._owners[job]:
            results = self._results.setdefault(trial.number, [])
            results.append(result)
            if len(results) == self._folds:
                _update(trial, results, self._rung)

    def on_change(self) -> None:
        """Pass it on."""
        self._on_change()


def _update(trial: Trial, results: Sequence[Any], rung: Rung) -> None:
    """Take the results of all folds of a trial on a rung."""
    if SKIPPED in results:
        trial.state = "out of time" if trial.results else "skipped"
    elif reasons := [reason for reason in map(failure_reason, results) if reason is not None]:
        trial.state, trial.reason = "failed", reasons[0]
        logger.warning("trial %d failed: %s", trial.number, reasons[0])
    else:
        trial.results.append(RungResult.from_folds(results, rung.budget_fraction))
        trial.state = "waiting"


@dataclass(frozen=True)
class PairedTest:
    """Baseline and winner, both trained again on the same seeds and evaluated on the same images.

    Attributes:
        n: test images, which took no part in the search.
        baseline, winner: accuracy of each on them, by seed.
        difference: winner minus baseline.
    """

    n: int
    baseline: tuple[float, ...]
    winner: tuple[float, ...]
    difference: AccuracyDifference

    @property
    def is_better(self) -> bool:
        """Whether the interval of the difference is above 0."""
        return self.difference.low > 0

    def summary(self) -> str:
        """Return the result in words."""
        difference = self.difference
        result = (
            f"on {pluralize(self.n, 'test image')}, {pluralize(len(self.baseline), 'seed')}: "
            f"baseline {np.mean(self.baseline):.4f}, winner {np.mean(self.winner):.4f}, difference "
            f"{difference.mean:+.4f} "
            f"(95% interval {difference.low:+.4f} to {difference.high:+.4f})"
        )
        if self.is_better:
            return f"{result}: the winner is better"
        if difference.high < 0:
            return f"{result}: the winner is worse, its lead in the search was sampling variance"
        return f"{result}: no significant difference, its lead may be sampling variance"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "n": self.n,
            "baseline": list(self.baseline),
            "winner": list(self.winner),
            "difference": vars(self.difference),
            "is_better": self.is_better,
            "summary": self.summary(),
        }


def paired_test_jobs(
    recipes: Mapping[str, Recipe],
    seeds: int,
    train_ref: Mapping[str, str],
    eval_ref: Mapping[str, str],
) -> dict[str, list[Job]]:
    """Describe the trainings of "baseline" and "winner" on each seed from 0 on."""
    return {
        which: [
            trial_job(
                f"{which}, seed {seed}",
                recipe.model_copy(update={"seed": seed}),
                train_ref,
                eval_ref=eval_ref,
            )
            for seed in range(seeds)
        ]
        for which, recipe in recipes.items()
    }


def read_paired_test(jobs: Mapping[str, Sequence[Job]], folder: Path) -> PairedTest:
    """Return the result of the finished `paired_test_jobs` in `folder`."""
    baseline, winner = (
        np.stack([_correct(folder / job.id) for job in jobs[which]])
        for which in ("baseline", "winner")
    )
    return PairedTest(
        n=baseline.shape[1],
        baseline=tuple(baseline.mean(axis=1).tolist()),
        winner=tuple(winner.mean(axis=1).tolist()),
        difference=accuracy_difference(baseline, winner),
    )


def _correct(folder: Path) -> NDArray[np.bool_]:
    """Return bool [N], whether each prediction of a job is correct."""
    predictions = Predictions.load(RunFolder(folder).predictions)
    assert predictions.labels is not None
    correct: NDArray[np.bool_] = predictions.predicted == predictions.labels
    return correct
