"""The main job on one screen: labelled digits in, a submission and the reasons to believe it out.

Start reading here. Each call below is one station of the way; follow any name one hop down.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.data import Dataset, check, write_submission
from tenfold.errors import DataError
from tenfold.files import RunFolder, write_json
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.report import album
from tenfold.report.metrics import Evaluation, Score, evaluate, score
from tenfold.training.learn import learn, pseudo_labelled
from tenfold.training.progress import Listener, counting
from tenfold.training.single import divide


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
    listener: Listener,
    resume: bool = False,
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

    Raises:
        TenfoldError: with a sentence, see `tenfold.errors`.
        Interrupted: stopped by the user, state saved.
    """
    started = time.perf_counter()
    folder = RunFolder(out)

    if not resume:
        folder.check_is_free()

    extra = _pseudo_labels(labelled, unlabelled, recipe, folder, listener)
    trained = train(
        labelled,
        recipe,
        folder,
        listener=listener,
        resume=True,
        unlabelled=unlabelled,
        extra=extra,
    )

    recognizer, tell = trained.recognizer, counting(listener.note)
    probabilities = recognizer.probabilities(unlabelled, on_progress=tell)
    answers = recognizer.names_of(probabilities.argmax(axis=1))
    write_submission(folder.submission, answers)
    listener.note(f"{len(answers):,} answers written to {folder.submission} and read back")

    expected = trained.expected
    summary = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "validation": None if expected is None else expected.score.to_json(),
        "train_s": trained.train_s,
        "total_s": time.perf_counter() - started,
    }
    write_json(folder.summary, summary)

    if truth is None:
        return None
    achieved = score(answers.astype(np.int64), truth.astype(np.int64))
    write_json(folder.score, achieved.to_json())
    return achieved


def train(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    listener: Listener,
    resume: bool = False,
    unlabelled: Dataset | None = None,
    extra: Dataset | None = None,
) -> Trained:
    """Check, split, fit and judge: the part of the main job before prediction.

    Args:
        labelled: what to learn from; a part of it is held out, as the recipe says.
        recipe: every choice.
        folder: where everything goes.
        listener: is told how it goes.
        resume: go on with the run in `folder`.
        unlabelled: what will be predicted; checked for overlap with `labelled`, never learned.
        extra: images to learn from besides, with the labels that a first training gave them.
    """
    if unlabelled is not None and unlabelled.image_size != labelled.image_size:
        raise DataError(
            f"{unlabelled.name}: images are {unlabelled.image_size} pixels wide, "
            f"expected {labelled.image_size} as in {labelled.name}"
        )
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
    )
    listener.note("drawing the pictures")
    one_network = recipe.ensemble.members == 1  # members divide the images each in its own way
    parts = divide(labelled, recipe) if one_network else (labelled, None)
    album.draw_data(folder, *parts, recipe)
    album.draw_training(folder, learned.history, learned.recognizer, labelled.images[0])
    expected = None
    if (held_out := learned.held_out) is not None:
        known = held_out.dataset.known_labels()
        expected = evaluate(held_out.probabilities, known, held_out.dataset.classes)
        album.draw_answers(folder, held_out.dataset, held_out.probabilities, expected)
        listener.note(f"expected leaderboard score: {expected.score}{_caution(recipe)}")
    return Trained(learned.recognizer, expected, learned.train_s)


def _pseudo_labels(
    labelled: Dataset, unlabelled: Dataset, recipe: Recipe, folder: RunFolder, listener: Listener
) -> Dataset | None:
    """Train a first time, if the recipe asks for it, and return what is then surely answered."""
    confidence = recipe.data.pseudo_confidence
    if confidence is None:
        return None
    first = train(labelled, recipe, RunFolder(folder.first), listener=listener, resume=True)
    extra = pseudo_labelled(first.recognizer, unlabelled, confidence)
    listener.note(
        f"learning again, now also from the {len(extra):,} of {len(unlabelled):,} images to "
        f"predict whose first answers were at least {confidence:g} sure"
    )
    return extra


def _caution(recipe: Recipe) -> str:
    """Say in which way the held-out images do not tell what the leaderboard will."""
    if recipe.ensemble.members > 1:
        return "; each digit judged by the few members that held it out, so all together do better"
    if recipe.training.keep == "best":
        return "; a little flattering, for the same digits chose the epoch"
    return ""
