"""Take away what is ink and no digit: ruled lines, frames, edges of the sheet, specks."""

import numpy as np
from numpy.typing import NDArray

from tenfold.images.components import Components, connected_components
from tenfold.images.filters import running_max

Mask = NDArray[np.bool_]

_SLOPES = np.linspace(-0.1, 0.1, 41)  # of ruled lines in a picture that is not quite straight
_LINE_COVERAGE = 0.6  # of the picture's width, the rest may be hidden by digits
_PARALLEL_COVERAGE = 0.1  # of the width, for lines that leave through the top or the bottom
_THIN_SHARE = 0.02  # of the picture's side; a thicker line is a stroke
_SMALLEST_RULED = 64  # pixels; a smaller picture shows one digit and no lines
_MOST_PARTS = 500  # the largest; more of them are a texture
_SPECK = 0.12  # of the tallest component; smaller ones are specks


def remove_lines(mask: Mask) -> Mask:
    """Take away the lines of ruled and squared paper, and leave the strokes that they cross.

    Such lines are thin, straight and parallel, and one at least runs from edge to edge.

    Args:
        mask: bool [H, W], True for ink.
    """
    if min(mask.shape) < _SMALLEST_RULED:
        return mask
    rows, columns = _find_rows(mask), _find_rows(mask.T).T
    rest = mask & ~rows & ~columns
    # In a picture cut close around a 7 or a 4, the bar runs from edge to edge too.
    if not _is_clear_of_sides(rest):
        rest |= rows
    if not _is_clear_of_sides(rest.T):
        rest |= columns
    return rest


def _find_rows(mask: Mask) -> Mask:
    """Find the thin lines that run from the left to the right, bool [H, W]."""
    height, width = mask.shape
    thickness = _line_thickness(height)
    rows, columns = np.nonzero(_thin(mask, thickness))
    found = np.zeros_like(mask)
    if len(np.unique(columns)) < _LINE_COVERAGE * width:
        return found
    levels = [np.rint(rows - slope * columns + 0.1 * width).astype(np.int64) for slope in _SLOPES]
    best = max(levels, key=lambda each: int(np.bincount(each).max()))
    n_levels = int(best.max()) + 1
    covered = np.zeros((n_levels, width), np.bool_)
    covered[best, columns] = True
    near = running_max(covered.astype(np.float32), thickness + 1) > 0
    coverage = near.mean(axis=1)
    margin = max(2, width // 100)
    ends = near[:, :margin].any(axis=1).astype(int) + near[:, -margin:].any(axis=1)
    if not ((coverage >= _LINE_COVERAGE) & (ends == 2)).any():
        return found
    is_line = (ends >= 1) & (coverage >= _PARALLEL_COVERAGE)
    on_line = is_line[best]
    found[rows[on_line], columns[on_line]] = True
    return found


def _is_clear_of_sides(rest: Mask) -> bool:
    """Say whether steep strokes are left, and none of them near the left or the right edge."""
    height, width = rest.shape
    used = np.flatnonzero((rest & ~_thin(rest, 2 * _line_thickness(height))).any(axis=0))
    margin = width / 20
    return len(used) > 0 and used[0] >= margin and used[-1] < width - margin


def _line_thickness(height: int) -> int:
    return max(2, round(_THIN_SHARE * height))


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
    for is_clutter in (_smallest, _specks, _edges, _frames, _specks):
        if len(parts) > 1:
            parts = connected_components(parts.mask(~is_clutter(parts)))
    return parts


def _smallest(parts: Components) -> Mask:
    ranks = np.argsort(np.argsort(-parts.areas, kind="stable"))
    found: Mask = ranks >= _MOST_PARTS
    return found


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
        if (inside & (parts.heights > 0.15 * parts.heights[index])).any():
            box = (slice(top[index], bottom[index]), slice(left[index], right[index]))
            found[index] = _lies_along_sides(parts.labels[box] == index + 1)
    return found


def _lies_along_sides(mask: Mask) -> bool:
    """Say whether 80% of a mask lie in the outer tenth of its box."""
    height, width = mask.shape
    core = mask[height // 10 : height - height // 10, width // 10 : width - width // 10]
    return float(core.sum()) < 0.2 * float(mask.sum())
