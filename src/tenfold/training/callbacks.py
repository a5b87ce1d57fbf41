"""How training is told: a live bar on a terminal, plain sparse lines elsewhere, or nothing."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor, nn

from tenfold.formatting import format_duration
from tenfold.run_folder import RunFolder

# A log file gets a line an epoch and, in long epochs, one in this many seconds: enough to see
# that it lives, and no file of 200,000 lines.
LOG_INTERVAL_S = 4.0


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought; a row of `metrics.jsonl`.

    Attributes:
        epoch: counted from 1.
        train_loss, train_accuracy: mean over the epoch's augmented batches, weights moving; the
            loss in nats, without label smoothing and what a teacher says.
        valid_loss, valid_accuracy: of the kept weights (the average, if there is one); None
            without validation images.
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
    """What a few steps in a row brought; a row of `steps.jsonl`.

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
        stage: which part is running: "epoch 3/7".
        accuracy: on the epoch's training batches so far.
        images_per_s: training speed of this epoch so far.
        seconds_left: estimate for the remaining steps; None while it would be a guess.
    """

    step: int
    total_steps: int
    stage: str
    accuracy: float
    images_per_s: float
    seconds_left: float | None


class Callback(Protocol):
    """Who is told how training goes."""

    def note(self, sentence: str) -> None:
        """Take one sentence about something that happened."""

    def moment(self, moment: StepProgress) -> None:
        """Take the state within an epoch; called several times a second at most."""

    def epoch(self, epoch: Epoch, max_epochs: int) -> None:
        """Take a finished epoch."""

    def close(self) -> None:
        """Training is over or broke off; leave the terminal tidy."""


class NullCallback:
    """A listener that says nothing: what the Python API uses unless told otherwise."""

    def note(self, sentence: str) -> None:
        """Drop it."""

    def moment(self, moment: StepProgress) -> None:
        """Drop it."""

    def epoch(self, epoch: Epoch, max_epochs: int) -> None:
        """Drop it."""

    def close(self) -> None:
        """Do nothing."""


class JobReporter(NullCallback):
    """Sends the moments of training as messages: to the process that waits for this one."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell

    def moment(self, moment: StepProgress) -> None:
        """Send it."""
        self._tell({"moment": asdict(moment)})


class Lines:
    """Plain lines for log files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = time.monotonic()

    def note(self, sentence: str) -> None:
        """Print it."""
        self._print(sentence)

    def moment(self, moment: StepProgress) -> None:
        """Print a line if nothing was printed for a while."""
        if time.monotonic() - self._last_line >= LOG_INTERVAL_S:
            self._print(f"  {_moment_line(moment)}")

    def epoch(self, epoch: Epoch, max_epochs: int) -> None:
        """Print one line."""
        self._print(_epoch_line(epoch, max_epochs))

    def close(self) -> None:
        """Nothing is open."""

    def _print(self, line: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class Bar(Lines):
    """A live bar, with a line that stays for each epoch."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress = Progress(
            BarColumn(bar_width=24), TextColumn("{task.description}"), console=console,
            transient=True, auto_refresh=False,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None)

    def moment(self, moment: StepProgress) -> None:
        """Move the bar."""
        self._progress.start()
        self._progress.update(
            self._task,
            completed=moment.step,
            total=moment.total_steps,
            description=_moment_line(moment),
            refresh=True,
        )

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def listener(console: Console) -> Callback:
    """Choose by where `console` writes: a bar on a terminal, lines elsewhere."""
    return Bar(console) if console.is_terminal else Lines(console)


def counting(note: Callable[[str], None]) -> Callable[[int, int], None]:
    """Return what tells `note`, every few seconds, how many images are answered."""
    told_at = time.monotonic()

    def tell(done: int, images: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= LOG_INTERVAL_S:
            told_at = time.monotonic()
            note(f"  {done:,} of {images:,} images answered")

    return tell


def _moment_line(moment: StepProgress) -> str:
    left = "" if moment.seconds_left is None else f"  {format_duration(moment.seconds_left)} left"
    return (
        f"{moment.stage}  accuracy {moment.accuracy:.4f}  {moment.images_per_s:,.0f} images/s{left}"
    )


def _epoch_line(epoch: Epoch, max_epochs: int) -> str:
    validation = (
        f"validation {epoch.valid_accuracy:.4f} (loss {epoch.valid_loss:.4f})  "
        if epoch.valid_accuracy is not None
        else ""
    )
    return (
        f"epoch {epoch.epoch:{len(str(max_epochs))}}/{max_epochs}  {validation}"
        f"training {epoch.train_accuracy:.4f} (loss {epoch.train_loss:.4f})  "
        f"{epoch.images_per_s:,.0f} images/s  {format_duration(epoch.elapsed_s)}"
    )


_TAGS = {
    "loss/training": "train_loss",
    "loss/validation": "valid_loss",
    "accuracy/training": "train_accuracy",
    "accuracy/validation": "valid_accuracy",
    "learning rate": "learning_rate",
    "images per second": "images_per_s",
}


MOST_WEIGHTS = 100_000  # of a layer go into its histogram; millions would take seconds
IMAGES_SHOWN = 32


class TensorBoard:
    """Writes each epoch to `tensorboard/` in the run folder; does nothing without a folder."""

    def __init__(self, folder: RunFolder | None, epochs_done: int) -> None:
        self._folder = folder
        self._epochs_done = epochs_done
        self._writer: Any = None

    def __enter__(self) -> Self:
        if self._folder is not None:
            # A second to import: not for those who keep no files.
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

            # What a killed run wrote after its last checkpoint is purged: it will come again.
            self._writer = SummaryWriter(
                str(self._folder.tensorboard), purge_step=self._epochs_done + 1
            )
        return self

    def show(self, look: Callable[[], Tensor]) -> None:
        """Add what `look` returns, images as the network sees them: float [N, 1, S, S]."""
        if self._writer is None:
            return
        images = look()[:IMAGES_SHOWN].float().cpu()
        low, high = images.min(), images.max()
        self._writer.add_images("what the network sees", (images - low) / (high - low + 1e-12), 0)

    def write(self, row: Epoch, network: nn.Module) -> None:
        """Add one finished epoch: its scalars, and histograms of the weights of `network`."""
        if self._writer is None:
            return
        for name, weights in network.named_parameters():
            values = weights.detach().float().cpu().flatten()
            stride = -(-len(values) // MOST_WEIGHTS)
            self._writer.add_histogram(name, values[::stride].numpy(), row.epoch)
        for tag, name in _TAGS.items():
            value = getattr(row, name)
            if value is not None:
                self._writer.add_scalar(tag, value, row.epoch)
        self._writer.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
