"""Take away what is ink and no digit: ruled lines, frames, edges of the sheet, specks."""

import numpy as np
from numpy.typing import NDArray

from tenfold.images.components import Components, connected_components

Mask = NDArray[np.bool_]

_SLOPES = np.linspace(-0.1, 0.1, 41)  # of ruled lines in a picture that is not quite straight
_LINE_COVERAGE = 0.6  # of the picture's width, the rest may be hidden by digits
_THIN_SHARE = 0.02  # of the picture's side; a thicker line is a stroke
_SMALLEST_RULED = 64  # pixels; a smaller picture shows one digit and no lines
_SPECK = 0.12  # of the tallest component; smaller ones are specks


def remove_lines(mask: Mask) -> Mask:
    """Take away thin, straight lines that run from edge to edge, and leave the strokes they cross.

    Args:
        mask: bool [H, W], True for ink.
    """
    if min(mask.shape) < _SMALLEST_RULED:
        return mask
    without_rows = _remove_rows(mask)
    return _remove_rows(without_rows.T).T


def _remove_rows(mask: Mask) -> Mask:
    """Take away lines that run from the left edge to the right edge."""
    height, width = mask.shape
    thickness = max(2, round(_THIN_SHARE * height))
    rows, columns = np.nonzero(_thin(mask, thickness))
    if len(np.unique(columns)) < _LINE_COVERAGE * width:
        return mask
    lines = np.zeros_like(mask)
    for slope in _SLOPES:
        levels = np.rint(rows - slope * columns + 0.1 * width).astype(np.int64)
        counts = np.bincount(levels)
        for level in np.flatnonzero(counts >= _LINE_COVERAGE * width / 2):
            on_line = np.abs(levels - level) <= thickness
            covered = np.zeros(width, np.bool_)
            covered[columns[on_line]] = True
            ends = covered[: width // 20 + 1].any() and covered[-(width // 20) - 1 :].any()
            if ends and covered.mean() >= _LINE_COVERAGE:
                lines[rows[on_line], columns[on_line]] = True
    rest = mask & ~lines
    # In a picture cut close around a 7 or a 4, the bar runs from edge to edge too.
    used = np.flatnonzero(rest.sum(axis=0) > 1)
    margin = width / 20
    is_ruled = len(used) and used[0] >= margin and used[-1] < width - margin
    return rest if is_ruled else mask


def _thin(mask: Mask, thickness: int) -> Mask:
    """Return the pixels that lie in vertical runs of at most `thickness` pixels."""
    padded = np.pad(mask, ((1, 1), (0, 0))).T
    flat = np.concatenate([padded.ravel(), [False]]).astype(np.int8)
    change = np.diff(flat)
    starts, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    is_thin = np.repeat(ends - starts <= thickness, ends - starts)
    thin = np.zeros(padded.shape, np.bool_)
    thin[padded] = is_thin
    return thin[:, 1:-1].T


def remove_clutter(mask: Mask) -> Components:
    """Return the components of `mask` that may be digits or parts of them."""
    parts = connected_components(mask)
    for is_clutter in (_specks, _edges, _frames, _specks):
        if len(parts) > 1:
            parts = connected_components(parts.mask(~is_clutter(parts)))
    return parts


def _specks(parts: Components) -> Mask:
    extents = np.maximum(parts.widths, parts.heights)
    small: Mask = extents < _SPECK * extents.max()
    found: Mask = small & (parts.areas < 0.03 * parts.areas.max())
    return found


def _edges(parts: Components) -> Mask:
    """Find the edges of sheet and table: they touch the picture's edge, the digits do not."""
    height, width = parts.labels.shape
    left, top, right, bottom = parts.boxes.T
    sides = np.stack([left <= 0, top <= 0, right >= width, bottom >= height])
    n_sides = sides.sum(axis=0)
    inside = n_sides == 0
    if not inside.any():
        return np.zeros(len(parts), np.bool_)
    tallest = parts.heights[inside].max()
    is_flat = (n_sides >= 1) & (parts.widths > 2.5 * parts.heights)
    is_round_a_corner = (n_sides >= 2) & (tallest > 0.2 * parts.heights)
    is_cut_off = (n_sides >= 1) & (parts.heights < 0.4 * tallest)
    found: Mask = is_flat | is_round_a_corner | is_cut_off
    return found


def _frames(parts: Components) -> Mask:
    """Find boxes around digits: their ink lies along the sides of their box, with a digit inside.

    A slashed zero has ink inside as well, but is round.
    """
    found = np.zeros(len(parts), np.bool_)
    left, top, right, bottom = parts.boxes.T
    for index in range(len(parts)):
        inside = (left > left[index]) & (top > top[index])
        inside &= (right < right[index]) & (bottom < bottom[index])
        if (inside & (parts.heights > 0.3 * parts.heights[index])).any():
            box = (slice(top[index], bottom[index]), slice(left[index], right[index]))
            found[index] = _lies_along_sides(parts.labels[box] == index + 1)
    return found


def _lies_along_sides(mask: Mask) -> bool:
    """Say whether 80% of a mask lie in the outer tenth of its box."""
    height, width = mask.shape
    core = mask[height // 10 : height - height // 10, width // 10 : width - width // 10]
    return float(core.sum()) < 0.2 * float(mask.sum())
