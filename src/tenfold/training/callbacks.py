"""Callbacks: hooks that run during training, at fixed points of the loop.

    Callback      the hooks, which do nothing
    CallbackList  several as one, in order
    MetricsLog    metrics.jsonl and steps.jsonl in the run folder
    TensorBoard   event files in the run folder
    JobReporter   progress of a job, sent to the process that started it

Checkpoints are in `tenfold.training.checkpoint`, progress bars in `tenfold.training.console`.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tenfold.files import write_text
from tenfold.run_folder import RunFolder

if TYPE_CHECKING:
    from tenfold.training.state import TrainState

PROGRESS_INTERVAL_S = 0.2
METRICS_INTERVAL_S = 10.0
MAX_HISTOGRAM_WEIGHTS = 100_000  # of a layer go into its histogram; millions would take seconds
IMAGES_SHOWN = 32


@dataclass(frozen=True)
class EpochMetrics:
    """Metrics of one epoch; a row of `metrics.jsonl`.

    Attributes:
        epoch: counted from 1.
        train_loss, train_accuracy: mean over the epoch's augmented batches, weights moving; the
            loss in nats, without label smoothing and distillation.
        valid_loss, valid_accuracy: of the weights that are kept (the moving average, if there is
            one); None without validation images.
        learning_rate: of the epoch's last step.
        images_per_s: training alone.
        train_s, valid_s: seconds spent on each in this epoch.
        elapsed_s: seconds of training and validation since the first step, pauses left out.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_loss: float | None
    valid_accuracy: float | None
    learning_rate: float
    images_per_s: float
    train_s: float
    valid_s: float
    elapsed_s: float


@dataclass(frozen=True)
class IntervalMetrics:
    """Metrics of a few steps in a row; a row of `steps.jsonl`.

    Attributes:
        step: the last of them, counted from 1.
        epoch: where that is, in epochs: 2.5 is the middle of the third.
        train_loss, train_accuracy: mean over the augmented batches of these steps.
        learning_rate: of the last step.
    """

    step: int
    epoch: float
    train_loss: float
    train_accuracy: float
    learning_rate: float


@dataclass(frozen=True)
class StepProgress:
    """How far training is, within an epoch.

    Attributes:
        step, total_steps: steps done and planned.
        phase: what is running: "epoch 3/7".
        accuracy: on the epoch's training batches so far.
        images_per_s: training speed of this epoch so far.
        eta_s: estimated seconds for the remaining steps; None while it would be a guess.
    """

    step: int
    total_steps: int
    phase: str
    accuracy: float
    images_per_s: float
    eta_s: float | None


@dataclass(frozen=True)
class Status:
    """The state of a search or a comparison.

    Attributes:
        line: the whole of it in one line.
        header, rows: the same as a table.
    """

    line: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class TrainingProgress(Protocol):
    """What the hooks are given: `TrainState` for one network, or the progress of an ensemble."""

    @property
    def history(self) -> Sequence[EpochMetrics]:
        """The finished epochs."""

    @property
    def intervals(self) -> Sequence[IntervalMetrics]:
        """The finished intervals of a few steps each."""

    @property
    def max_epochs(self) -> int:
        """How many epochs are planned."""

    def progress(self) -> StepProgress:
        """Return how far training is; on a GPU this waits for the running step."""


class Callback:
    """Hooks at fixed points of training and of experiments; each does nothing by default.

    An ensemble, whose members train in processes of their own, calls `on_step_end` and `teardown`
    alone; a search or a comparison calls `on_status` and `teardown`.
    """

    def on_train_begin(self, state: "TrainState") -> None:
        """Before the first step of this process, after a checkpoint was loaded."""

    def on_step_end(self, state: TrainingProgress) -> None:
        """After each step: only cheap or rare work belongs here."""

    def on_epoch_end(self, state: "TrainState") -> None:
        """After each epoch, validation included."""

    def on_interrupt(self, state: "TrainState") -> None:
        """Training stops between two steps, because the user asked for it."""

    def on_train_end(self, state: "TrainState") -> None:
        """After the last epoch."""

    def on_status(self, status: Status) -> None:
        """A search or a comparison made progress; called whenever anything changes."""

    def teardown(self) -> None:
        """Last of all, whether training ended or failed: release what is open."""


class CallbackList(Callback):
    """Several callbacks as one, called in order."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._callbacks = list(callbacks)

    def on_train_begin(self, state: "TrainState") -> None:
        """Call all of them."""
        for callback in self._callbacks:
            callback.on_train_begin(state)

    def on_step_end(self, state: TrainingProgress) -> None:
        """Call all of them."""
        for callback in self._callbacks:
            callback.on_step_end(state)

    def on_epoch_end(self, state: "TrainState") -> None:
        """Call all of them."""
        for callback in self._callbacks:
            callback.on_epoch_end(state)

    def on_interrupt(self, state: "TrainState") -> None:
        """Call all of them."""
        for callback in self._callbacks:
            callback.on_interrupt(state)

    def on_train_end(self, state: "TrainState") -> None:
        """Call all of them."""
        for callback in self._callbacks:
            callback.on_train_end(state)

    def on_status(self, status: Status) -> None:
        """Call all of them."""
        for callback in self._callbacks:
            callback.on_status(status)

    def teardown(self) -> None:
        """Call all of them, though one may fail."""
        with ExitStack() as stack:
            for callback in reversed(self._callbacks):
                stack.callback(callback.teardown)


class Throttle:
    """Tells when something that is possible at every step is due again.

    Args:
        interval_s: seconds between two times.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the interval has passed; if so, it restarts."""
        due = time.monotonic() - self._last >= self.interval_s
        if due:
            self.restart()
        return due

    def restart(self) -> None:
        """Count from now."""
        self._last = time.monotonic()


class JobReporter(Callback):
    """Sends progress to the process that started this job, a few times a second.

    Args:
        emit: sends JSON values.
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        self._emit = emit
        self._throttle = Throttle(PROGRESS_INTERVAL_S)

    def on_step_end(self, state: TrainingProgress) -> None:
        """Send {"step_progress": …} if it is due."""
        if self._throttle.is_due():
            self._emit({"step_progress": asdict(state.progress())})


class MetricsLog(Callback):
    """Writes `metrics.jsonl`, a row an epoch, and `steps.jsonl`, a row every few steps.

    Both are written from the state, so after a resume they hold what the checkpoint held.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._throttle = Throttle(METRICS_INTERVAL_S)

    def on_train_begin(self, state: "TrainState") -> None:
        """Write what was resumed: a kill may have come between checkpoint and tables."""
        if state.step:
            self._write(state)

    def on_step_end(self, state: TrainingProgress) -> None:
        """Keep the table of steps fresh in long epochs."""
        if self._throttle.is_due():
            self._write(state)

    def on_epoch_end(self, state: "TrainState") -> None:
        """Write both tables."""
        self._write(state)

    def on_interrupt(self, state: "TrainState") -> None:
        """Write both tables."""
        self._write(state)

    def _write(self, state: TrainingProgress) -> None:
        for path, rows in (
            (self._folder.metrics, state.history),
            (self._folder.steps, state.intervals),
        ):
            write_text(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows))
        self._throttle.restart()


class TensorBoard(Callback):
    """Writes scalars, histograms and the first batch to `tensorboard/` in the run folder.

    Args:
        folder: the run folder.
    """

    TAGS: Mapping[str, str] = {
        "loss/training": "train_loss",
        "loss/validation": "valid_loss",
        "accuracy/training": "train_accuracy",
        "accuracy/validation": "valid_accuracy",
        "learning rate": "learning_rate",
        "images per second": "images_per_s",
    }

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._writer: Any = None

    def on_train_begin(self, state: "TrainState") -> None:
        """Open the event file and add the first batch as the network sees it."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - a second to import

        # What a killed run wrote after its last checkpoint is purged: it will come again.
        purge_step = len(state.history) + 1
        self._writer = SummaryWriter(str(self._folder.tensorboard), purge_step=purge_step)
        if not state.is_finished():
            images = state.loader.first_batch().inputs[:IMAGES_SHOWN].float().cpu()
            low, high = images.min(), images.max()
            scaled = (images - low) / (high - low + 1e-12)
            self._writer.add_images("what the network sees", scaled, 0)

    def on_epoch_end(self, state: "TrainState") -> None:
        """Add the epoch's scalars, and histograms of the weights."""
        row = state.history[-1]
        for name, weights in state.model.named_parameters():
            values = weights.detach().float().cpu().flatten()
            stride = -(-len(values) // MAX_HISTOGRAM_WEIGHTS)
            self._writer.add_histogram(name, values[::stride].numpy(), row.epoch)
        for tag, name in self.TAGS.items():
            value = getattr(row, name)
            if value is not None:
                self._writer.add_scalar(tag, value, row.epoch)
        self._writer.flush()

    def teardown(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
