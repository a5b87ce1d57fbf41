"""Digits that touch are taken apart, and broken ones put together, where a classifier is surer."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tenfold.images.glyphs import Glyph, join, max_height
from tenfold.images.ink import InkMap

Classify = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_WIDE = 1.1  # width / height of a glyph that may be two digits
_TOO_WIDE = 1.3  # of one digit
_TALL = 0.6  # of the tallest glyph in the line; a lower one is no row of digits
_FEW_PIXELS = 8  # in height; too few to cut
_MAX_PIECES = 4  # of several glyphs in one digit
_MAX_CUTS = 6  # in one glyph
_CUT_SLOPES = (-0.3, 0.0, 0.3)
_CUT = 0.6  # log-probability that a digit loses for being cut out of a glyph: that needs a reason
_CUT_ALONE = 1.0  # the same, where the picture holds no other glyph: most pictures show one digit
_JOINED = 0.1  # log-probability that a digit loses for being put together
_PER_WIDTH = 3.0  # log-probability that a digit loses for being too wide, per its height


@dataclass(frozen=True, eq=False)
class _Piece:
    """A part of a line, in the order from left to right.

    Attributes:
        glyph: the ink.
        source: the number of the glyph that it is cut from.
    """

    glyph: Glyph
    source: int


def regroup(lines: list[list[Glyph]], ink: InkMap, classify: Classify) -> list[list[Glyph]]:
    """Return each line's ink as the digits that have the best joint score.

    The score is the mean log-probability of the most probable classes, weighted by width, so that
    readings with different numbers of digits compare.
    """
    cost_of_cut = _CUT_ALONE if sum(map(len, lines)) == 1 else _CUT
    return [_regroup_line(line, ink, classify, cost_of_cut) for line in lines]


def _regroup_line(
    line: list[Glyph], ink: InkMap, classify: Classify, cost_of_cut: float
) -> list[Glyph]:
    height, tallest = float(np.median([glyph.height for glyph in line])), max_height(line)
    pieces = [
        _Piece(part, number)
        for number, glyph in enumerate(line)
        for part in (_cut(glyph) if glyph.height >= _TALL * tallest else [glyph])
    ]
    runs = [
        (start, end)
        for start in range(len(pieces))
        for end in range(start + 1, len(pieces) + 1)
        if _may_be_digit(pieces, start, end, height)
    ]
    if len(runs) == len(line) == len(pieces):
        return line
    digits = [join([piece.glyph for piece in pieces[start:end]]) for start, end in runs]
    probabilities = classify(np.stack([digit.image(ink) for digit in digits])).max(axis=1)
    scores = np.log(np.maximum(probabilities, 1e-6)).tolist()
    for index, (digit, (start, end)) in enumerate(zip(digits, runs, strict=True)):
        scores[index] -= _PER_WIDTH * max(0.0, digit.width / height - _TOO_WIDE)
        if not _is_whole(pieces, start, end):
            scores[index] -= cost_of_cut
        elif len({piece.source for piece in pieces[start:end]}) > 1:
            scores[index] -= _JOINED
    return _best_path(pieces, runs, digits, scores)


def _is_whole(pieces: list[_Piece], start: int, end: int) -> bool:
    """Say whether a run of pieces holds all of each glyph that it holds any of."""
    before = start > 0 and pieces[start - 1].source == pieces[start].source
    after = end < len(pieces) and pieces[end].source == pieces[end - 1].source
    return not before and not after


def _best_path(
    pieces: list[_Piece], runs: list[tuple[int, int]], digits: list[Glyph], scores: list[float]
) -> list[Glyph]:
    """Return the digits that cover all pieces once with the highest sum of width × score.

    Args:
        pieces: of a line.
        runs: the first piece of each digit and one past its last, in ascending order.
        digits: what may be a digit, one for each run.
        scores: of each.
    """
    nothing: list[Glyph] = []
    best = [(0.0, nothing)] + [(-np.inf, nothing)] * len(pieces)
    for (start, end), digit, score in zip(runs, digits, scores, strict=True):
        width = sum(piece.glyph.width for piece in pieces[start:end])
        total = best[start][0] + width * score
        if total > best[end][0]:
            best[end] = (total, [*best[start][1], digit])
    return best[-1][1]


def _may_be_digit(pieces: list[_Piece], start: int, end: int, height: float) -> bool:
    """Say whether a run may be one digit: a glyph, a tall part of one, or close neighbours."""
    run = pieces[start:end]
    if len({piece.source for piece in run}) == 1:
        is_tall = max(piece.glyph.height for piece in run) >= 0.5 * height
        return is_tall or _is_whole(pieces, start, end)
    if len(run) > _MAX_PIECES:
        return False
    left, right = run[0].glyph.box[0], run[-1].glyph.box[2]
    gaps = [after.glyph.box[0] - before.glyph.box[2] for before, after in pairwise(run)]
    return right - left <= _TOO_WIDE * height and max(gaps) <= 0.15 * height


def _cut(glyph: Glyph) -> list[Glyph]:
    """Cut a wide glyph where little ink is crossed, into pieces from left to right."""
    if glyph.width < _WIDE * glyph.height or glyph.height < _FEW_PIXELS:
        return [glyph]
    rows = np.arange(glyph.height)[:, None] - glyph.height / 2
    columns = np.arange(glyph.width)[None, :]
    places: list[tuple[int, int, float]] = []
    for slope in _CUT_SLOPES:
        sheared = np.rint(columns + slope * rows).astype(np.int64).clip(0, glyph.width - 1)
        crossed = np.bincount(sheared[glyph.mask], minlength=glyph.width)
        places += [(int(ink), place, slope) for place, ink in enumerate(crossed)]
    chosen: list[tuple[int, float]] = []
    margin = 0.15 * glyph.height
    for ink, place, slope in sorted(places):
        if ink > 0.5 * glyph.height or len(chosen) == _MAX_CUTS:
            break
        far = all(abs(place - other) >= margin for other, _ in chosen)
        if far and margin <= place <= glyph.width - margin:
            chosen.append((place, slope))
    edges = [np.full_like(rows, place) - slope * rows for place, slope in sorted(chosen)]
    bounds = [np.full_like(rows, -1.0), *edges, np.full_like(rows, glyph.width)]
    pieces = [
        Glyph(glyph.mask & (columns >= low) & (columns < high), glyph.box).crop()
        for low, high in pairwise(bounds)
    ]
    return [piece for piece in pieces if piece is not None]
