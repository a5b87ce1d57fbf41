"""Training by a whole recipe: one network or several, calibrated on the images held out.

train         what the command line calls: leaves a run folder
fit           the same for Python
pseudo_label  the test images that a recognizer is confident of, with its predictions
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from tenfold.data.dataset import Dataset
from tenfold.data.fingerprints import Fingerprints, fingerprints
from tenfold.decision import DecisionRule
from tenfold.errors import Interrupted, RecipeError
from tenfold.files import output_folder, path_exists, write_text
from tenfold.jobs import LOCAL
from tenfold.metrics import log_loss
from tenfold.recipe import Recipe, list_recipes
from tenfold.recognizer import Recognizer, apply_temperature
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback
from tenfold.training.console import progress_on_stderr
from tenfold.training.ensemble import train_ensemble
from tenfold.training.loop import TrainResult, fit_network, fit_single

logger = logging.getLogger(__name__)

TEMPERATURE_BOUNDS: Final = (0.05, 20.0)
# With fewer images a few lucky predictions without an error would make it overconfident.
MIN_CALIBRATION_IMAGES: Final = 100


def train(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    resume: bool = False,
    pseudo_labelled: Dataset | None = None,
    checks: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    executor: str = LOCAL,
) -> TrainResult:
    """Train what the recipe asks for, on the part of `labelled` that it does not hold out.

    Args:
        labelled: labelled images.
        recipe: every choice.
        folder: the run folder to leave.
        resume: continue the run in `folder`; finished members are kept.
        pseudo_labelled: more images to train on, never held out: see `pseudo_label`.
        checks: what the checks of the data found, kept in `data.json`.
        callbacks: called in addition to those that write the run folder.
        executor: where the members of an ensemble train: "local", "ray" or "ray://host:port".

    Returns:
        The calibrated recognizer, and its predictions for the images held out.

    Raises:
        TenfoldError: as `tenfold.training.loop.fit_network`; and JobError for a member that failed.
        Interrupted: Ctrl-C or SIGTERM, with everything saved.
    """
    if not resume:
        folder.check_is_empty()
    if recipe.ensemble.members > 1:
        result = train_ensemble(
            labelled,
            recipe,
            folder,
            pseudo_labelled=pseudo_labelled,
            checks=checks,
            callbacks=callbacks,
            executor=executor,
        )
    else:
        if executor != LOCAL and recipe.distillation.teacher is None:
            logger.info("one network trains in this process: --executor is for ensembles")
        result = fit_single(
            labelled,
            recipe,
            folder,
            teacher=_teacher(labelled, recipe, folder, callbacks, executor),
            pseudo_labelled=pseudo_labelled,
            checks=checks,
            callbacks=callbacks,
        )
    result = calibrated(result)
    _save(result, folder, _seen_images(labelled, pseudo_labelled, result, recipe))
    return result


def fit(
    train_set: Dataset,
    valid_set: Dataset | None = None,
    recipe: Recipe | str | Path = "quick",
    *,
    out: Path | str | None = None,
    resume: bool = False,
    verbose: bool = False,
) -> Recognizer:
    """Train a calibrated recognizer by any recipe: the Python API.

    Args:
        train_set: labelled images.
        valid_set: labelled images to validate and calibrate on; None holds out a part of
            `train_set` as the recipe says. An ensemble always divides `train_set`.
        recipe: a Recipe, the name of one, or a TOML file.
        out: the run folder to leave; None leaves no files.
        resume: continue the run in `out`.
        verbose: show progress on stderr: a live bar on a terminal, plain lines elsewhere.

    Raises:
        TenfoldError: as `train`; a RecipeError if a `valid_set` is given to a recipe that trains
            several networks.
        Interrupted: Ctrl-C or SIGTERM, with everything saved in `out`.
        KeyboardInterrupt: the same without `out`, where nothing is kept.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    if valid_set is not None and not recipe.is_single_model:
        problem = (
            "trains several networks, which divide train_set themselves; expected no valid_set"
        )
        raise RecipeError(recipe.name, [problem])
    folder = None if out is None else RunFolder(Path(out))
    if folder is not None and not resume:
        folder.check_is_empty()
    with TemporaryDirectory() as scratch, progress_on_stderr(verbose) as callbacks:
        if valid_set is not None:
            result = calibrated(
                fit_network(train_set, valid_set, recipe, folder=folder, callbacks=callbacks)
            )
            if folder is not None:
                seen = fingerprints(train_set.images), fingerprints(valid_set.images)
                _save(result, folder, Fingerprints(*seen))
        elif folder is None and recipe.is_single_model:
            result = calibrated(fit_single(train_set, recipe, callbacks=callbacks))
        elif folder is not None:
            result = train(train_set, recipe, folder, resume=True, callbacks=callbacks)
        else:
            with _nothing_is_kept():
                result = train(train_set, recipe, RunFolder(Path(scratch)), callbacks=callbacks)
    return result.recognizer


@contextmanager
def _nothing_is_kept() -> Iterator[None]:
    """Let an interrupt be a plain KeyboardInterrupt: the folder that it names will be gone."""
    try:
        yield
    except Interrupted as error:
        raise KeyboardInterrupt from error


def _seen_images(
    labelled: Dataset, pseudo_labelled: Dataset | None, result: TrainResult, recipe: Recipe
) -> Fingerprints:
    """Return which images were trained on; what one member holds out, the others train on."""
    own, trained = fingerprints(labelled.images), np.ones(len(labelled), np.bool_)
    if result.validation is not None and recipe.ensemble.members == 1:
        trained[result.validation.indices] = False
    more = [] if pseudo_labelled is None else [fingerprints(pseudo_labelled.images)]
    return Fingerprints(np.concatenate([own[trained], *more]), own[~trained])


def _save(result: TrainResult, folder: RunFolder, seen: Fingerprints) -> None:
    seen.save(folder.seen_images)
    result.recognizer.save(folder.recognizer)
    if result.validation is not None:
        result.validation.save(folder.validation)


def calibrated(result: TrainResult) -> TrainResult:
    """Return `result` with the temperature and the decision rule for its validation images."""
    validation = result.validation
    if validation is None or validation.labels is None:
        return result
    temperature = fit_temperature(validation.probabilities, validation.labels)
    probabilities = apply_temperature(validation.probabilities, temperature)
    rule = DecisionRule()
    if len(validation) >= MIN_CALIBRATION_IMAGES:
        rule = DecisionRule.fit(probabilities, validation.labels)
    return replace(
        result,
        recognizer=replace(result.recognizer, temperature=temperature, decision_rule=rule),
        validation=replace(validation, probabilities=probabilities),
    )


def fit_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the temperature with the lowest log loss on validation images.

    C. Guo, G. Pleiss, Y. Sun and K. Weinberger, 'On calibration of modern neural networks', ICML
    2017: dividing the logits by a single number is enough, and changes no prediction.

    Args:
        probabilities: float32 [N, classes], of a recognizer with temperature 1.
        labels: int64 [N].

    Returns:
        A number from 0.05 to 20; 1, which leaves probabilities alone, for under 100 images or
        without an error on them: then only certainty itself would be likely enough.
    """
    if len(labels) < MIN_CALIBRATION_IMAGES or (probabilities.argmax(axis=1) == labels).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        return log_loss(apply_temperature(probabilities, float(np.exp(log_temperature))), labels)

    bounds = tuple(np.log(TEMPERATURE_BOUNDS))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def pseudo_label(recognizer: Recognizer, test_set: Dataset, threshold: float) -> Dataset:
    """Return the images that `recognizer` is at least so confident of, labelled by it.

    D.-H. Lee, 'Pseudo-Label: the simple and efficient semi-supervised learning method', 2013.
    """
    probabilities = recognizer.predict_proba(test_set)
    confident = np.flatnonzero(probabilities.max(axis=1) >= threshold)
    labels = probabilities[confident].argmax(axis=1).astype(np.int64)
    name = f"{test_set.name} (pseudo-labels)"
    return Dataset(test_set.images[confident], labels, recognizer.classes, name)


def write_recipe(folder: RunFolder, recipe: Recipe) -> None:
    """Write the recipe before a first training in a subfolder: resuming looks for it."""
    if not (path_exists(folder.pseudo_label_stage) or path_exists(folder.teacher)):
        output_folder(folder.path)
        write_text(folder.recipe, recipe.to_toml())


def _teacher(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    callbacks: Sequence[Callback],
    executor: str,
) -> Recognizer | None:
    """Return the teacher that the recipe asks for: trained now, if it names a recipe."""
    name = recipe.distillation.teacher
    if name is None:
        return None
    if name not in list_recipes():
        return Recognizer.load(name)
    logger.info("training the teacher first, by recipe %s", name)
    teacher_recipe = Recipe.load(name, seed=recipe.seed)
    if recipe.data.validation is not None:
        split = recipe.data.model_dump(include={"validation", "fold"})
        split["split_seed"] = recipe.split_seed
        teacher_recipe = teacher_recipe.with_overrides({"data": split})
    if teacher_recipe.distillation.teacher is not None:
        problem = f"distillation.teacher {name} has a teacher of its own, expected one without"
        raise RecipeError(recipe.name, [problem])
    write_recipe(folder, recipe)
    result = train(
        labelled,
        teacher_recipe,
        RunFolder(folder.teacher),
        resume=True,
        callbacks=callbacks,
        executor=executor,
    )
    return result.recognizer
