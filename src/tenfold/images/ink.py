"""Ink: what is darker than the paper, and by how much."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.images.components import connected_components
from tenfold.images.filters import Grey, otsu
from tenfold.images.paper import SMALL, border, find_sheet, is_dark, paper_level, to_grey

_FAINTEST = 0.04  # of the paper's brightness; less is a blank page
_NOISE = 6.0  # standard deviations of the paper's grain that ink stands out by
_WEAK = 0.6  # of the threshold, for ink that is connected to stronger ink


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
    sheet = find_sheet(grey if bright_ink else 1 - grey)
    bright_ink ^= sheet is not None
    if bright_ink:
        grey = 1 - grey
    if sheet is not None:
        grey = np.where(sheet, grey, np.median(grey[sheet])).astype(np.float32)
    paper = paper_level(grey)
    darkness = np.asarray((paper - grey) / np.maximum(paper, 1 / 255), np.float32)
    strength, mask = _measure(darkness)
    return InkMap(strength, mask, paper, bright_ink)


def _measure(darkness: Grey) -> tuple[Grey, NDArray[np.bool_]]:
    """Scale darkness so that usual ink is 1, and return where it is ink."""
    grain_level, grain = _grain(darkness)
    darkness = (darkness - grain_level).clip(0, 1)
    threshold = otsu(darkness.ravel())
    if threshold < 4 * grain:  # so little ink that Otsu divided the grain
        threshold = otsu(darkness[darkness > 3 * grain])
    ink = darkness[darkness > threshold]
    # A small picture's edges are part grey; its darkest pixels show how dark the ink is.
    share = 95 if max(darkness.shape) < SMALL else 50
    usual = float(np.percentile(ink, share)) if ink.size else 0.0
    if usual < max(_FAINTEST, _NOISE * grain):
        return np.zeros_like(darkness), np.zeros(darkness.shape, np.bool_)
    floor = min(2 * grain, threshold / 2)
    strength = np.clip((darkness - floor) / (usual - floor), 0, 1)
    return strength, _connected_to(
        darkness > max(_WEAK * threshold, 3 * grain), darkness > threshold
    )


def _grain(darkness: Grey) -> tuple[float, float]:
    """Return the usual darkness of paper and its standard deviation."""
    if max(darkness.shape) < SMALL:  # ink may fill most of it: look at the border
        edges = border(darkness)
        return 0.0, 1.48 * float(np.median(np.abs(edges - np.median(edges))))
    # Half of the picture at least is paper. Its grain is measured below the median, far from ink.
    low, middle = (float(level) for level in np.percentile(darkness, [16, 50]))
    return middle, middle - low


def _connected_to(weak: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the parts of `weak` that hold something `strong`: J. Canny's hysteresis (1986)."""
    parts = connected_components(weak | strong)
    keep = np.zeros(len(parts) + 1, np.bool_)
    keep[parts.labels[strong]] = True
    return keep[parts.labels]
