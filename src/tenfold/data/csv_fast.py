"""Whole tables of numbers from 0 to 255, read by a dozen array operations.

Blocks of lines go to all cores. In each block, every byte that is a digit with a separator behind
it ends a number; its value is that digit plus ten times the one before plus a hundred times the
one before that. Nothing lenient is in it: what is not exactly such a table is left to
`csv_fallback`, which is slow and explains itself.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tenfold.data.csv_header import CsvSchema

_BLOCK_BYTES = 2**19  # the arrays of one block stay in the processor's cache
_NEWLINE = ord("\n")

Bytes = NDArray[np.uint8]


def table(text: Bytes, start: int, layout: CsvSchema) -> tuple[Bytes, Bytes | None] | None:
    r"""Parse `text` from `start`, where line 2 begins, as rows of numbers.

    Args:
        text: uint8 [B], the whole file.
        start: where line 2 begins.
        layout: what the header says.

    Returns:
        Pixels uint8 [N, P] in the layout's order and, if it has a label, labels uint8 [N].
        None unless every line is numbers from 0 to 255, written without leading zeros, signs,
        quotes or spaces, joined by commas, all lines ended by \n or all by \r\n; and where a
        column must count the rows, since it soon counts beyond 255.
    """
    if layout.counting:
        return None
    lines = _unix_lines(text, start)
    cuts = _cuts(lines)
    if cuts is None or len(cuts) < 2:
        return None
    blocks = [lines[begin:end] for begin, end in pairwise(cuts)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = list(pool.map(lambda block: np.count_nonzero(block == _NEWLINE), blocks))
        ends = np.cumsum(counts)
        pixels = np.empty((ends[-1], len(layout.pixels)), np.uint8)
        labels = None if layout.label is None else np.empty(ends[-1], np.uint8)
        columns = _neighbours(layout.pixels)

        def parse(block: Bytes, begin: int, end: int) -> bool:
            numbers = _numbers(block, len(layout.names))
            if numbers is None:
                return False
            pixels[begin:end] = numbers[:, columns]
            if labels is not None:
                labels[begin:end] = numbers[:, layout.label]
            return True

        understood = all(pool.map(parse, blocks, ends - counts, ends))
    return (pixels, labels) if understood else None


def _unix_lines(text: Bytes, start: int) -> Bytes:
    r"""Return `text` from `start`, each line ended by \n; a copy only if that takes a change."""
    has_returns = start > 1 and text[start - 2] == ord("\r")
    if not has_returns and text[-1] == _NEWLINE:
        return text[start:]
    lines = text[start:].tobytes().replace(b"\r\n", b"\n")
    return np.frombuffer(lines if lines.endswith(b"\n") else lines + b"\n", np.uint8)


def _cuts(lines: Bytes) -> list[int] | None:
    """Return where blocks begin and end, always behind a newline; None if a line is too long."""
    cuts = [0]
    while len(lines) - cuts[-1] > _BLOCK_BYTES:
        end = cuts[-1] + _BLOCK_BYTES
        newline = end + int(np.argmax(lines[end : end + _BLOCK_BYTES] == _NEWLINE))
        if lines[newline] != _NEWLINE:
            return None
        cuts.append(newline + 1)
    return [*cuts, len(lines)] if cuts[-1] < len(lines) else cuts


def _neighbours(columns: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return `columns` as a slice where they follow each other: that is far quicker to take."""
    first, last = int(columns[0]), int(columns[-1])
    follow = np.array_equal(columns, np.arange(first, last + 1))
    return slice(first, last + 1) if follow else columns


def _numbers(text: Bytes, columns: int) -> Bytes | None:
    """Parse uint8 [B], whole lines, to uint8 [rows, columns]; None if anything is odd."""
    digit = text - np.uint8(ord("0"))  # wraps around below "0", so that separators are large too
    is_digit = digit < 10
    digit *= is_digit
    last = np.flatnonzero(is_digit[:-1] > is_digit[1:])
    digits = np.count_nonzero(is_digit)
    if not len(last) or len(last) % columns or len(text) - digits != len(last):
        return None  # ragged, or a character that ends no number: blank cell, sign, space, quote
    separators = text[1:].take(last).reshape(-1, columns)
    if (separators[:, :-1] != ord(",")).any() or (separators[:, -1] != _NEWLINE).any():
        return None
    hundreds = digit[:-2] * (is_digit[1:-1] & is_digit[2:])
    if hundreds.max(initial=0) > 2:
        return None
    value = digit.copy()
    value[1:] += digit[:-1] * np.uint8(10)
    value[2:] += hundreds * np.uint8(100)
    numbers = value.take(last)
    # 256 to 299 wrapped around to fewer digits, and so did whatever has four digits or a leading
    # zero: no number is shorter in the text than its value, so equal totals mean equal lengths.
    lengths = len(numbers) + np.count_nonzero(numbers >= 10) + np.count_nonzero(numbers >= 100)
    return numbers.reshape(-1, columns) if lengths == digits else None
