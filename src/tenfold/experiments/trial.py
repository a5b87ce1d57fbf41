"""One training by a recipe, judged on images that it did not learn: a job.

Trials of a search and the trainings that try its winner again are this, and so are the networks
in a comparison.
"""

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from tenfold.answers import Answers
from tenfold.data import shelf
from tenfold.data.dataset import Dataset
from tenfold.data.splits import fold, split_rows
from tenfold.errors import JobError, RecipeError
from tenfold.files import RunFolder
from tenfold.jobs import Failed, Job, Message, Tell
from tenfold.recipe import ABOUT, Recipe
from tenfold.report.metrics import evaluate
from tenfold.training.progress import Teller
from tenfold.training.single import learn_one

TASK = "tenfold.experiments.trial:train_and_judge"


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
        fold: "index", "folds" and "seed" of `tenfold.data.splits.fold`.
        part: of the images to learn from, stratified by class.
    """
    description = {
        "recipe": recipe.model_dump(mode="json", exclude=ABOUT),
        "learn": dict(learn),
        "judge": None if judge is None else dict(judge),
        "fold": None if fold is None else dict(fold),
        "part": part,
    }
    return Job(TASK, description, name)


def train_and_judge(description: Mapping[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    """Do the job that `trial_job` described.

    Returns:
        "correct" and "n" on the images judged, "loss" in nats, "images" learned from, "epochs" and
        "train_s"; or "failed" with a sentence if this recipe cannot be trained.
    """
    recipe = Recipe.model_validate(description["recipe"])
    learn, judge = images_of(description, folder.parent)
    learn = some_of(learn, description["part"], recipe.split_seed)
    run = RunFolder(folder)
    try:
        learned = learn_one(learn, recipe, run, listener=Teller(tell))
    except RecipeError as error:
        return {"failed": "; ".join(error.problems)}
    probabilities = learned.recognizer.probabilities(judge)
    found = evaluate(probabilities, judge.known_labels(), judge.classes)
    Answers.of(judge, probabilities, data=judge.fingerprint()).save(run.predictions)
    run.checkpoint.unlink(missing_ok=True)  # the largest file, and nobody goes on from here
    return {
        "correct": found.score.correct,
        "n": found.score.n,
        "loss": found.loss,
        "images": len(learn),
        "epochs": len(learned.history),
        "train_s": learned.train_s,
    }


def images_of(description: Mapping[str, Any], shelf_folder: Path) -> tuple[Dataset, Dataset]:
    """Return the images to learn from and those to judge by, as a description has them."""
    learn = shelf.take(shelf_folder, description["learn"])
    if description["judge"] is not None:
        return learn, shelf.take(shelf_folder, description["judge"])
    division = description["fold"]
    rows, held_out = fold(learn, division["folds"], division["index"], division["seed"])
    return learn.select(rows), learn.select(held_out)


def some_of(dataset: Dataset, part: float, seed: int) -> Dataset:
    """Return `part` of the images, stratified by class; all where next to all are asked for."""
    if len(dataset) - ceil(part * len(dataset)) < len(dataset.classes):
        return dataset
    _, rows = split_rows(dataset, part, seed)
    return dataset.select(rows)


def why_failed(result: Failed | Mapping[str, Any]) -> str | None:
    """Return why a job of an experiment came to nothing; None if it came to something."""
    return result.reason if isinstance(result, Failed) else result.get("failed")


def bearable(job: Job, message: Message) -> Failed:
    """Return the failure of one job that an experiment can live with.

    What cannot be trained says so in its result, and a process that is killed may be too large for
    the memory. Anything else would befall the other jobs too: a full disk, or a bug of ours.

    Raises:
        JobError: it is such a thing. What is finished is kept.
    """
    failure = Failed(message["failed"], message["kind"])
    if failure.kind == "error":
        raise JobError(f"{job.name}: {failure.reason}")
    return failure
