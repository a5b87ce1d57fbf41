"""Learning by a whole recipe: one network or several, calibrated on the images held out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tenfold.answers import Answers
from tenfold.data.dataset import Dataset
from tenfold.errors import RecipeError
from tenfold.files import RunFolder, is_there, output_folder, write_text
from tenfold.jobs import HERE
from tenfold.recipe import Recipe, names
from tenfold.recognizer import Recognizer, tempered
from tenfold.training.calibration import calibrated
from tenfold.training.ensemble import learn_members
from tenfold.training.progress import Listener, Silence
from tenfold.training.single import Learned, divide, learn_one


def learn(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    resume: bool = False,
    extra: Dataset | None = None,
    checks: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    on: str = HERE,
) -> Learned:
    """Train what the recipe asks for, on the part of `labelled` that it does not hold out.

    Args:
        labelled: labelled images.
        recipe: every choice.
        folder: the run folder to leave.
        resume: go on with the run in `folder`; finished members are kept.
        extra: images to learn from besides, never held out: see `pseudo_labelled`.
        checks: what the checks of the data found, kept in `data.json`.
        listener: is told how it goes.
        on: where the members of an ensemble train: "here", "ray" or "ray://host:port".

    Raises:
        TenfoldError: as `tenfold.training.loop.fit`; and JobError for a member that failed.
        Interrupted: Ctrl-C or SIGTERM, with everything saved.
    """
    listener = Silence() if listener is None else listener
    if not resume:
        folder.check_is_free()
    if on != HERE and recipe.ensemble.members == 1:
        listener.note("one network is trained here: --on is for ensembles")
    if recipe.ensemble.members > 1:
        raw = learn_members(
            labelled, recipe, folder, extra=extra, checks=checks, listener=listener, on=on
        )
    else:
        teacher = _teacher(labelled, recipe, folder, listener)
        raw = learn_one(
            labelled,
            recipe,
            folder,
            teacher=teacher,
            extra=extra,
            checks=checks,
            listener=listener,
        )
    if raw.held_out is None:
        return raw
    found = raw.held_out
    recognizer = calibrated(raw.recognizer, found.probabilities, found.dataset.known_labels())
    recognizer.save(folder.recognizer)
    probabilities = tempered(found.probabilities, recognizer.temperature)
    Answers.of(found.dataset, probabilities, rows=found.rows, data=labelled.fingerprint()).save(
        folder.held_out
    )
    held_out = replace(found, probabilities=probabilities)
    return replace(raw, recognizer=recognizer, held_out=held_out)


def pseudo_labelled(recognizer: Recognizer, unlabelled: Dataset, confidence: float) -> Dataset:
    """Return the images that `recognizer` is at least so sure of, labelled with its answers.

    D.-H. Lee, 'Pseudo-Label: the simple and efficient semi-supervised learning method', 2013.
    """
    probabilities = recognizer.probabilities(unlabelled)
    sure = np.flatnonzero(probabilities.max(axis=1) >= confidence)
    labels = probabilities[sure].argmax(axis=1).astype(np.int64)
    name = f"{unlabelled.name} (pseudo-labels)"
    return Dataset(unlabelled.images[sure], labels, recognizer.classes, name)


def _teacher(
    labelled: Dataset, recipe: Recipe, folder: RunFolder, listener: Listener
) -> Recognizer | None:
    """Return whom the recipe wants to learn from: trained now, if it names a recipe."""
    wanted = recipe.distillation.teacher
    if wanted is None:
        return None
    trained = wanted in names()
    teacher = (
        _train_teacher(labelled, wanted, recipe, folder, listener)
        if trained
        else Recognizer.load(wanted)
    )
    training, validation = divide(labelled, recipe)
    if validation is not None and teacher.provenance.get("learned") != training.fingerprint():
        listener.note(
            f"teacher {wanted} may have learned from images that are held out here: what is "
            "expected from them may flatter a little"
        )
    return teacher


def _train_teacher(
    labelled: Dataset, wanted: str, recipe: Recipe, folder: RunFolder, listener: Listener
) -> Recognizer:
    listener.note(f"training the teacher first, by recipe {wanted}")
    of_teacher = Recipe.load(wanted, seed=recipe.seed)
    if recipe.data.validation is not None:
        of_teacher = of_teacher.varied({"data": _division(recipe)})
    if of_teacher.distillation.teacher is not None:
        problem = f"distillation.teacher {wanted} has a teacher of its own, expected one without"
        raise RecipeError(recipe.name, [problem])
    begin(folder, recipe)
    return learn(
        labelled, of_teacher, RunFolder(folder.teacher), resume=True, listener=listener
    ).recognizer


def begin(folder: RunFolder, recipe: Recipe) -> None:
    """Name the recipe in a folder where another training comes first: resuming looks for it."""
    if not (is_there(folder.first) or is_there(folder.teacher)):
        output_folder(folder.path)
        write_text(folder.recipe, recipe.to_toml())


def _division(recipe: Recipe) -> dict[str, Any]:
    """Return what decides which images are held out."""
    about = recipe.data.model_dump(include={"validation", "fold"})
    return {**about, "split_seed": recipe.split_seed}
