"""One training by a recipe, judged on images that it did not learn: a job.

Trials of a search and the trainings that try its winner again are this, and so are the networks
in a comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset, load_dataset
from tenfold.data.splits import fold_rows, split_rows
from tenfold.errors import JobError, RecipeError
from tenfold.formatting import pluralize
from tenfold.jobs import Emit, Job, JobFailure
from tenfold.metrics import AccuracyDifference, accuracy_difference, evaluate_probabilities
from tenfold.predictions import Predictions
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import JobReporter
from tenfold.training.train import fit_single

TASK = "tenfold.experiments.trial:train_and_evaluate_trial"


def trial_job(
    name: str,
    recipe: Recipe,
    learn: Mapping[str, str],
    *,
    judge: Mapping[str, str] | None = None,
    fold: Mapping[str, int] | None = None,
    part: float = 1.0,
) -> Job:
    """Describe one training.

    Args:
        name: for messages.
        recipe: of one network.
        learn: the reference of the images to learn from, laid down beside the jobs.
        judge: likewise those to judge by; or None, and a fold of the first is held out:
        fold: "index", "folds" and "seed" of `tenfold.data.splits.fold_rows`.
        part: of the images to learn from, stratified by class.
    """
    description = {
        "recipe": recipe.model_dump(mode="json", exclude=METADATA_FIELDS),
        "learn": dict(learn),
        "judge": None if judge is None else dict(judge),
        "fold": None if fold is None else dict(fold),
        "part": part,
    }
    return Job(TASK, description, name)


def train_and_evaluate_trial(
    description: Mapping[str, Any], folder: Path, emit: Emit
) -> dict[str, Any]:
    """Do the job that `trial_job` described.

    Returns:
        "correct" and "n" on the images judged, "loss" in nats, "images" learned from, "epochs" and
        "train_s"; or "failed" with a sentence if this recipe cannot be trained.
    """
    recipe = Recipe.model_validate(description["recipe"])
    learn, judge = load_split(description, folder.parent)
    learn = subsample(learn, description["part"], recipe.split_seed)
    run = RunFolder(folder)
    try:
        learned = fit_single(learn, recipe, run, listener=JobReporter(emit))
    except RecipeError as error:
        return {"failed": "; ".join(error.problems)}
    probabilities = learned.recognizer.predict_proba(judge)
    found = evaluate_probabilities(probabilities, judge.require_labels(), judge.classes)
    Predictions.from_probabilities(judge, probabilities, dataset_sha256=judge.content_hash()).save(
        run.predictions
    )
    run.checkpoint.unlink(missing_ok=True)  # the largest file, and nobody goes on from here
    return {
        "correct": found.score.correct,
        "n": found.score.n,
        "loss": found.loss,
        "images": len(learn),
        "epochs": len(learned.history),
        "train_s": learned.train_s,
    }


def load_split(description: Mapping[str, Any], shelf_folder: Path) -> tuple[Dataset, Dataset]:
    """Return the images to learn from and those to judge by, as a description has them."""
    learn = load_dataset(shelf_folder, description["learn"])
    if description["judge"] is not None:
        return learn, load_dataset(shelf_folder, description["judge"])
    division = description["fold"]
    rows, held_out = fold_rows(learn, division["folds"], division["index"], division["seed"])
    return learn.select(rows), learn.select(held_out)


def subsample(dataset: Dataset, part: float, seed: int) -> Dataset:
    """Return `part` of the images, stratified by class; all where next to all are asked for."""
    if len(dataset) - ceil(part * len(dataset)) < len(dataset.classes):
        return dataset
    _, rows = split_rows(dataset, part, seed)
    return dataset.select(rows)


def failure_reason(result: JobFailure | Mapping[str, Any]) -> str | None:
    """Return why a job of an experiment came to nothing; None if it came to something."""
    return result.reason if isinstance(result, JobFailure) else result.get("failed")


def tolerable_failure(job: Job, failure: JobFailure) -> JobFailure:
    """Return the failure of one job that an experiment can live with.

    What cannot be trained says so in its result, and a process that is killed may be too large for
    the memory. Anything else would befall the other jobs too: a full disk, or a bug of ours.

    Raises:
        JobError: it is such a thing. What is finished is kept.
    """
    if failure.kind == "error":
        raise JobError(f"{job.name}: {failure.reason}")
    return failure


@dataclass(frozen=True)
class PairedTest:
    """What came of training both again.

    Attributes:
        n: images set aside.
        start, winner: accuracy of each on them, by seed.
        difference: winner minus start.
    """

    n: int
    start: tuple[float, ...]
    winner: tuple[float, ...]
    difference: AccuracyDifference

    @property
    def better(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return self.difference.low > 0

    def sentence(self) -> str:
        """Say it in words."""
        found = self.difference
        told = (
            f"on {pluralize(self.n, 'image')} set aside, {pluralize(len(self.start), 'seed')}: start "
            f"{np.mean(self.start):.4f}, winner {np.mean(self.winner):.4f}, difference "
            f"{found.mean:+.4f} (95 % interval {found.low:+.4f} to {found.high:+.4f})"
        )
        if self.better:
            return f"{told}: the winner is better"
        if found.high < 0:
            return f"{told}: the winner is worse, what the search saw was luck"
        return f"{told}: no difference is shown, the winner may have been lucky"

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "n": self.n,
            "start": list(self.start),
            "winner": list(self.winner),
            "difference": vars(self.difference),
            "better": self.better,
            "sentence": self.sentence(),
        }


def paired_test_jobs(
    recipes: Mapping[str, Recipe],
    seeds: int,
    learn: Mapping[str, str],
    judge: Mapping[str, str],
) -> dict[str, list[Job]]:
    """Describe the trainings of "start" and "winner" on each seed from 0 on."""
    return {
        who: [
            trial_job(
                f"{who}, seed {seed}",
                recipe.model_copy(update={"seed": seed}),
                learn,
                judge=judge,
            )
            for seed in range(seeds)
        ]
        for who, recipe in recipes.items()
    }


def read_paired_test(jobs: Mapping[str, Sequence[Job]], folder: Path) -> PairedTest:
    """Return what came of finished `jobs` in `folder`."""
    right = {
        who: np.stack([_is_right(folder / job.id) for job in theirs])
        for who, theirs in jobs.items()
    }
    start, winner = right["start"], right["winner"]
    return PairedTest(
        n=start.shape[1],
        start=tuple(start.mean(axis=1).tolist()),
        winner=tuple(winner.mean(axis=1).tolist()),
        difference=accuracy_difference(start, winner),
    )


def _is_right(folder: Path) -> NDArray[np.bool_]:
    answers = Predictions.load(RunFolder(folder).predictions)
    assert answers.labels is not None
    right: NDArray[np.bool_] = answers.predicted == answers.labels
    return right
