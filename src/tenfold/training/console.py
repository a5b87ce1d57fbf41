"""How an experiment is told: a live table on a terminal, plain sparse lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from tenfold.errors import Interrupted
from tenfold.training.callbacks import LOG_INTERVAL_S

SECONDS_BETWEEN_DRAWINGS = 0.5


@dataclass(frozen=True)
class Standing:
    """How an experiment stands.

    Attributes:
        line: the whole of it in one line.
        header, rows: the same as a table.
    """

    line: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class StatusDisplay(Protocol):
    """Who is told how an experiment goes."""

    def note(self, sentence: str) -> None:
        """Take one sentence about something that happened."""

    def show(self, standing: Standing) -> None:
        """Take how it stands; called as often as anything changes."""

    def close(self) -> None:
        """The experiment is over or broke off; leave the terminal tidy."""


class NullDisplay:
    """A board that says nothing: what the Python API uses unless told otherwise."""

    def note(self, sentence: str) -> None:
        """Drop it."""

    def show(self, standing: Standing) -> None:
        """Drop it."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """Plain lines for log files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = time.monotonic()

    def note(self, sentence: str) -> None:
        """Print it."""
        self._last_line = time.monotonic()
        self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def show(self, standing: Standing) -> None:
        """Print a line if nothing was printed for a while."""
        if time.monotonic() - self._last_line >= LOG_INTERVAL_S:
            self.note(f"  {standing.line}")

    def close(self) -> None:
        """Nothing is open."""


class LiveTable(Lines):
    """A table that changes in place, below the lines that stay."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn_at = 0.0

    def show(self, standing: Standing) -> None:
        """Draw the table anew, twice a second at most."""
        if time.monotonic() - self._drawn_at < SECONDS_BETWEEN_DRAWINGS:
            return
        self._drawn_at = time.monotonic()
        table = Table(*standing.header, box=None, pad_edge=False, caption=standing.line)
        table.caption_justify = "left"
        for row in standing.rows:
            table.add_row(*map(escape, row))
        self._live.start()
        self._live.update(table, refresh=True)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()


def board(console: Console) -> StatusDisplay:
    """Choose by where `console` writes: a live table on a terminal, lines elsewhere."""
    return LiveTable(console) if console.is_terminal else Lines(console)


@contextmanager
def add_resume_hint(board: StatusDisplay) -> Iterator[None]:
    """Say on an interrupt how to go on, and leave the board tidy."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}; the same command goes on from there") from stopped
    finally:
        board.close()
