"""Format numbers and messages for people."""

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LOG_INTERVAL_S = 4.0  # a log of hours stays readable, and shows soon that it is alive


def pluralize(n: int, noun: str) -> str:
    """Return `n` with its noun: "1 image", "28,000 images"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def printable(text: str) -> str:
    r"""Return `text` with escapes for what a terminal obeys, cannot show or would reorder.

    Newlines and tabs count too, and so do the surrogates by which Python keeps the bytes of a file
    name that is not UTF-8: "bad\xff", "\x1b[2J".
    """
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def printable_lines(text: str) -> str:
    """Return `text` with each of its lines made printable."""
    return "\n".join(map(printable, text.split("\n")))


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without its full stop, or its name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def shorten(text: str, length: int) -> str:
    """Return `text`, cut to `length` characters of which the last is then an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def format_value(value: Any) -> str:
    """Return the value of a recipe's field as text; a float with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_duration(seconds: float) -> str:
    """Return a duration as "0:58", or "2:01:40" from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def pydantic_message(message: str) -> str:
    """Return what pydantic expected: "a valid integer" of "Input should be a valid integer, …"."""
    expected = message.removeprefix("Input should be ").partition(", unable to parse")[0]
    return expected[0].lower() + expected[1:]


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
        """Log that `done` of `total` are done, if it is time; None if the total is not known."""
        if time.monotonic() - self._logged_at < self._interval_s:
            return
        self._logged_at = time.monotonic()
        of_total = "" if total is None else f" of {total:,}"
        self._logger.info("%s%s %s", f"{done:,}", of_total, self._unit)


class ConsoleHandler(logging.Handler):
    """Prints messages on a rich console as they are, however long, above any live bar or table.

    Args:
        console: where to print.
        warnings: where to print warnings; None for the same.
    """

    def __init__(self, console: "Console", warnings: "Console | None" = None) -> None:
        super().__init__()
        self._console, self._warnings = console, warnings or console

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message; a warning is marked as one."""
        console, message = self._console, printable_lines(record.getMessage())
        if record.levelno >= logging.WARNING:
            console, message = self._warnings, f"warning: {message}"
        console.print(message, highlight=False, markup=False, soft_wrap=True)
