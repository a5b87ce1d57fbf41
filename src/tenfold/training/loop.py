"""The training loop: one network, from images and a Recipe to a Recognizer."""

import logging
import math
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tenfold.data.dataset import Dataset
from tenfold.data.splits import train_valid_rows
from tenfold.device import Device
from tenfold.errors import DataError, Interrupted, RecipeError
from tenfold.metrics import log_loss
from tenfold.predictions import Predictions
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.signals import graceful_shutdown
from tenfold.training.callbacks import (
    Callback,
    CallbackList,
    EpochMetrics,
    MetricsLog,
    TensorBoard,
)
from tenfold.training.checkpoint import (
    BestModel,
    Checkpoint,
    RunIdentity,
    load_checkpoint,
    write_metadata,
)
from tenfold.training.distillation import Teacher
from tenfold.training.distributed import ProcessGroup, init_process_group
from tenfold.training.loader import DROPOUT, Batch, derive_seed
from tenfold.training.optimizers import set_lr
from tenfold.training.state import TrainState

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What training returns.

    Attributes:
        recognizer: not calibrated yet where it comes from this module.
        validation: predictions for the images held out, by networks that were not trained on
            them; None if nothing was held out.
        history: the epochs of the network, or of the first member of an ensemble.
        train_s: seconds of training and validation, pauses left out.
    """

    recognizer: Recognizer
    validation: Predictions | None
    history: Sequence[EpochMetrics]
    train_s: float


def fit_single(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder | None = None,
    *,
    teacher: Recognizer | None = None,
    pseudo_labelled: Dataset | None = None,
    checks: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Train one network on the part of `labelled` that its recipe does not hold out.

    Args:
        labelled: labelled images.
        recipe: of one network.
        folder: the run folder; a run in it is resumed. None leaves no files.
        teacher: what `recipe.distillation` asks for, trained already.
        pseudo_labelled: more images to train on, never held out.
        checks: what the checks of the data found, kept in `data.json`.
        callbacks: called in addition to those that write the run folder.

    Returns:
        The result, whose validation indices are rows of `labelled`.

    Raises:
        TenfoldError: as `fit_network`.
        Interrupted: Ctrl-C or SIGTERM, with the state saved in `folder`.
    """
    train_rows, valid_rows = train_valid_rows(labelled, recipe.data, recipe.split_seed)
    train_set, valid_set = labelled, None
    if valid_rows is not None:
        train_set = labelled.select(train_rows, f"{labelled.name} (training part)")
        valid_set = labelled.select(valid_rows, f"{labelled.name} (validation part)")
        logger.info("train %s images, validation %s", f"{len(train_set):,}", f"{len(valid_set):,}")
        if teacher is not None:
            _check_teacher(teacher, train_set, recipe)
    result = fit_network(
        train_set if pseudo_labelled is None else train_set.concat(pseudo_labelled),
        valid_set,
        recipe,
        folder=folder,
        teacher=teacher,
        checks=checks,
        callbacks=callbacks,
    )
    if result.validation is None or valid_rows is None:
        return result
    validation = replace(
        result.validation, indices=valid_rows, dataset_sha256=labelled.content_hash()
    )
    return replace(result, validation=validation)


def fit_network(
    train_set: Dataset,
    valid_set: Dataset | None,
    recipe: Recipe,
    *,
    folder: RunFolder | None = None,
    teacher: Recognizer | None = None,
    checks: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Train one network on `train_set`, and predict `valid_set`.

    Resumed from the checkpoint in `folder`, the result is the one that an uninterrupted run would
    have had, bit for bit on the same machine. Under torchrun several processes train together:
    see `tenfold.training.distributed`. `valid_set` chooses the epoch and the learning rate where
    the recipe says so; it is None if the recipe holds none out. The other arguments are those of
    `fit_single`.

    Raises:
        DataError: labels are missing, or the two sets do not fit each other.
        RecipeError: the recipe cannot work on these images, or training diverged.
        RecognizerError: the folder holds another run, or a damaged one.
        OutputError: the folder cannot be written to.
        Interrupted: Ctrl-C or SIGTERM, with the state saved in `folder`.
    """
    _check_inputs(train_set, valid_set, recipe, teacher)
    device = Device.detect(recipe.training.precision)
    with init_process_group(device) as group, device.deterministic(), graceful_shutdown() as stop:
        state = TrainState.create(recipe, train_set, device, group)
        folder = folder if group.is_main_process else None
        identity = RunIdentity.of(recipe, train_set, valid_set, teacher)
        if folder is not None:
            identity.check(folder)
        _resume(state, folder, group)
        if folder is not None:  # what cannot be trained or resumed has raised: nothing is touched
            write_metadata(folder, recipe, identity, device, checks)
        teacher_model = None
        if teacher is not None:
            teacher_model = Teacher(teacher, device, recipe.distillation)
        best_model = BestModel(folder)
        hooks = _hooks(best_model, folder, callbacks, group)
        model = group.wrap_ddp(state.model)
        logger.info("training on %s", device)
        try:
            hooks.on_train_begin(state)
            while not state.is_finished():
                model.train()
                state.start_clock()
                for batch in state.loader.epoch(state.epoch, skip=state.step_in_epoch):
                    _stop_if_asked(stop, state, hooks, folder, group)
                    train_step(model, state, batch, teacher_model)
                    state.end_step(group)
                    hooks.on_step_end(state)
                state.end_epoch(group, *_evaluate(state, valid_set, group))
                hooks.on_epoch_end(state)
            hooks.on_train_end(state)
            result = _result(state, best_model, valid_set if group.is_main_process else None)
            _stop_if_asked(stop, state, hooks, folder, group)
            return result
        finally:
            hooks.teardown()
            del model  # it holds the process group, which is left now


def train_step(
    model: nn.Module, state: TrainState, batch: Batch, teacher: Teacher | None = None
) -> None:
    """Change the weights once, by one batch.

    Args:
        model: the network of `state`, wrapped if several processes train it.
        state: its optimizer, moving average and metrics move on by a step.
        batch: of this process.
        teacher: for distillation; None learns from the labels alone.
    """
    recipe = state.recipe
    set_lr(state.optimizer, state.lr_multiplier)
    torch.manual_seed(derive_seed(recipe.seed, DROPOUT, state.step, *state.seed_suffix))
    with state.device.autocast():
        logits = model(batch.inputs).float()
    loss = F.cross_entropy(logits, batch.targets, label_smoothing=recipe.training.label_smoothing)
    if teacher is not None:
        loss = teacher.distill(loss, logits, batch)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    with state.device.autocast():  # Muon's products too
        state.optimizer.step()
    state.update_ema()

    logits, labels = logits.detach(), batch.labels
    if batch.is_outlier is not None:  # they have no label to compare with
        logits, labels = logits[~batch.is_outlier], labels[~batch.is_outlier]
    plain_loss = F.cross_entropy(logits, labels)  # what the validation loss compares with
    state.update_metrics(plain_loss, (logits.argmax(dim=1) == labels).sum(), len(labels))


def _check_teacher(teacher: Recognizer, train_set: Dataset, recipe: Recipe) -> None:
    """Warn of a teacher that was trained on other images than the student's training part."""
    if teacher.provenance.get("train_sha256") != train_set.content_hash():
        logger.warning(
            "teacher %s may have been trained on validation images: their score may be too high",
            recipe.distillation.teacher,
        )


def _hooks(
    best_model: BestModel,
    folder: RunFolder | None,
    callbacks: Sequence[Callback],
    group: ProcessGroup,
) -> CallbackList:
    """Return what happens beside training: in the main process alone."""
    if not group.is_main_process:
        return CallbackList([])
    own = [] if folder is None else [Checkpoint(folder), MetricsLog(folder), TensorBoard(folder)]
    return CallbackList([best_model, *own, *callbacks])


def _resume(state: TrainState, folder: RunFolder | None, group: ProcessGroup) -> None:
    """Bring `state` to the folder's checkpoint, if there is one; in every process."""
    path = None if folder is None else folder.checkpoint
    found = group.broadcast(path is not None and path.exists())
    if not found:
        return
    if path is not None:
        load_checkpoint(path, state)
    if group.world_size > 1:
        _share_checkpoint(path, state, group)
    state.check_length()
    steps, epochs = f"{state.step:,} of {state.loader.total_steps:,}", len(state.history)
    logger.info("resumed after step %s (%d epochs)", steps, epochs)
    if state.is_finished():
        logger.info("nothing is left to train: the run is complete, or stopped early")


def _share_checkpoint(path: Path | None, state: TrainState, group: ProcessGroup) -> None:
    """Load the main process's checkpoint, at `path` there, in all other processes.

    It holds the metrics of the main process alone, which stand for all up to that step: only the
    training loss of the epoch that was stopped depends on them.
    """
    content = group.broadcast(None if path is None else path.read_bytes())
    if path is None and content is not None:
        with tempfile.TemporaryDirectory() as scratch:
            copied = Path(scratch) / "checkpoint.safetensors"
            copied.write_bytes(content)
            load_checkpoint(copied, state)


def _evaluate(
    state: TrainState, valid_set: Dataset | None, group: ProcessGroup
) -> tuple[float | None, float | None, float]:
    """Return validation loss, accuracy and seconds of the running epoch.

    Test-time augmentation is left out: early in a run it would take five times as long.

    Raises:
        RecipeError: loss or weights are not finite.
    """
    recognizer = state.recognizer()
    loss_sum = group.all_reduce(state.metrics[0, 0].clone()).item()
    if not (math.isfinite(loss_sum) and recognizer.is_finite()):
        problem = (
            f"training diverged in epoch {state.epoch + 1} (loss or weights are not finite); "
            "a lower optimizer.learning_rate usually helps"
        )
        raise RecipeError(state.recipe.name, [problem])
    state.lap()  # a GPU has caught up by now
    loss, accuracy = None, None
    if valid_set is not None and group.is_main_process:
        plain = replace(recognizer, tta_shift=None)
        probabilities = plain.predictor(state.device).predict_proba(valid_set)
        labels = valid_set.require_labels()
        loss = log_loss(probabilities, labels)
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    loss, accuracy = group.broadcast((loss, accuracy))
    return loss, accuracy, state.lap()


def _result(state: TrainState, best_model: BestModel, valid_set: Dataset | None) -> TrainResult:
    recognizer = best_model.result(state)
    validation = None
    if valid_set is not None:
        probabilities = recognizer.predictor(state.device).predict_proba(valid_set)
        validation = Predictions.from_probabilities(valid_set, probabilities)
    return TrainResult(recognizer, validation, state.history, state.history[-1].elapsed_s)


def _stop_if_asked(
    stop: threading.Event,
    state: TrainState,
    hooks: Callback,
    folder: RunFolder | None,
    group: ProcessGroup,
) -> None:
    """Save and raise if the user asked any of the processes to stop."""
    if not group.any_rank(stop.is_set(), state.device):
        return
    hooks.on_interrupt(state)
    if folder is None:
        raise KeyboardInterrupt  # nothing is saved, or the main process saves it
    raise Interrupted(
        f"stopped after step {state.step:,} of {state.loader.total_steps:,}, saved in {folder.path}"
    )


def _check_inputs(
    train_set: Dataset, valid_set: Dataset | None, recipe: Recipe, teacher: Recognizer | None
) -> None:
    """Make sure that images, recipe and teacher fit each other.

    Raises:
        DataError: labels are missing, or the sets do not fit each other.
        RecipeError: the recipe asks for something that was not given, or vice versa.
    """
    if recipe.ensemble.members > 1:
        problem = (
            f"ensemble.members is {recipe.ensemble.members}, expected 1 here: ensembles are "
            "trained by `tenfold.fit(dataset, recipe=…)`, `tenfold run` and `tenfold train`"
        )
        raise RecipeError(recipe.name, [problem])
    if (recipe.distillation.teacher is None) != (teacher is None):
        problem = "a teacher was given, but distillation.teacher is not set"
        if teacher is None:
            problem = (
                f"distillation.teacher is {recipe.distillation.teacher}, but no teacher was given"
            )
        raise RecipeError(recipe.name, [problem])
    if teacher is not None and not _fit_each_other(teacher, train_set):
        raise DataError(f"{train_set.name}: its classes or image size are not those of the teacher")
    train_set.require_labels()
    if len(train_set) < 2:
        raise DataError(
            f"{train_set.name}: has {len(train_set)} images, expected at least 2 to train on"
        )
    if valid_set is None and recipe.data.validation is not None:
        problem = "holds images out for validation, but none were given (valid_set=None)"
        raise RecipeError(recipe.name, [problem])
    if valid_set is None:
        return
    if not len(valid_set):
        raise DataError(f"{valid_set.name}: has no images, expected validation images, or None")
    valid_set.require_labels()
    if not _fit_each_other(valid_set, train_set):
        raise DataError(
            f"{valid_set.name}: its classes or image size are not those of the training set"
        )


def _fit_each_other(one: Dataset | Recognizer, other: Dataset) -> bool:
    return (one.classes, one.image_size) == (other.classes, other.image_size)
