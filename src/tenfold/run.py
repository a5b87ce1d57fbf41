"""The main job on one screen: labelled digits in, a submission and a report out.

Start reading here. Each call below is one stage of the pipeline; follow any call one level down.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data import Dataset, SubmissionForm, check, write_submission
from tenfold.data.submission import KAGGLE_FORM
from tenfold.errors import DataError, OutputError
from tenfold.files import path_exists, write_json
from tenfold.formatting import ProgressLogger
from tenfold.jobs import LOCAL
from tenfold.metrics import Evaluation, Score, evaluate_probabilities, score
from tenfold.predictions import Predictions
from tenfold.recipe import Recipe
from tenfold.report.artifacts import Examples
from tenfold.report.run_report import write_report
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback
from tenfold.training.loop import TrainResult
from tenfold.training.train import pseudo_label, train, write_recipe

logger = logging.getLogger(__name__)


def run(
    train_set: Dataset,
    test_set: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    test_labels: NDArray[np.str_] | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    executor: str = LOCAL,
    form: SubmissionForm = KAGGLE_FORM,
) -> Score | None:
    """Do the main job, leave the run folder `out`, and return the score where labels are known.

    Args:
        train_set: labelled images.
        test_set: the images to predict.
        recipe: every choice.
        out: the run folder.
        test_labels: the names of the right labels, str [N], in the order of `test_set`; read once,
            when the submission is written, and by nothing else.
        callbacks: called while it trains.
        resume: continue the run in `out`.
        executor: where the members of an ensemble train: "local", "ray" or "ray://host:port".
        form: what the submission looks like.

    Raises:
        TenfoldError: with a sentence, see `tenfold.errors`.
        Interrupted: stopped by the user, state saved.
    """
    started, folder = time.perf_counter(), RunFolder(out)
    resumed = not folder.is_empty
    if not resume:
        folder.check_is_empty()
    _check_sizes(train_set, test_set)

    checks = check_data(train_set, test_set)
    pseudo_labelled = _pseudo_label_stage(
        train_set, test_set, recipe, folder, checks=checks, callbacks=callbacks, executor=executor
    )
    result = train(
        train_set,
        recipe,
        folder,
        resume=True,
        pseudo_labelled=pseudo_labelled,
        checks=checks,
        callbacks=callbacks,
        executor=executor,
    )
    Examples.from_dataset(train_set).save(folder.examples)
    validation = evaluate_validation(result, recipe)
    predictor, classes = result.recognizer.predictor(), result.recognizer.classes
    log = ProgressLogger(logger, "images")
    probabilities, by_member = predictor.predict_members(test_set, on_progress=log)
    write_submission(folder.submission, probabilities.argmax(axis=1), classes, form)
    logger.info("%s predictions written to %s (verified)", f"{len(test_set):,}", folder.submission)

    total_s = None if resumed else time.perf_counter() - started
    _write_summary(folder, recipe, result, validation, total_s)
    known = test_set.without_labels()
    if test_labels is not None:
        known = test_set.with_labels(test_labels, classes)
    test_score = _save_predictions(folder, known, classes, probabilities, by_member)
    write_report(out)
    return test_score


def train_and_report(
    train_set: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    executor: str = LOCAL,
) -> TrainResult:
    """Do the part of the main job before prediction, and write its report.

    Args:
        train_set: labelled images; a part of them is held out, as the recipe says.
        recipe: every choice.
        folder: the run folder.
        callbacks: called while it trains.
        resume: continue the run in `folder`.
        executor: where the members of an ensemble train.

    Raises:
        OutputError: `folder` holds predictions, which those of a longer training would not be.
        TenfoldError: as `run`.
    """
    started = time.perf_counter()
    if not resume:
        folder.check_is_empty()
    elif path_exists(folder.submission):
        raise OutputError(
            f"{folder.path}: holds predictions already, expected a run of `tenfold train`; "
            "continue it with `tenfold run`, which predicts again"
        )
    resumed = not folder.is_empty
    result = train(
        train_set,
        recipe,
        folder,
        resume=True,
        checks=check_data(train_set),
        callbacks=callbacks,
        executor=executor,
    )
    Examples.from_dataset(train_set).save(folder.examples)
    validation = evaluate_validation(result, recipe)
    total_s = None if resumed else time.perf_counter() - started
    _write_summary(folder, recipe, result, validation, total_s)
    write_report(folder.path)
    return result


def check_data(train_set: Dataset, test_set: Dataset | None = None) -> dict[str, Any]:
    """Check the data, log what was found, and return it as JSON values."""
    report = check(train_set, test_set)
    for line in report.lines():
        logger.info("%s", line)
    return report.to_json()


def evaluate_validation(result: TrainResult, recipe: Recipe) -> Evaluation | None:
    """Log the score that the validation images predict; None if the recipe held none out."""
    validation = result.validation
    if validation is None or validation.labels is None:
        return None
    found = evaluate_probabilities(validation.probabilities, validation.labels, validation.classes)
    logger.info("predicted leaderboard score: %s", found.score)
    if caveat := recipe.validation_caveat():
        logger.info("%s", caveat)
    return found


def _save_predictions(
    folder: RunFolder,
    test_set: Dataset,
    classes: tuple[str, ...],
    probabilities: NDArray[np.float32],
    member_predictions: NDArray[np.int64],
) -> Score | None:
    """Keep what was predicted for the report, and the score if the labels are known."""
    predictions = Predictions.from_probabilities(
        test_set,
        probabilities,
        classes=classes,
        member_predictions=member_predictions,
        dataset_sha256=test_set.without_labels().content_hash(),
    )
    predictions.save(folder.predictions)
    if predictions.labels is None:
        folder.score.unlink(missing_ok=True)  # of other images, before
        return None
    test_score = score(predictions.predicted, predictions.labels)
    write_json(folder.score, test_score.to_json())
    return test_score


def _check_sizes(train_set: Dataset, test_set: Dataset) -> None:
    if test_set.image_size != train_set.image_size:
        raise DataError(
            f"{test_set.name}: images are {test_set.image_size} pixels wide, "
            f"expected {train_set.image_size} as in {train_set.name}"
        )


def _write_summary(
    folder: RunFolder,
    recipe: Recipe,
    result: TrainResult,
    validation: Evaluation | None,
    total_s: float | None,
) -> None:
    summary = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "validation": None if validation is None else validation.score.to_json(),
        "train_s": result.train_s,
        "total_s": total_s,
    }
    write_json(folder.summary, summary)


def _pseudo_label_stage(
    train_set: Dataset,
    test_set: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    checks: Mapping[str, Any],
    callbacks: Sequence[Callback],
    executor: str,
) -> Dataset | None:
    """Train a first time, if the recipe asks for it, and return what is predicted confidently."""
    threshold = recipe.data.pseudo_label_threshold
    if threshold is None:
        return None
    write_recipe(folder, recipe)
    stage = RunFolder(folder.pseudo_label_stage)
    if path_exists(stage.recipe):
        # A longer second training resumes from here; its images are those of the first as it was.
        length = Recipe.load(stage.recipe).training.max_epochs
        recipe = recipe.with_overrides({"training": {"max_epochs": length}})
    first = train(
        train_set,
        recipe,
        stage,
        resume=True,
        checks=checks,
        callbacks=callbacks,
        executor=executor,
    )
    Examples.from_dataset(train_set).save(stage.examples)
    evaluate_validation(first, recipe)
    pseudo_labelled = pseudo_label(first.recognizer, test_set, threshold)
    logger.info(
        "training again, now also on the %s of %s test images that the first training predicts "
        "with at least %g confidence",
        f"{len(pseudo_labelled):,}",
        f"{len(test_set):,}",
        threshold,
    )
    return pseudo_labelled
