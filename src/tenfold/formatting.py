"""How numbers are said to people."""

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LOG_INTERVAL_S = 4.0  # a log of hours stays readable, and shows soon that it is alive


def pluralize(n: int, noun: str) -> str:
    """Say `n` with its noun: "1 image", "28,000 images"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def format_value(value: Any) -> str:
    """Say a choice of a recipe: a fraction with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def pydantic_message(message: str) -> str:
    """Say what pydantic expected: "a valid integer" of "Input should be a valid integer, …"."""
    said = message.removeprefix("Input should be ").partition(", unable to parse")[0]
    return said[0].lower() + said[1:]


def duration(seconds: float) -> str:
    """Say seconds in words: "58 s", "9 min 14 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def format_duration(seconds: float) -> str:
    """Say seconds as a clock does: 1:05, or 2:01:40."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLogger:
    """Logs how far a task is, at most once in a few seconds: "1,200 of 28,000 images".

    Args:
        logger: gets the messages at level INFO.
        unit: what is counted, in the plural: "images".
        interval_s: seconds before the first message and between two of them.
    """

    def __init__(
        self, logger: logging.Logger, unit: str, interval_s: float = LOG_INTERVAL_S
    ) -> None:
        self._logger, self._unit, self._interval_s = logger, unit, interval_s
        self._logged_at = time.monotonic()

    def __call__(self, done: int, total: int | None = None) -> None:
        """Take how many of `total` are done; None if that is not known."""
        if time.monotonic() - self._logged_at < self._interval_s:
            return
        self._logged_at = time.monotonic()
        of_total = "" if total is None else f" of {total:,}"
        self._logger.info("%s%s %s", f"{done:,}", of_total, self._unit)


class ConsoleHandler(logging.Handler):
    """Prints messages on a rich console as they are, however long, above any live bar or table.

    Args:
        console: where to print.
    """

    def __init__(self, console: "Console") -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message; a warning is marked as one."""
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            message = f"warning: {message}"
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)
