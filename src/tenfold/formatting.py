"""How numbers are said to people."""

from typing import Any


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
