"""Strokes as wide as MNIST's, whatever the pen."""

import numpy as np
from numpy.typing import NDArray

from tenfold.images.filters import grow, resize
from tenfold.images.normalize import BOX, crop, normalize

Ink = NDArray[np.float32]

# In pixels of the 20 × 20 box, as `stroke_width` measures MNIST's 60,000 training digits at four
# times their size: the median is 2.5, and 5% are below 1.8.
THIN = 1.45
USUAL_WIDTH = 2.0
_FAINT = 0.1  # ink that is left out of what is drawn larger
_FINE = 4 * BOX  # pixels of the long side, to draw small digits smoothly and widen strokes evenly


def stroke_width(ink: Ink) -> float:
    """Return the mean width of the strokes in pixels; 0 without ink.

    A stroke of length L and width w has the area wL, and across it the ink rises by 1 and falls
    by 1, so that the sum of its gradients is 2L. That holds for blurred strokes too.

    Args:
        ink: float32 [H, W] from 0 for paper to 1 for ink.
    """
    padded = np.pad(ink, 1)
    down = np.diff(padded, axis=0)[:, :-1]
    right = np.diff(padded, axis=1)[:-1]
    gradients = float(np.sqrt(down**2 + right**2).sum())
    return 2 * float(ink.sum()) / gradients if gradients else 0.0


def to_mnist(ink: Ink) -> NDArray[np.uint8]:
    """Return the digit as MNIST would show it, with strokes at least as wide: uint8 [28, 28].

    Args:
        ink: float32 [H, W] from 0 for paper to 1 for ink.
    """
    if not ink.any():
        return normalize(ink)
    ink = crop(ink)
    side = max(ink.shape)
    width = stroke_width(ink) * BOX / side
    if side < BOX or width < THIN:
        ink = _draw_finely(ink, _FINE / side)
        if width < THIN:
            # The digit grows too, and is scaled back into its box.
            growth = (USUAL_WIDTH - width) / (BOX - USUAL_WIDTH)
            ink = grow(np.pad(ink, BOX), growth * _FINE / 2)
    return normalize(ink)


def _draw_finely(ink: Ink, scale: float) -> Ink:
    """Scale by `scale`; where that is up, edges stay soft, as a pixel of grey is half covered."""
    padded = np.pad(ink, 2)
    height, width = (max(1, round(scale * length)) for length in padded.shape)
    fine = (resize(padded, height, width) - _FAINT) / (1 - _FAINT)
    return np.asarray(np.clip(fine, 0, 1), np.float32)
