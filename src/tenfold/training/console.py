"""Human-readable progress: a live bar or table on a terminal, plain sparse lines elsewhere."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from tenfold.formatting import ConsoleHandler, format_duration
from tenfold.training.callbacks import (
    PROGRESS_INTERVAL_S,
    Callback,
    EpochMetrics,
    Status,
    StepProgress,
    Throttle,
    TrainingProgress,
)
from tenfold.training.state import TrainState

# A log file gets a line an epoch and, in long epochs, one in this many seconds: enough to see
# that training runs, and no file of 200,000 lines.
LOG_INTERVAL_S = 4.0
TABLE_INTERVAL_S = 0.5


class PlainLogger(Callback):
    """Plain lines for log files and pipes: one an epoch, and sparse ones in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._throttle = Throttle(LOG_INTERVAL_S)

    def on_step_end(self, state: TrainingProgress) -> None:
        """Print a line if nothing was printed for a while."""
        if self._throttle.is_due():
            self._print(f"  {progress_line(state.progress())}")

    def on_epoch_end(self, state: TrainState) -> None:
        """Print one line."""
        self._print(epoch_line(state.history[-1], state.max_epochs))

    def on_status(self, status: Status) -> None:
        """Print a line if nothing was printed for a while."""
        if self._throttle.is_due():
            self._print(f"  {status.line}")

    def _print(self, line: str) -> None:
        self._throttle.restart()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class ProgressBar(PlainLogger):
    """A bar or a table that changes in place, and a line that stays for each epoch."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bar = Progress(
            BarColumn(bar_width=24), TextColumn("{task.description}"), console=console,
            transient=True, auto_refresh=False,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None)
        self._bar_throttle = Throttle(PROGRESS_INTERVAL_S)
        self._table = Live(console=console, auto_refresh=False, transient=True)
        self._table_throttle = Throttle(TABLE_INTERVAL_S)

    def on_step_end(self, state: TrainingProgress) -> None:
        """Move the bar, a few times a second."""
        if not self._bar_throttle.is_due():
            return
        progress = state.progress()
        self._bar.start()
        self._bar.update(
            self._task,
            completed=progress.step,
            total=progress.total_steps,
            description=progress_line(progress),
            refresh=True,
        )

    def on_status(self, status: Status) -> None:
        """Redraw the table, twice a second at most."""
        if not self._table_throttle.is_due():
            return
        table = Table(*status.header, box=None, pad_edge=False, caption=status.line)
        table.caption_justify = "left"
        for row in status.rows:
            table.add_row(*map(escape, row))
        self._table.start()
        self._table.update(table, refresh=True)

    def teardown(self) -> None:
        """Take bar and table away."""
        self._bar.stop()
        self._table.stop()


def console_callback(console: Console) -> Callback:
    """Choose by where `console` writes: live on a terminal, plain lines elsewhere."""
    return ProgressBar(console) if console.is_terminal else PlainLogger(console)


@contextmanager
def log_to_console(console: Console) -> Iterator[None]:
    """Print the messages of the logger "tenfold" meanwhile, above any bar or table."""
    package = logging.getLogger("tenfold")
    handler, level = ConsoleHandler(console), package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


@contextmanager
def progress_on_stderr(verbose: bool) -> Iterator[Sequence[Callback]]:
    """Yield callbacks that show progress on stderr, and print messages there; none if not."""
    if not verbose:
        yield ()
        return
    console = Console(stderr=True, emoji=False)
    with log_to_console(console):
        yield (console_callback(console),)


def progress_line(progress: StepProgress) -> str:
    """Format how far training is: "epoch 3/7  accuracy 0.9912  4,603 images/s  0:48 left"."""
    left = "" if progress.eta_s is None else f"  {format_duration(progress.eta_s)} left"
    return (
        f"{progress.phase}  accuracy {progress.accuracy:.4f}  "
        f"{progress.images_per_s:,.0f} images/s{left}"
    )


def epoch_line(epoch: EpochMetrics, max_epochs: int) -> str:
    """Format the metrics of one epoch."""
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
