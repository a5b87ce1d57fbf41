"""The digits in a picture, in the order of reading."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.images.clean import remove_clutter, remove_lines
from tenfold.images.components import Box
from tenfold.images.decode import Picture
from tenfold.images.glyphs import find_glyphs, join, lines_of
from tenfold.images.ink import InkMap, find_ink
from tenfold.images.normalize import SIZE
from tenfold.images.paper import SMALL
from tenfold.images.regroup import Classify, regroup


@dataclass(frozen=True, eq=False)
class Digit:
    """One digit of a picture.

    Attributes:
        image: uint8 [28, 28], as MNIST would show it.
        box: left, top, right, bottom in pixels of the upright original.
        line: of the text, from 0.
        position: in its line, from 0 at the left.
    """

    image: NDArray[np.uint8]
    box: Box
    line: int
    position: int


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What was found in a picture.

    Attributes:
        picture: that was searched.
        ink: that was found in it.
        kept: bool [H, W], the ink that may be digits: without lines, frames and specks.
        digits: in the order of reading; none on a blank page.
    """

    picture: Picture
    ink: InkMap
    kept: NDArray[np.bool_]
    digits: tuple[Digit, ...]

    @property
    def images(self) -> NDArray[np.uint8]:
        """The digits as MNIST would show them: uint8 [N, 28, 28]; N is 0 on a blank page."""
        return np.array([digit.image for digit in self.digits], np.uint8).reshape(-1, SIZE, SIZE)


def segment(picture: Picture, classify: Classify | None = None) -> Segmentation:
    """Find the digits in a picture.

    Args:
        picture: as `decode` returns it.
        classify: gives the probability of each class, float32 [N, classes], for images uint8
            [N, 28, 28]. With it, digits that touch are taken apart and broken ones put together;
            without it, what is connected is one digit.
    """
    ink = find_ink(picture.pixels)
    parts = remove_clutter(remove_lines(ink.mask))
    glyphs = find_glyphs(parts)
    height, width = ink.mask.shape
    if glyphs and max(height, width) < SMALL:  # it has no room for a second digit
        lines = [[join(glyphs)]]
    else:
        lines = lines_of(glyphs)
        lines = lines if classify is None else regroup(lines, ink, classify)
    digits = tuple(
        Digit(glyph.image(ink), _original_box(glyph.box, picture), line, position)
        for line, glyphs in enumerate(lines)
        for position, glyph in enumerate(glyphs)
    )
    return Segmentation(picture, ink, parts.labels > 0, digits)


def _original_box(box: Box, picture: Picture) -> Box:
    """Return a box in pixels of the original, rounded outwards."""
    height, width = picture.pixels.shape[:2]
    across, down = picture.width / width, picture.height / height
    left, top, right, bottom = box
    return (
        int(left * across),
        int(top * down),
        min(picture.width, int(np.ceil(right * across))),
        min(picture.height, int(np.ceil(bottom * down))),
    )
