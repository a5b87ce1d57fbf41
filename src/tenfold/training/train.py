"""Learning by a whole recipe: one network or several, calibrated on the images held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from tenfold.data.dataset import Dataset
from tenfold.data.splits import fold, split_rows
from tenfold.errors import RecipeError
from tenfold.files import output_folder, path_exists, write_text
from tenfold.jobs import LOCAL, Executor
from tenfold.metrics import log_loss
from tenfold.predictions import Predictions
from tenfold.recipe import Recipe, list_recipes
from tenfold.recognizer import Recognizer, apply_temperature
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback, NullCallback
from tenfold.training.loop import fit


def learn(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    resume: bool = False,
    extra: Dataset | None = None,
    checks: Mapping[str, Any] | None = None,
    listener: Callback | None = None,
    executor: str | Executor = LOCAL,
) -> "TrainResult":
    """Train what the recipe asks for, on the part of `labelled` that it does not hold out.

    Args:
        labelled: labelled images.
        recipe: every choice.
        folder: the run folder to leave.
        resume: go on with the run in `folder`; finished members are kept.
        extra: images to learn from besides, never held out: see `pseudo_labelled`.
        checks: what the checks of the data found, kept in `data.json`.
        listener: is told how it goes.
        executor: where the members of an ensemble train: "local", "ray" or "ray://host:port".

    Raises:
        TenfoldError: as `tenfold.training.loop.fit`; and JobError for a member that failed.
        Interrupted: Ctrl-C or SIGTERM, with everything saved.
    """
    listener = NullCallback() if listener is None else listener
    if not resume:
        folder.check_is_free()
    if executor != LOCAL and recipe.ensemble.members == 1:
        listener.note("one network is trained here: --executor is for ensembles")
    if recipe.ensemble.members > 1:
        from tenfold.training.ensemble import train_ensemble  # noqa: PLC0415

        raw = train_ensemble(
            labelled,
            recipe,
            folder,
            extra=extra,
            checks=checks,
            listener=listener,
            executor=executor,
        )
    else:
        teacher = _teacher(labelled, recipe, folder, listener)
        raw = fit_single(
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
    recognizer = fit_temperature(
        raw.recognizer, found.probabilities, found.dataset.require_labels()
    )
    recognizer.save(folder.recognizer)
    probabilities = apply_temperature(found.probabilities, recognizer.temperature)
    Predictions.from_probabilities(
        found.dataset, probabilities, indices=found.rows, dataset_sha256=labelled.content_hash()
    ).save(folder.held_out)
    held_out = replace(found, probabilities=probabilities)
    return replace(raw, recognizer=recognizer, held_out=held_out)


def pseudo_labelled(recognizer: Recognizer, unlabelled: Dataset, confidence: float) -> Dataset:
    """Return the images that `recognizer` is at least so sure of, labelled with its answers.

    D.-H. Lee, 'Pseudo-Label: the simple and efficient semi-supervised learning method', 2013.
    """
    probabilities = recognizer.predict_proba(unlabelled)
    sure = np.flatnonzero(probabilities.max(axis=1) >= confidence)
    labels = probabilities[sure].argmax(axis=1).astype(np.int64)
    name = f"{unlabelled.name} (pseudo-labels)"
    return Dataset(unlabelled.images[sure], labels, recognizer.classes, name)


def _teacher(
    labelled: Dataset, recipe: Recipe, folder: RunFolder, listener: Callback
) -> Recognizer | None:
    """Return whom the recipe wants to learn from: trained now, if it names a recipe."""
    wanted = recipe.distillation.teacher
    if wanted is None:
        return None
    trained = wanted in list_recipes()
    teacher = (
        _train_teacher(labelled, wanted, recipe, folder, listener)
        if trained
        else Recognizer.load(wanted)
    )
    training, validation = divide(labelled, recipe)
    if validation is not None and teacher.provenance.get("learned") != training.content_hash():
        listener.note(
            f"teacher {wanted} may have learned from images that are held out here: what is "
            "expected from them may flatter a little"
        )
    return teacher


def _train_teacher(
    labelled: Dataset, wanted: str, recipe: Recipe, folder: RunFolder, listener: Callback
) -> Recognizer:
    listener.note(f"training the teacher first, by recipe {wanted}")
    of_teacher = Recipe.load(wanted, seed=recipe.seed)
    if recipe.data.validation is not None:
        of_teacher = of_teacher.with_overrides({"data": _division(recipe)})
    if of_teacher.distillation.teacher is not None:
        problem = f"distillation.teacher {wanted} has a teacher of its own, expected one without"
        raise RecipeError(recipe.name, [problem])
    begin(folder, recipe)
    return learn(
        labelled, of_teacher, RunFolder(folder.teacher), resume=True, listener=listener
    ).recognizer


def begin(folder: RunFolder, recipe: Recipe) -> None:
    """Name the recipe in a folder where another training comes first: resuming looks for it."""
    if not (path_exists(folder.first) or path_exists(folder.teacher)):
        output_folder(folder.path)
        write_text(folder.recipe, recipe.to_toml())


def _division(recipe: Recipe) -> dict[str, Any]:
    """Return what decides which images are held out."""
    about = recipe.data.model_dump(include={"validation", "fold"})
    return {**about, "split_seed": recipe.split_seed}


@dataclass(frozen=True)
class HeldOutPredictions:
    """Labelled images judged by networks that did not learn from them.

    Attributes:
        dataset: the images.
        rows: int64 [N], where each stands among all labelled images.
        probabilities: float32 [N, classes]; in an ensemble the mean over the members that held
            an image out, which are far fewer than all.
    """

    dataset: Dataset
    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class TrainResult:
    """What a recipe made of labelled images.

    Attributes:
        recognizer: calibrated, once it comes from `tenfold.training.train.learn`.
        held_out: None if the recipe holds nothing out.
        history: the epochs of the network, or of the first member.
        train_s: seconds of training and validation; pauses left out.
    """

    recognizer: Recognizer
    held_out: HeldOutPredictions | None
    history: Sequence[Mapping[str, Any]]
    train_s: float


def fit_single(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    listener: Callback,
    teacher: Recognizer | None = None,
    extra: Dataset | None = None,
    checks: Mapping[str, Any] | None = None,
) -> "TrainResult":
    """Train one network in `folder`, going on with what is there; it is not calibrated yet.

    The arguments are those of `tenfold.training.train.learn`; `teacher` is whom the network learns
    from besides.
    """
    training, validation = divide(labelled, recipe)
    if validation is not None:
        listener.note(f"learning from {len(training):,}, held out {len(validation):,} to judge by")
    kept = fit(
        training if extra is None else training.concat(extra),
        validation,
        recipe,
        out=folder.path,
        resume=True,  # `learn` has looked whether it may
        teacher=teacher,
        checks=checks,
        listener=listener,
    )
    recognizer = replace(kept, temperature=1.0)  # a resumed run may have had one already
    held_out = None
    if validation is not None:
        _, rows = rows_of(labelled, recipe)
        held_out = HeldOutPredictions(validation, rows, recognizer.predict_proba(validation))
    history = folder.history()
    return TrainResult(recognizer, held_out, history, history[-1]["elapsed_s"])


def divide(labelled: Dataset, recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """Return the images to learn from and those held out, as a recipe for one network says."""
    if recipe.data.validation is None:
        return labelled, None
    train, valid = rows_of(labelled, recipe)
    return (
        labelled.select(train, f"{labelled.name} (training part)"),
        labelled.select(valid, f"{labelled.name} (validation part)"),
    )


def rows_of(labelled: Dataset, recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to learn from and those held out, by a recipe that holds some out."""
    data, seed = recipe.data, recipe.split_seed
    assert data.validation is not None
    if data.fold is None:
        return split_rows(labelled, data.validation, seed)
    assert data.folds is not None
    return fold(labelled, data.folds, data.fold, seed)


def fit_worker_rank(labelled: Dataset, recipe: Recipe) -> None:
    """Be one of several processes that train one network, but not the one that keeps it."""
    training, validation = divide(labelled, recipe)
    fit(training, validation, recipe)


COLDEST, HOTTEST = 0.05, 20.0
# With fewer images a lucky handful without a mistake would make the recognizer sure of all.
FEWEST_IMAGES = 100


def fit_temperature(
    recognizer: Recognizer, probabilities: NDArray[np.float32], labels: NDArray[np.int64]
) -> Recognizer:
    """Return `recognizer` with the temperature that held-out images want.

    Args:
        recognizer: any temperature that it has is replaced.
        probabilities: float32 [N, classes], said of the images without a temperature.
        labels: the truth, int64 [N].
    """
    return replace(recognizer, temperature=best_temperature(probabilities, labels))


def best_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the temperature that makes the truth of held-out images most likely.

    Args:
        probabilities: float32 [N, classes], as an untempered recognizer gives them.
        labels: the truth, int64 [N].

    Returns:
        A number from 0.05 to 20; 1, which leaves probabilities alone, for under 100 images or
        without a mistake on them: then only certainty itself would be likely enough.
    """
    if len(labels) < FEWEST_IMAGES or (probabilities.argmax(axis=1) == labels).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        tempered = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return log_loss(tempered, labels)

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
