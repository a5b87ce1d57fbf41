"""TOML that somebody wrote: of bounded size and depth, so that no file costs too much."""

import re
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

MAX_BYTES: Final = 2**20  # the longest of our own recipes has 1,158
MAX_DEPTH: Final = 16  # a recipe has tables in tables, at most four of them

_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
# Of a dotted key of 60,000 parts, tomllib keeps every prefix: 14 GB for 120 kB.
_DEEP_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MAX_DEPTH}}}")


def read_toml(path: Path | Traversable) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ValueError: it is no TOML, too large, or nested too deep.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES:,} bytes")
    return parse_toml(content.decode("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: it is no TOML, too large, or nested too deep.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES:,} characters")
    if deep := _DEEP_KEY.search(text):
        raise ValueError(f"has a key of more than {MAX_DEPTH} parts, {deep[0]:.40}…")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
