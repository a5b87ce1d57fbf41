"""From the ink of one digit to the 28 × 28 pixels that MNIST would have made of it.

The steps are those that Y. LeCun describes for MNIST (http://yann.lecun.com/exdb/mnist), with the
details that C. Yadav and L. Bottou found when they rebuilt it, pixel by pixel, for QMNIST
("Cold Case: The Lost MNIST Digits", 2019, https://github.com/facebookresearch/qmnist).
"""

import numpy as np
from numpy.typing import NDArray

from tenfold.images.filters import grow, resize

SIZE = 28
BOX = 20  # pixels of the square that a digit is scaled to
_MARGIN = 10  # a digit may hang over the edge of the 28 × 28 pixels by as much
_FOOTPRINT = 0.99  # of the source pixels that each pixel of the box averages
_SMALLEST_SIDE = 10

Ink = NDArray[np.float32]

# In pixels of the 20 × 20 box, as `stroke_width` measures 2,000 of MNIST's digits at four times
# their size: the median is 2.27, and 1% are below 1.46.
THIN = 1.45
USUAL_WIDTH = 2.0
_FAINT = 0.1  # ink that is left out of what is drawn larger
_FINE = 4 * BOX  # pixels of the long side, to draw small digits smoothly and widen strokes evenly


def normalize(ink: Ink) -> NDArray[np.uint8]:
    """Return the digit as MNIST would show it: uint8 [28, 28], bright on black.

    The box around all ink is padded to a square and scaled to 20 × 20 pixels by averaging; the
    centre of mass then comes to lie in the middle. Strokes may leave the middle 20 × 20 pixels.

    Args:
        ink: float32 [H, W] from 0 for paper to 1 for ink; without any, the answer is black.
    """
    canvas = np.zeros((SIZE + 2 * _MARGIN,) * 2, np.uint8)
    if ink.any():
        box = _to_bytes(_shrink(_square(crop(ink))))
        top, left = (int(_MARGIN + offset) for offset in _paste_offsets(box))
        canvas[top : top + BOX, left : left + BOX] = box
    return canvas[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def crop(ink: Ink) -> Ink:
    """Return the box around all ink that is not 0."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _square(ink: Ink) -> Ink:
    """Pad the shorter side at both ends; double pixels until there are at least 20 a side."""
    side = max(*ink.shape, _SMALLEST_SIDE)
    before = [(side - length) // 2 for length in ink.shape]
    after = [side - length - pad for length, pad in zip(ink.shape, before, strict=True)]
    square = np.pad(ink, tuple(zip(before, after, strict=True)))
    while len(square) < BOX:
        square = square.repeat(2, axis=0).repeat(2, axis=1)
    return square


def _shrink(square: Ink) -> Ink:
    """Average over areas, to float32 [20, 20]."""
    side = len(square)
    centres = (np.arange(BOX) + 0.5) * side / BOX
    reach = _FOOTPRINT * side / BOX / 2
    edges = np.arange(side)
    overlap = np.minimum(edges + 1, (centres + reach)[:, None])
    overlap -= np.maximum(edges, (centres - reach)[:, None])
    weights = np.maximum(overlap, 0)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.asarray(weights @ square @ weights.T, np.float32)


def _to_bytes(box: Ink) -> NDArray[np.uint8]:
    """Scale to 0…255, so that the darkest ink is 255."""
    scaled = np.floor(255 * box / min(1.0, float(box.max())) + 0.5)
    return np.asarray(np.clip(scaled, 0, 255), np.uint8)


def _paste_offsets(box: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the row and the column at which the box's top left pixel goes in the 28 × 28."""
    mass = box.astype(np.float64)
    positions = np.arange(BOX) + 0.5  # of pixel centres
    row, column = mass.sum(axis=1) @ positions, mass.sum(axis=0) @ positions
    return int(15 - row / mass.sum()), int(15 - column / mass.sum())


# Strokes as wide as MNIST's, whatever the pen


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
