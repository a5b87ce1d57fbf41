"""Glyphs: what may be one digit, put together from components, in the order of reading."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.images.components import Box, Components
from tenfold.images.filters import running_max
from tenfold.images.ink import InkMap
from tenfold.images.normalize import to_mnist

_EDGE = 0.4  # strength at the edge of a stroke in a picture of many pixels
_FAINT = 0.05  # strength at the edge where pixels are few, and each part grey is part of a stroke
_MANY_PIXELS = 40


@dataclass(frozen=True, eq=False)
class Glyph:
    """Ink that may be one digit.

    Attributes:
        mask: bool [h, w], its ink inside its box.
        box: left, top, right, bottom in pixels of the ink map.
    """

    mask: NDArray[np.bool_]
    box: Box

    @property
    def width(self) -> int:
        """Of the box in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """Of the box in pixels."""
        return self.box[3] - self.box[1]

    def crop(self) -> "Glyph | None":
        """Return the glyph in the box around its ink; None without any."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if len(rows) == 0:
            return None
        top, bottom, left, right = (
            int(edge) for edge in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        )
        box = (self.box[0] + left, self.box[1] + top, self.box[0] + right, self.box[1] + bottom)
        return Glyph(self.mask[top:bottom, left:right], box)

    def image(self, ink: InkMap) -> NDArray[np.uint8]:
        """Return the glyph as MNIST would show it: uint8 [28, 28]."""
        side = max(self.width, self.height)
        reach = max(2, round(side / 14))  # of the soft edge around the mask
        left, top = max(0, self.box[0] - reach), max(0, self.box[1] - reach)
        window = (slice(top, self.box[3] + reach), slice(left, self.box[2] + reach))
        own = np.zeros_like(ink.mask[window])
        inner = (self.box[1] - top, self.box[0] - left)
        own[inner[0] : inner[0] + self.height, inner[1] : inner[1] + self.width] = self.mask
        near: NDArray[np.bool_] = running_max(own.astype(np.float32), 2 * reach + 1) > 0
        near &= (own | ~ink.mask[window]) & (ink.strength[window] >= _FAINT)
        strength = np.where(near, ink.strength[window], 0)
        core: NDArray[np.bool_] = strength >= (_EDGE if side >= _MANY_PIXELS else _FAINT)
        strength = strength * np.any(core, axis=1, keepdims=True) * np.any(core, axis=0)
        return to_mnist(strength.astype(np.float32))


def join(glyphs: Sequence[Glyph]) -> Glyph:
    """Return several glyphs as one."""
    boxes = np.array([glyph.box for glyph in glyphs])
    left, top = (int(edge) for edge in boxes[:, :2].min(axis=0))
    right, bottom = (int(edge) for edge in boxes[:, 2:].max(axis=0))
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for glyph in glyphs:
        row, column = glyph.box[1] - top, glyph.box[0] - left
        mask[row : row + glyph.height, column : column + glyph.width] |= glyph.mask
    return Glyph(mask, (left, top, right, bottom))


def find_glyphs(parts: Components) -> list[Glyph]:
    """Put components together that are parts of one digit, such as a 5 and its bar."""
    glyphs = [
        Glyph(parts.labels[top:bottom, left:right] == index + 1, (left, top, right, bottom))
        for index, (left, top, right, bottom) in enumerate(parts.boxes.tolist())
    ]
    while True:
        groups = _group(np.array([glyph.box for glyph in glyphs]).reshape(-1, 4))
        if len(groups) == len(glyphs):
            return _without_marks(glyphs)
        glyphs = [join([glyphs[index] for index in group]) for group in groups]


def _group(boxes: NDArray[np.int64]) -> list[list[int]]:
    """Return the numbers of the boxes, int64 [N, 4], that are parts of one digit, for each digit.

    A bar or a bit of a broken stroke is much lower than the digit that it stands above or beside.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    gaps = np.maximum(low[:, None], low) - np.minimum(high[:, None], high)  # [N, N, 2]
    widths, heights = (high - low).T
    narrower = np.minimum(widths[:, None], widths)
    taller, lower = np.maximum(heights[:, None], heights), np.minimum(heights[:, None], heights)
    beside, above = gaps[..., 0], gaps[..., 1]
    overlaps = -beside >= 0.5 * narrower
    is_part = (overlaps & (above < 0.3 * taller)) | (gaps.max(axis=-1) < 0.06 * taller)
    belong = np.where(lower < 0.6 * taller, is_part, overlaps & (above < 0.06 * taller))
    groups: list[list[int]] = []
    free = np.ones(len(boxes), np.bool_)
    for index in range(len(boxes)):
        if free[index]:
            members = np.flatnonzero(belong[index] & free)
            free[members] = free[index] = False
            groups.append(sorted({index, *members.tolist()}))
    return groups


def _overlap(first: Glyph, second: Glyph, axis: int) -> int:
    """Return by how many pixels two glyphs overlap along an axis; a gap is negative."""
    end = min(first.box[axis + 2], second.box[axis + 2])
    return end - max(first.box[axis], second.box[axis])


def _without_marks(glyphs: list[Glyph]) -> list[Glyph]:
    """Leave out what is much smaller than the digits: commas, dashes, dots."""
    if not glyphs:
        return []
    usual = float(np.median([g.height for g in glyphs if 2 * g.height >= max_height(glyphs)]))
    return [glyph for glyph in glyphs if glyph.height >= 0.4 * usual]


def max_height(glyphs: Sequence[Glyph]) -> int:
    """Return the height of the tallest glyph in pixels."""
    return max(glyph.height for glyph in glyphs)


def lines_of(glyphs: Sequence[Glyph]) -> list[list[Glyph]]:
    """Order glyphs in lines from top to bottom, and each line from left to right.

    A glyph follows the line whose last glyph it overlaps most in height, so lines may slope.
    """
    lines: list[list[Glyph]] = []
    for glyph in sorted(glyphs, key=lambda glyph: glyph.box[0]):
        best = max(lines, key=lambda line: _overlap(line[-1], glyph, axis=1), default=None)
        enough = best and _overlap(best[-1], glyph, axis=1) > 0.3 * min(
            best[-1].height, glyph.height
        )
        if best is not None and enough:
            best.append(glyph)
        else:
            lines.append([glyph])
    return sorted(lines, key=lambda line: float(np.mean([g.box[1] + g.box[3] for g in line])))
