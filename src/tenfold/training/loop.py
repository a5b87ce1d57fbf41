"""The training loop: from a Dataset and a Recipe to a Recognizer, and a run folder on the way."""

import copy
import json
import math
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.data.dataset import Dataset
from tenfold.device import Device
from tenfold.errors import DataError, Interrupted, RecipeError
from tenfold.files import graceful_shutdown
from tenfold.metrics import log_loss
from tenfold.networks import build as build_network
from tenfold.recipe import Recipe
from tenfold.recognizer import Member, Recognizer
from tenfold.training import checkpoint, lr_schedule, optimizers
from tenfold.training.callbacks import (
    Callback,
    Epoch,
    IntervalMetrics,
    NullCallback,
    StepProgress,
    TensorBoard,
)
from tenfold.training.checkpoint import RunWriter, State
from tenfold.training.distillation import Teacher
from tenfold.training.distributed import ProcessGroup
from tenfold.training.loader import DROPOUT, DeviceLoader, derive_seed

SECONDS_BETWEEN_MOMENTS = 0.2
STRETCHES = 400  # that a run is divided into: more points than a curve can show


def fit(
    train: Dataset,
    valid: Dataset | None = None,
    recipe: Recipe | str | Path = "quick",
    *,
    out: Path | str | None = None,
    resume: bool = False,
    teacher: Recognizer | None = None,
    checks: Mapping[str, Any] | None = None,
    listener: Callback | None = None,
) -> Recognizer:
    """Train a recognizer of one network; `tenfold.training.train.learn` trains all recipes.

    Its confidence is as training left it: see `tenfold.training.train`.

    Started by torchrun, several processes train it together: see `tenfold.training.distributed`.

    Args:
        train: labelled images.
        valid: labelled images that choose the epoch and the learning rate where the recipe says
            so; None if the recipe holds none out.
        recipe: a Recipe, the name of one, or a TOML file.
        out: the run folder to leave; None leaves no files.
        resume: go on from the folder's checkpoint, if it has one. The result is the one that an
            uninterrupted run would have had, bit for bit on the same machine. The recipe may
            differ from the folder's in `training.max_epochs` alone.
        teacher: what `recipe.distillation` calls for, trained already.
        checks: what the checks of the data found, kept in `data.json`.
        listener: is told how it goes.

    Raises:
        DataError: labels are missing, or the two sets do not fit each other.
        RecipeError: the recipe cannot work on these images, or training diverged.
        RecognizerError: the checkpoint is damaged or of another run.
        OutputError: the folder cannot be written to, or already holds a run.
        Interrupted: Ctrl-C or SIGTERM, with the state saved in `out`.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    listener = NullCallback() if listener is None else listener
    validate_inputs(train, valid, recipe, teacher)
    together = ProcessGroup.detect()
    folder = None if out is None or not together.leads else Path(out)
    device = Device.detect(recipe.training.precision)

    def trained() -> Recognizer:  # whose trainer is gone before the processes part
        trainer = Trainer(train, valid, recipe, folder, listener, teacher=teacher)
        return trainer.run(resume=resume, checks=checks)

    with together.joined(device), device.deterministic():
        return trained()


class Trainer:
    """One training run, from the first step to the last; `fit` is the way in."""

    def __init__(
        self,
        train: Dataset,
        valid: Dataset | None,
        recipe: Recipe,
        out: Path | None,
        listener: Callback,
        *,
        teacher: Recognizer | None = None,
    ) -> None:
        self.train, self.valid, self.recipe, self.listener = train, valid, recipe, listener
        self.device = Device.detect(recipe.training.precision)
        self.batches = DeviceLoader(train, recipe, self.device)
        self.together = ProcessGroup.detect()
        self.together.check(self.batches.size, recipe.name)

        network = build_network(
            recipe.network,
            image_size=self.batches.preprocessing.size or train.image_size,
            n_classes=len(train.classes),
            seed=recipe.seed,
        )
        network = self.together.convert_sync_batchnorm(self.device.to_device(network))
        twin = copy.deepcopy(network) if recipe.training.ema_decay else None
        self.state = State(
            network,
            twin.requires_grad_(False) if twin else None,
            optimizers.build(recipe.optimizer, network),
            sums=torch.zeros(2, 3, dtype=torch.float64, device=self.device.torch_device),
        )
        self._called = self.together.wrapped(network)
        self._learned = train.content_hash()
        self._told_at = 0.0
        self.teacher = None
        if teacher is not None:
            self.teacher = Teacher(teacher, self.device, recipe.distillation.temperature)
        self.archive = RunWriter(
            out, recipe, train, valid, teacher
        )  # last: bad choices leave no folder

    # The story of a run

    def run(self, *, resume: bool, checks: Mapping[str, Any] | None) -> Recognizer:
        """Train to the end, or until asked to stop, and return the recognizer that is kept."""
        self._start(resume=resume, checks=checks)
        done = len(self.state.history)
        try:
            with graceful_shutdown() as stop, TensorBoard(self.archive.folder, done) as board:
                if not self._finished():
                    board.show(lambda: self.batches.seen(torch.arange(self.batches.size), 0)[0])
                while not self._finished():
                    self._train_epoch(stop)
                    self._finish_epoch(board)
                if self.together.any(stop.is_set(), self.device):
                    self._interrupt()
        finally:
            self.listener.close()
        return self.archive.kept()

    def _finished(self) -> bool:
        patience = self.recipe.training.patience_epochs
        waited = lr_schedule.epochs_since_best(self._accuracies())
        stopped_early = patience is not None and waited >= patience
        return len(self.state.history) >= self.recipe.training.max_epochs or stopped_early

    def _train_epoch(self, stop: threading.Event) -> None:
        """Take the steps that the running epoch still lacks; after a resume that may be none."""
        epoch = len(self.state.history)
        done = self.state.step - epoch * self.batches.steps_per_epoch
        self.state.network.train()
        format_duration = time.perf_counter()
        for chosen in self.batches.of_epoch(epoch)[done:]:
            if self.together.any(stop.is_set(), self.device):
                self._interrupt()
            self.step(chosen)
            now = time.perf_counter()
            self.state.train_s += now - format_duration
            format_duration = now
            self._tell_moment()  # waits for a GPU, so its time is training's
            if self.archive.is_save_due():
                self.archive.save(self.state)
                format_duration = time.perf_counter()

    def step(self, chosen: Tensor) -> None:
        """Change the weights once, by the images at `chosen`: int64 [batch]."""
        state, training, batches = self.state, self.recipe.training, self.batches
        optimizers.set_learning_rate(state.optimizer, self._learning_rate(state.step))
        mine = self.together.share(len(chosen))
        seen, wanted = batches.seen(chosen, state.step, mine)
        labels = wanted if wanted.ndim == 1 else wanted.argmax(dim=1)  # of a mixture, the larger

        torch.manual_seed(derive_seed(self.recipe.seed, DROPOUT, state.step, *self._apart()))
        with self.device.autocast():
            logits = self._called(seen).float()
        loss = F.cross_entropy(logits, wanted, label_smoothing=training.label_smoothing)
        told = F.cross_entropy(logits.detach(), labels)  # what validation's loss compares with
        if self.teacher is not None:
            drawn = partial(batches.warp, len(chosen), state.step, mine=mine)
            said = self.teacher.says(batches.stroke_width_jitter(chosen, state.step, mine), drawn)
            loss = torch.lerp(
                loss, self.teacher.loss(logits, said), self.recipe.distillation.weight
            )
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        with self.device.autocast():  # Muon's products too
            state.optimizer.step()

        if state.average is not None and training.ema_decay is not None:
            optimizers.move(state.average, state.network, training.ema_decay, state.step)
        right = (logits.argmax(dim=1) == labels).sum()
        count = torch.full_like(told, len(labels))
        state.sums += self.together.sum(torch.stack([told * count, right, count]).double())
        state.step += 1
        if state.step % max(1, self.batches.total_steps // STRETCHES) == 0:
            self._finish_stretch()

    def _apart(self) -> tuple[int, ...]:
        """Return what tells this process's dropout from the others'; alone there is nothing."""
        return (self.together.rank,) if self.together.count > 1 else ()

    def _finish_stretch(self) -> None:
        loss_sum, correct, count = self.state.sums[1].tolist()
        self.state.intervals.append(
            IntervalMetrics(
                step=self.state.step,
                epoch=self.state.step / self.batches.steps_per_epoch,
                train_loss=loss_sum / count,
                train_accuracy=correct / count,
                learning_rate=self._learning_rate(self.state.step - 1),
            )
        )
        self.state.sums[1].zero_()

    def _finish_epoch(self, board: TensorBoard) -> None:
        state = self.state
        loss_sum, correct, count = state.sums[0].tolist()
        recognizer = self._recognizer()
        if not (math.isfinite(loss_sum) and recognizer.is_finite()):
            raise RecipeError(
                self.recipe.name,
                [
                    f"training diverged in epoch {len(state.history) + 1} (loss or weights are no "
                    "numbers); a lower optimizer.learning_rate usually helps"
                ],
            )
        started = time.perf_counter()
        valid_loss, valid_accuracy = self._validate(recognizer)
        valid_s = time.perf_counter() - started
        before_s = state.history[-1].elapsed_s if state.history else 0.0
        row = Epoch(
            epoch=len(state.history) + 1,
            train_loss=loss_sum / count,
            train_accuracy=correct / count,
            valid_loss=valid_loss,
            valid_accuracy=valid_accuracy,
            learning_rate=self._learning_rate(state.step - 1),
            images_per_s=count / state.train_s,
            train_s=state.train_s,
            valid_s=valid_s,
            elapsed_s=before_s + state.train_s + valid_s,
        )
        state.history.append(row)
        state.sums[0].zero_()
        state.train_s = 0.0
        if best_epoch(state.history, self.recipe.training.checkpoint_selection) == row.epoch:
            self.archive.keep(recognizer)
        self.archive.save(state)
        board.write(row, state.network)
        self.listener.epoch(row, self.recipe.training.max_epochs)

    def _validate(self, recognizer: Recognizer) -> tuple[float | None, float | None]:
        """Return its loss and accuracy on the images held out, as the leader finds them."""
        found = b"null"
        if self.together.leads:
            # To look again where it is not sure would take up to five times, early in a run.
            judged = replace(recognizer, tta_shift=None)
            found = json.dumps(validate(judged, self.valid, self.device)).encode()
        loss, accuracy = json.loads(self.together.leaders(found, self.device))
        return loss, accuracy

    def _start(self, *, resume: bool, checks: Mapping[str, Any] | None) -> None:
        restored = self.archive.restore(self.state, resume=resume)
        if self.together.count > 1:
            restored = self._restore_leaders()
        if restored:
            self._check_length()
            self.listener.note(
                f"resumed after step {self.state.step:,} of {self.batches.total_steps:,} "
                f"({len(self.state.history)} epochs)"
            )
            if self._finished():
                self.listener.note(
                    "nothing is left to train: the run is complete, or stopped early"
                )
        self.archive.describe(self.device, checks)
        self.listener.note(f"training on {self.device}")

    def _restore_leaders(self) -> bool:
        """Bring this process to where the leader's checkpoint is; say whether there was one."""
        folder = self.archive.folder
        content = b""
        if folder is not None and folder.checkpoint.exists():
            content = folder.checkpoint.read_bytes()
        content = self.together.leaders(content, self.device)
        if content and not self.together.leads:
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / "checkpoint.safetensors"
                path.write_bytes(content)
                checkpoint.restore(path, self.state, {})
        return bool(content)

    def _check_length(self) -> None:
        begun = math.ceil(self.state.step / self.batches.steps_per_epoch)
        if begun > self.recipe.training.max_epochs:
            raise RecipeError(
                self.recipe.name,
                [
                    f"training.max_epochs is {self.recipe.training.max_epochs}, but the run is "
                    f"already in epoch {begun}; expected at least that to resume"
                ],
            )

    def _recognizer(self) -> Recognizer:
        """Wrap the network that is to be judged: the average where there is one."""
        state = self.state
        return Recognizer(
            members=[
                Member(
                    state.network if state.average is None else state.average,
                    self.recipe.network,
                    self.batches.preprocessing,
                )
            ],
            classes=self.train.classes,
            image_size=self.train.image_size,
            tta_shift=self.recipe.prediction.tta_shift_pixels,
            precision=self.recipe.training.precision,
            provenance={
                "recipe": self.recipe.model_dump(mode="json"),
                "data": self.train.name,
                "learned": self._learned,
                "epoch": len(state.history) + 1,
            },
        ).cast_weights(self.recipe.prediction.weights_dtype)

    def _interrupt(self) -> None:
        if self.archive.folder is None:
            raise KeyboardInterrupt  # nobody keeps anything, or the leader does
        self.archive.save(self.state)
        raise Interrupted(
            f"stopped after step {self.state.step:,} of {self.batches.total_steps:,}, saved in "
            f"{self.archive.folder.path}"
        )

    # Small things that several of the above need

    def _accuracies(self) -> list[float]:
        return [row.valid_accuracy or 0.0 for row in self.state.history]

    def _learning_rate(self, step: int) -> float:
        return lr_schedule.learning_rate(
            self.recipe.schedule,
            self.recipe.optimizer,
            step=step,
            total_steps=self.batches.total_steps,
            steps_per_epoch=self.batches.steps_per_epoch,
            accuracies=self._accuracies(),
        )

    def _tell_moment(self) -> None:
        now = time.monotonic()
        if now - self._told_at < SECONDS_BETWEEN_MOMENTS:
            return
        self._told_at = now
        state = self.state
        _, correct, count = state.sums[0].tolist()
        done_s = state.train_s + sum(row.train_s + row.valid_s for row in state.history)
        self.listener.moment(
            StepProgress(
                step=state.step,
                total_steps=self.batches.total_steps,
                stage=f"epoch {len(state.history) + 1}/{self.recipe.training.max_epochs}",
                accuracy=correct / count,
                images_per_s=count / state.train_s,
                seconds_left=done_s / state.step * (self.batches.total_steps - state.step),
            )
        )


def validate_inputs(
    train: Dataset, valid: Dataset | None, recipe: Recipe, teacher: Recognizer | None
) -> None:
    """Make sure that `tenfold.training.loop.fit` can work with its arguments.

    Raises:
        DataError: labels are missing, or the sets do not fit each other.
        RecipeError: the recipe calls for something that was not given, or the other way round.
    """
    if recipe.ensemble.members > 1:
        problem = (
            f"ensemble.members is {recipe.ensemble.members}, expected 1 here: ensembles are "
            "trained by `tenfold run`, `tenfold train`, and tenfold.training.train.learn"
        )
        raise RecipeError(recipe.name, [problem])
    if (recipe.distillation.teacher is None) != (teacher is None):
        named = recipe.distillation.teacher or "none"
        problem = f"distillation.teacher is {named}, expected just that to be given to `fit`"
        raise RecipeError(recipe.name, [problem])
    if teacher is not None and (teacher.classes, teacher.image_size) != (
        train.classes,
        train.image_size,
    ):
        raise DataError(f"{train.name}: its classes or image size are not those of the teacher")
    train.require_labels()
    if len(train) < 2:
        raise DataError(f"{train.name}: has {len(train)} images, expected at least 2 to train on")
    if valid is None and recipe.data.validation is not None:
        raise RecipeError(
            recipe.name, ["holds images out for validation, but none were given (valid=None)"]
        )
    if valid is not None:
        if not len(valid):
            raise DataError(f"{valid.name}: has no images, expected some to judge by, or None")
        valid.require_labels()
        if (valid.classes, valid.image_size) != (train.classes, train.image_size):
            raise DataError(f"{valid.name}: its classes or image size are not those of training")


def validate(
    recognizer: Recognizer, valid: Dataset | None, device: Device
) -> tuple[float | None, float | None]:
    """Return mean negative log-likelihood and accuracy on `valid`, by the road of prediction."""
    if valid is None:
        return None, None
    probabilities = recognizer.predict_proba(valid, device)
    labels = valid.require_labels()
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return log_loss(probabilities, labels), accuracy


def best_epoch(history: Sequence[Epoch], keep: str) -> int:
    """Return which epoch the recognizer comes from, counted from 1.

    The best is by validation accuracy, among equals by validation loss.
    """
    if keep == "last":
        return history[-1].epoch
    return max(history, key=lambda row: (row.valid_accuracy or 0, -(row.valid_loss or 0))).epoch
