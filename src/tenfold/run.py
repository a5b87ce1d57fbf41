"""The main job on one screen: labelled digits in, a submission and the reasons to believe it out.

Start reading here. Each call below is one station of the way; follow any name one hop down.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data import Dataset, check, write_submission
from tenfold.errors import DataError, OutputError
from tenfold.files import path_exists, write_json
from tenfold.formatting import pluralize
from tenfold.jobs import LOCAL, Executor
from tenfold.metrics import Evaluation, Score, evaluate_probabilities, score
from tenfold.predictions import Predictions
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.report.artifacts import Examples
from tenfold.report.run_report import write_report
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback, counting
from tenfold.training.train import begin, learn, pseudo_labelled


@dataclass(frozen=True)
class Trained:
    """What training leaves: the recognizer, and how it does on the images held out of training.

    Attributes:
        recognizer: also saved in the run folder.
        expected: None if the recipe holds no images out.
        train_s: seconds of training and validation, pauses left out.
    """

    recognizer: Recognizer
    expected: Evaluation | None
    train_s: float


def run(
    labelled: Dataset,
    unlabelled: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    truth: NDArray[np.str_] | None = None,
    listener: Callback,
    resume: bool = False,
    executor: str | Executor = LOCAL,
) -> Score | None:
    """Do the main job, leave the run folder `out`, and return the score where truth is known.

    Args:
        labelled: what to learn from.
        unlabelled: what to answer.
        recipe: every choice.
        out: the run folder.
        truth: the right answers by name, str [N], in the order of `unlabelled`; read once, when
            the submission is written, and by nothing else.
        listener: is told how it goes.
        resume: go on with the run in `out`.
        executor: where the members of an ensemble train: "local", "ray" or "ray://host:port".

    Raises:
        TenfoldError: with a sentence, see `tenfold.errors`.
        Interrupted: stopped by the user, state saved.
    """
    started = time.perf_counter()
    folder = RunFolder(out)
    resumed = not folder.is_free
    if not resume:
        folder.check_is_free()
    _check_sizes(labelled, unlabelled)

    extra = _pseudo_labels(
        labelled, unlabelled, recipe, folder, listener=listener, executor=executor
    )
    trained = train_and_evaluate(
        labelled,
        recipe,
        folder,
        listener=listener,
        resume=True,
        unlabelled=unlabelled,
        extra=extra,
        executor=executor,
    )

    recognizer, tell = trained.recognizer, counting(listener.note)
    probabilities, votes = recognizer.predictor().predict_members(unlabelled, on_progress=tell)
    names = recognizer.decode_labels(probabilities.argmax(axis=1))
    write_submission(folder.submission, names)
    listener.note(f"{pluralize(len(names), 'answer')} written to {folder.submission} and read back")
    total_s = None if resumed else time.perf_counter() - started
    _write_summary(folder, recipe, trained, total_s)

    judged = unlabelled if truth is None else unlabelled.with_labels(truth, recognizer.classes)
    answers = Predictions.from_probabilities(
        judged,
        probabilities,
        classes=recognizer.classes,
        member_predictions=votes,
        dataset_sha256=judged.content_hash(),
    )
    answers.save(folder.predictions)
    achieved = None if truth is None else score(answers.predicted, judged.require_labels())
    if achieved is None:
        folder.score.unlink(missing_ok=True)  # of other images, before
    else:
        write_json(folder.score, achieved.to_json())
    write_report(out, note=listener.note)
    return achieved


def train(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    listener: Callback,
    resume: bool = False,
    executor: str | Executor = LOCAL,
) -> Trained:
    """Do the part of the main job before prediction, and report on it.

    Args:
        labelled: what to learn from; a part of it is held out, as the recipe says.
        recipe: every choice.
        folder: where everything goes.
        listener: is told how it goes.
        resume: go on with the run in `folder`.
        executor: where the members of an ensemble train, as for `run`.

    Raises:
        OutputError: `folder` holds answers, which those of a longer training would not be.
        TenfoldError: as `run`.
    """
    started = time.perf_counter()
    if resume and path_exists(folder.submission):
        raise OutputError(
            f"{folder.path}: holds answers already, expected a run of `tenfold train`; go on with "
            "`tenfold run`, which answers anew"
        )
    resumed = not folder.is_free
    trained = train_and_evaluate(
        labelled, recipe, folder, listener=listener, resume=resume, executor=executor
    )
    _write_summary(folder, recipe, trained, None if resumed else time.perf_counter() - started)
    write_report(folder.path, note=listener.note)
    return trained


def train_and_evaluate(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    listener: Callback,
    resume: bool = False,
    unlabelled: Dataset | None = None,
    extra: Dataset | None = None,
    executor: str | Executor = LOCAL,
) -> Trained:
    """Check, split, fit, and judge by the images held out.

    Args:
        labelled: what to learn from; a part of it is held out, as the recipe says.
        recipe: every choice.
        folder: where everything goes.
        listener: is told how it goes.
        resume: go on with the run in `folder`.
        unlabelled: what will be predicted; checked for overlap with `labelled`, never learned.
        extra: images to learn from besides, with the labels that a first training gave them.
        executor: where the members of an ensemble train, as for `run`.
    """
    findings = check(labelled, unlabelled)
    for line in findings.lines():
        listener.note(line)

    learned = learn(
        labelled,
        recipe,
        folder,
        resume=resume,
        extra=extra,
        checks=findings.to_json(),
        listener=listener,
        executor=executor,
    )
    Examples.of(labelled).save(folder.examples)
    expected = None
    if (held_out := learned.held_out) is not None:
        known = held_out.dataset.require_labels()
        expected = evaluate_probabilities(held_out.probabilities, known, held_out.dataset.classes)
        listener.note(f"expected leaderboard score: {expected.score}")
        if caveat := recipe.validation_caveat():
            listener.note(caveat)
    return Trained(learned.recognizer, expected, learned.train_s)


def _check_sizes(labelled: Dataset, unlabelled: Dataset) -> None:
    if unlabelled.image_size != labelled.image_size:
        raise DataError(
            f"{unlabelled.name}: images are {unlabelled.image_size} pixels wide, "
            f"expected {labelled.image_size} as in {labelled.name}"
        )


def _write_summary(
    folder: RunFolder, recipe: Recipe, trained: Trained, total_s: float | None
) -> None:
    expected = trained.expected
    summary = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "validation": None if expected is None else expected.score.to_json(),
        "train_s": trained.train_s,
        "total_s": total_s,
    }
    write_json(folder.summary, summary)


def _pseudo_labels(
    labelled: Dataset,
    unlabelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    listener: Callback,
    executor: str | Executor,
) -> Dataset | None:
    """Train a first time, if the recipe asks for it, and return what is then surely answered."""
    confidence = recipe.data.pseudo_label_threshold
    if confidence is None:
        return None
    begin(folder, recipe)
    first_folder = RunFolder(folder.first)
    if path_exists(first_folder.recipe):
        # A longer second training goes on from here; its images are those of the first as it was.
        length = Recipe.load(first_folder.recipe).training.max_epochs
        recipe = recipe.with_overrides({"training": {"max_epochs": length}})
    first = train_and_evaluate(
        labelled, recipe, first_folder, listener=listener, resume=True, executor=executor
    )
    extra = pseudo_labelled(first.recognizer, unlabelled, confidence)
    listener.note(
        f"learning again, now also from the {len(extra):,} of {len(unlabelled):,} images to "
        f"predict whose first answers were at least {confidence:g} sure"
    )
    return extra
