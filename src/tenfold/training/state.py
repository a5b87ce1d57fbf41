"""The state of one training: network, optimizer, step and history.

Randomness is a function of seed and step (`loader.derive_seed`) and the learning rate of step and
history, so this is all that a checkpoint holds.
"""

import copy
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tenfold.data.dataset import Dataset
from tenfold.device import Device
from tenfold.errors import RecipeError
from tenfold.networks import build
from tenfold.recipe import Recipe
from tenfold.recognizer import Member, Recognizer
from tenfold.training.callbacks import EpochMetrics, IntervalMetrics, StepProgress
from tenfold.training.distributed import ProcessGroup
from tenfold.training.loader import DeviceLoader
from tenfold.training.optimizers import (
    build_optimizer,
    epochs_since_best,
    lr_multiplier,
    update_ema,
)

INTERVALS = 400  # that a run is divided into: more points than a curve can show


@dataclass
class TrainState:
    """All that changes while one network is trained, along with recipe, data and device.

    Attributes:
        recipe, loader, device, train_set: what it is trained by.
        train_sha256: content hash of `train_set`.
        model: the network that is trained.
        ema_model: its moving average, or None.
        optimizer: with its moments.
        seed_suffix: what tells the dropout of this process from that of others.
        world_size: how many processes train together.
        step: steps done.
        history: finished epochs.
        intervals: finished intervals of a few steps.
        metrics: float64 [2, 3] of the running epoch and the running interval: loss times images,
            correct predictions, images; of this process.
        train_s: seconds of training in the running epoch.
    """

    recipe: Recipe
    loader: DeviceLoader
    device: Device
    train_set: Dataset
    train_sha256: str
    model: nn.Module
    ema_model: nn.Module | None
    optimizer: torch.optim.Optimizer
    metrics: Tensor
    seed_suffix: tuple[int, ...] = ()
    world_size: int = 1
    step: int = 0
    history: list[EpochMetrics] = field(default_factory=list)
    intervals: list[IntervalMetrics] = field(default_factory=list)
    train_s: float = 0.0
    _clock: float = field(default_factory=time.perf_counter)

    @classmethod
    def create(
        cls, recipe: Recipe, train_set: Dataset, device: Device, group: ProcessGroup
    ) -> "TrainState":
        """Build loader, network and optimizer, with fresh weights from the recipe's seed.

        Raises:
            RecipeError: the network cannot take these images, or the processes not the batch size.
        """
        loader = DeviceLoader(train_set, recipe, device, group)
        group.check_batch_size(loader.batch_size, recipe.name)
        model = build(
            recipe.network,
            image_size=loader.preprocessing.size or train_set.image_size,
            n_classes=len(train_set.classes),
            seed=recipe.seed,
        )
        model = group.convert_sync_batchnorm(device.to_device(model))
        ema_model = None
        if recipe.training.ema_decay is not None:
            ema_model = copy.deepcopy(model).requires_grad_(False)
        return cls(
            recipe=recipe,
            loader=loader,
            device=device,
            train_set=train_set,
            train_sha256=train_set.content_hash(),
            model=model,
            ema_model=ema_model,
            optimizer=build_optimizer(recipe.optimizer, model),
            metrics=torch.zeros(2, 3, dtype=torch.float64, device=device.torch_device),
            seed_suffix=group.seed_suffix,
            world_size=group.world_size,
        )

    @property
    def epoch(self) -> int:
        """The running epoch, from 0."""
        return len(self.history)

    @property
    def step_in_epoch(self) -> int:
        """Steps done in the running epoch."""
        return self.step - self.epoch * self.loader.steps_per_epoch

    @property
    def max_epochs(self) -> int:
        """How many epochs the recipe plans."""
        return self.recipe.training.max_epochs

    @property
    def lr_multiplier(self) -> float:
        """What the initial learning rates are multiplied by at the next step."""
        return self._lr_multiplier(self.step)

    def _lr_multiplier(self, step: int) -> float:
        return lr_multiplier(
            self.recipe.schedule,
            step=step,
            total_steps=self.loader.total_steps,
            steps_per_epoch=self.loader.steps_per_epoch,
            valid_accuracies=self._valid_accuracies(),
        )

    def is_finished(self) -> bool:
        """Whether all epochs are done, or enough of them in a row brought nothing better."""
        patience = self.recipe.training.patience_epochs
        waited = epochs_since_best(self._valid_accuracies())
        stopped_early = patience is not None and waited >= patience
        return self.epoch >= self.max_epochs or stopped_early

    def check_length(self) -> None:
        """Make sure that the recipe is not shorter than what was trained already.

        Raises:
            RecipeError: it is.
        """
        begun = -(-self.step // self.loader.steps_per_epoch)
        if begun > self.max_epochs:
            problem = (
                f"training.max_epochs is {self.max_epochs}, but the run is already in epoch "
                f"{begun}; expected at least that to resume"
            )
            raise RecipeError(self.recipe.name, [problem])

    def update_ema(self) -> None:
        """Move the average of the weights, if there is one, by the step just taken."""
        if self.ema_model is not None and self.recipe.training.ema_decay is not None:
            update_ema(self.ema_model, self.model, self.recipe.training.ema_decay, self.step)

    def update_metrics(self, loss: Tensor, correct: Tensor, count: int) -> None:
        """Add one step: its mean loss, correct predictions, and images."""
        images = torch.full_like(loss, count)
        self.metrics += torch.stack([loss * images, correct, images]).double()
        self.step += 1

    def end_step(self, group: ProcessGroup) -> None:
        """Count the step's time, and close the interval of steps if it is full."""
        self.lap()
        if self.step % max(1, self.loader.total_steps // INTERVALS):
            return
        loss_sum, correct, count = group.all_reduce(self.metrics[1].clone()).tolist()
        self.intervals.append(
            IntervalMetrics(
                step=self.step,
                epoch=self.step / self.loader.steps_per_epoch,
                train_loss=loss_sum / count,
                train_accuracy=correct / count,
                learning_rate=self._learning_rate(),
            )
        )
        self.metrics[1].zero_()

    def end_epoch(
        self,
        group: ProcessGroup,
        valid_loss: float | None,
        valid_accuracy: float | None,
        valid_s: float,
    ) -> None:
        """Close the running epoch.

        Args:
            group: over whose processes the training metrics are added up.
            valid_loss: None without validation images.
            valid_accuracy: likewise.
            valid_s: seconds of validation, which `lap` has counted as training.
        """
        loss_sum, correct, count = group.all_reduce(self.metrics[0].clone()).tolist()
        train_s = self.train_s - valid_s
        before_s = self.history[-1].elapsed_s if self.history else 0.0
        row = EpochMetrics(
            epoch=self.epoch + 1,
            train_loss=loss_sum / count,
            train_accuracy=correct / count,
            valid_loss=valid_loss,
            valid_accuracy=valid_accuracy,
            learning_rate=self._learning_rate(),
            images_per_s=count / train_s,
            train_s=train_s,
            valid_s=valid_s,
            elapsed_s=before_s + train_s + valid_s,
        )
        self.history.append(row)
        self.metrics[0].zero_()
        self.train_s = 0.0

    def best_epoch(self) -> int:
        """The epoch that the recognizer comes from, from 1.

        The best is by validation accuracy, among equals by validation loss.
        """
        if self.recipe.training.checkpoint_selection == "last":
            return self.history[-1].epoch
        best = max(self.history, key=lambda row: (row.valid_accuracy or 0, -(row.valid_loss or 0)))
        return best.epoch

    def recognizer(self) -> Recognizer:
        """Wrap the weights as they are now: the moving average where there is one.

        It shares memory with the state, unless the recipe rounds the weights.
        """
        member = Member(
            self.model if self.ema_model is None else self.ema_model,
            self.recipe.network,
            self.loader.preprocessing,
        )
        return Recognizer(
            members=[member],
            classes=self.train_set.classes,
            image_size=self.train_set.image_size,
            tta_shift=self.recipe.prediction.tta_shift_pixels,
            precision=self.recipe.training.precision,
            provenance={
                "recipe": self.recipe.model_dump(mode="json"),
                "data": self.train_set.name,
                "train_sha256": self.train_sha256,
                "epoch": self.epoch,
            },
        ).cast_weights(self.recipe.prediction.weights_dtype)

    def progress(self) -> StepProgress:
        """Return how far training is; on a GPU this waits for the running step."""
        _, correct, count = self.metrics[0].tolist()
        done_s = self.train_s + sum(row.train_s + row.valid_s for row in self.history)
        return StepProgress(
            step=self.step,
            total_steps=self.loader.total_steps,
            phase=f"epoch {self.epoch + 1}/{self.max_epochs}",
            accuracy=correct / count,
            images_per_s=count * self.world_size / self.train_s,
            eta_s=done_s / self.step * (self.loader.total_steps - self.step),
        )

    def start_clock(self) -> None:
        """Count training time from now."""
        self._clock = time.perf_counter()

    def lap(self) -> float:
        """Add the seconds since the last call of this or `start_clock` to `train_s`; return them.

        So callbacks count as training, since those that show progress wait for a GPU; a
        checkpoint starts the clock again when it is saved.
        """
        now = time.perf_counter()
        seconds = now - self._clock
        self.train_s, self._clock = self.train_s + seconds, now
        return seconds

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor of the state but the optimizer's; they share memory with it."""
        tensors = {"metrics": self.metrics}
        tensors |= {f"model.{name}": t for name, t in self.model.state_dict().items()}
        if self.ema_model is not None:
            tensors |= {f"ema_model.{name}": t for name, t in self.ema_model.state_dict().items()}
        return tensors

    def _learning_rate(self) -> float:
        """The learning rate of the last step."""
        return self.recipe.optimizer.learning_rate * self._lr_multiplier(self.step - 1)

    def _valid_accuracies(self) -> list[float]:
        return [row.valid_accuracy or 0.0 for row in self.history]
