"""Small image filters on float32 arrays, with numpy and Pillow alone."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.float32]

_BINS = 256


def resize(
    grey: Grey, height: int, width: int, growing: Image.Resampling = Image.Resampling.LANCZOS
) -> Grey:
    """Scale to [height, width]: by averaging where it shrinks, by `growing` where it grows."""
    if grey.shape == (height, width):
        return grey
    shrinks = height <= grey.shape[0] and width <= grey.shape[1]
    method = Image.Resampling.BOX if shrinks else growing
    picture = Image.fromarray(np.ascontiguousarray(grey)).resize((width, height), method)
    return np.asarray(picture, np.float32)


def running_max(grey: Grey, window: int) -> Grey:
    """Return the maximum over a centred square of `window` pixels, cut off at the edges.

    The window is made odd. Windows that double in length make the work logarithmic in it.
    """
    reach = window // 2
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (reach, reach)
        padded = np.pad(grey, pad, constant_values=-np.inf)
        covered, wanted = 1, 2 * reach + 1
        while covered < wanted:
            step = min(covered, wanted - covered)
            ahead, here = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], here[axis] = slice(step, None), slice(None, -step)
            padded = np.maximum(padded[tuple(here)], padded[tuple(ahead)])
            covered += step
        grey = padded
    return grey


def closing(grey: Grey, window: int) -> Grey:
    """Fill what is darker than its surroundings and narrower than `window` pixels."""
    return -running_max(-running_max(grey, window), window)


def grow(grey: Grey, radius: float) -> Grey:
    """Return the maximum over a disc of `radius` pixels, cut off at the edges."""
    reach, half = int(radius), 0
    height, width = grey.shape
    padded = np.pad(grey, reach)
    grown, row = grey, padded[:, reach : reach + width]
    for down in range(reach, -1, -1):  # from the narrowest row of the disc to the widest
        while (half + 1) ** 2 + down**2 <= radius**2:
            half += 1
            for left in (reach - half, reach + half):
                row = np.maximum(row, padded[:, left : left + width])
        for top in {reach - down, reach + down}:
            grown = np.maximum(grown, row[top : top + height])
    return grown


def otsu(values: NDArray[np.float32]) -> float:
    """Return the threshold that separates two classes best: N. Otsu, IEEE Trans. SMC 9 (1979).

    Args:
        values: float32 [N], from 0 to 1.
    """
    counts = np.bincount(np.minimum(values * _BINS, _BINS - 1).astype(np.int64), minlength=_BINS)
    levels = np.arange(_BINS)
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * levels)
    above = len(values) - below
    means_below = sums[:-1] / np.maximum(below, 1)
    means_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (means_below - means_above) ** 2.0
    best = np.flatnonzero(between == between.max())  # a plateau, where no value lies between
    return float(1 + best[len(best) // 2]) / _BINS
