"""Parse whole tables of numbers from 0 to 255 with a dozen array operations.

Blocks of lines go to all cores. In each block, every digit followed by a separator ends a number;
its value is that digit plus ten times the one before plus a hundred times the one before that.
Nothing else is accepted: any other file is left to `csv_fallback`, which is slow and explains
what is wrong.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tenfold.data.csv_header import CsvSchema
from tenfold.machine import usable_cores

_BLOCK_BYTES = 2**19  # the arrays of one block stay in the processor's cache
_NEWLINE = ord("\n")

Bytes = NDArray[np.uint8]


def parse_table(text: Bytes, start: int, schema: CsvSchema) -> tuple[Bytes, Bytes | None] | None:
    r"""Parse the rows of a CSV, if they are in its most common form.

    Args:
        text: uint8 [B], the whole file.
        start: where line 2 begins.
        schema: what each column holds.

    Returns:
        Pixels uint8 [N, P] in the schema's order and, with a label column, labels uint8 [N].
        None unless every line is numbers from 0 to 255, without leading zeros, signs, quotes or
        spaces, separated by commas, and all lines end with \n or all with \r\n. Also None if
        there are row ids to check, since these soon exceed 255, or blanks.
    """
    if schema.checked_row_ids or schema.blank or len(text) <= start:
        return None
    lines = _unix_lines(text, start)
    boundaries = _block_boundaries(lines)
    if boundaries is None or len(boundaries) < 2:
        return None
    blocks = [lines[begin:end] for begin, end in pairwise(boundaries)]
    with ThreadPoolExecutor(len(usable_cores())) as pool:
        n_rows = list(pool.map(lambda block: np.count_nonzero(block == _NEWLINE), blocks))
        ends = np.cumsum(n_rows)
        pixels = np.empty((ends[-1], len(schema.pixels)), np.uint8)
        labels = None if schema.label is None else np.empty(ends[-1], np.uint8)
        columns = _as_slice(schema.pixels)

        def parse(block: Bytes, begin: int, end: int) -> bool:
            numbers = _parse_block(block, len(schema.columns))
            if numbers is None:
                return False
            pixels[begin:end] = numbers[:, columns]
            if labels is not None:
                labels[begin:end] = numbers[:, schema.label]
            return True

        parsed = all(pool.map(parse, blocks, ends - n_rows, ends))
    return (pixels, labels) if parsed else None


def _unix_lines(text: Bytes, start: int) -> Bytes:
    r"""Return `text` from `start`, each line ending with \n; copied only if it must be changed."""
    newline = start + int(np.argmax(text[start : start + _BLOCK_BYTES] == _NEWLINE))
    has_returns = newline > start and text[newline - 1] == ord("\r")
    if not has_returns and len(text) > start and text[-1] == _NEWLINE:
        return text[start:]
    lines = text[start:].tobytes().replace(b"\r\n", b"\n")
    return np.frombuffer(lines if lines.endswith(b"\n") else lines + b"\n", np.uint8)


def _block_boundaries(lines: Bytes) -> list[int] | None:
    """Return where blocks begin and end, always after a newline; None if a line is too long."""
    boundaries = [0]
    while len(lines) - boundaries[-1] > _BLOCK_BYTES:
        end = boundaries[-1] + _BLOCK_BYTES
        newline = end + int(np.argmax(lines[end : end + _BLOCK_BYTES] == _NEWLINE))
        if lines[newline] != _NEWLINE:
            return None
        boundaries.append(newline + 1)
    return [*boundaries, len(lines)] if boundaries[-1] < len(lines) else boundaries


def _as_slice(columns: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return adjacent `columns` as a slice, which is far faster to take; others as they are."""
    first, last = int(columns[0]), int(columns[-1])
    adjacent = np.array_equal(columns, np.arange(first, last + 1))
    return slice(first, last + 1) if adjacent else columns


def _parse_block(text: Bytes, n_columns: int) -> Bytes | None:
    """Parse whole lines, uint8 [B], to uint8 [rows, n_columns]; None if anything is unusual."""
    digit = text - np.uint8(ord("0"))  # wraps around below "0", so that separators are large too
    is_digit = digit < 10
    digit *= is_digit
    last = np.flatnonzero(is_digit[:-1] > is_digit[1:])
    n_digits = np.count_nonzero(is_digit)
    if not len(last) or len(last) % n_columns or len(text) - n_digits != len(last):
        return None  # ragged, or a character that ends no number: blank cell, sign, space, quote
    separators = text[1:].take(last).reshape(-1, n_columns)
    if (separators[:, :-1] != ord(",")).any() or (separators[:, -1] != _NEWLINE).any():
        return None
    hundreds = digit[:-2] * (is_digit[1:-1] & is_digit[2:])
    if hundreds.max(initial=0) > 2:
        return None
    value = digit.copy()
    value[1:] += digit[:-1] * np.uint8(10)
    value[2:] += hundreds * np.uint8(100)
    numbers = value.take(last)
    # 256 to 299 wrap around to a value of fewer digits, and whatever has four digits or a leading
    # zero has a value of fewer digits too. No number has fewer digits in the text than in its
    # value, so equal totals mean that all lengths are equal.
    lengths = len(numbers) + np.count_nonzero(numbers >= 10) + np.count_nonzero(numbers >= 100)
    return numbers.reshape(-1, n_columns) if lengths == n_digits else None
