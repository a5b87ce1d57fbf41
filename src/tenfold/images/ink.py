"""Ink: what is darker than the paper, and by how much."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.images.filters import Grey, otsu
from tenfold.images.paper import find_sheet, is_dark, paper_level, to_grey

_FAINTEST = 0.04  # of the paper's brightness; less is a blank page
_NOISE = 6.0  # standard deviations of the paper's grain that ink stands out by


@dataclass(frozen=True, eq=False)
class InkMap:
    """The ink in a picture.

    Attributes:
        strength: float32 [H, W], 0 for paper and 1 for ink of the usual darkness.
        mask: bool [H, W], where there is ink rather than paper.
        paper: float32 [H, W], brightness of the paper from 0 to 1, as if ink were dark.
        bright_ink: True for bright ink on dark paper.
    """

    strength: NDArray[np.float32]
    mask: NDArray[np.bool_]
    paper: NDArray[np.float32]
    bright_ink: bool


def find_ink(pixels: NDArray[np.uint8]) -> InkMap:
    """Tell ink from paper; without any ink the mask is empty.

    Args:
        pixels: uint8 [H, W, 3].
    """
    grey = to_grey(pixels)
    bright_ink = is_dark(grey)
    sheet = find_sheet(1 - grey if not bright_ink else grey)
    if sheet is not None:
        bright_ink = not bright_ink
    if bright_ink:
        grey = 1 - grey
    if sheet is not None:
        grey = np.where(sheet, grey, np.median(grey[sheet]))
    paper = paper_level(grey)
    darkness = np.clip((paper - grey) / np.maximum(paper, 1 / 255), 0, 1)
    strength, threshold = _measure(darkness)
    return InkMap(strength, strength > threshold, paper, bright_ink)


def _measure(darkness: Grey) -> tuple[Grey, float]:
    """Scale darkness so that usual ink is 1, and return the strength from which it is ink."""
    grain_level = float(np.median(darkness))
    darkness = np.maximum(darkness - grain_level, 0)
    threshold = otsu(darkness.ravel())
    rest = darkness[darkness <= threshold]
    grain = float(np.sqrt(np.mean(rest**2))) if rest.size else 0.0
    if threshold < 4 * grain:  # so little ink that Otsu divided the grain
        threshold = max(4 * grain, otsu(darkness[darkness > 3 * grain]))
    ink = darkness[darkness > threshold]
    usual = float(np.median(ink)) if ink.size else 0.0
    if usual < max(_FAINTEST, _NOISE * grain):
        return np.zeros_like(darkness), 1.0
    floor = min(2 * grain, threshold / 2)
    strength = np.clip((darkness - floor) / (usual - floor), 0, 1)
    return strength, (threshold - floor) / (usual - floor)
