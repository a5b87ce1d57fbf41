"""What torchrun tells its processes, read without torch: every command asks who may speak."""

import os
import re

from tenfold.errors import TenfoldError


def rank_and_count() -> tuple[int, int]:
    """Return which of how many processes this is, counted from 0; without torchrun 0 of 1.

    Raises:
        TenfoldError: WORLD_SIZE is no number, or it says several and RANK is none of them.
    """
    count = _number("WORLD_SIZE", "1", "a whole number from 1")
    if count < 2:
        return 0, 1  # then RANK is somebody else's
    expected = f"a whole number below {count}, the WORLD_SIZE"
    rank = _number("RANK", "", expected)
    if rank >= count:
        raise TenfoldError(f"RANK is {rank} in the environment, expected {expected}")
    return rank, count


def _number(variable: str, default: str, expected: str) -> int:
    text = os.environ.get(variable, default)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise TenfoldError(f"{variable} is {text!r} in the environment, expected {expected}")
    return int(text)
