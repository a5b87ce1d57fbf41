"""What lies under the ink: is the paper bright or dark, where is the sheet, how bright is it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tenfold.images.components import connected_components
from tenfold.images.filters import Grey, closing, otsu, resize, running_max

_THUMBNAIL = 64
_PAPER_THUMBNAIL = 256
SMALL = 40  # pixels of the long side; a smaller picture has no room for shadows
_WINDOW = 0.34  # of the long side; wider than any stroke
_ONE_COLOUR = 0.85  # of the border
_FAINT = 0.1  # brightness by which one pixel of the thumbnail must stand out, to be ink
_SHEET_SIDE = 0.35  # of the picture's shorter side, at least
_RECTANGULAR = 0.83  # of its box that a sheet covers; an ellipse such as a filled 0 has 0.79


def to_grey(pixels: NDArray[np.uint8]) -> Grey:
    """Return float32 [H, W] from 0 to 1: brightness, or what tells the colours apart better.

    Args:
        pixels: uint8 [H, W, 3].
    """
    thumbnail = pixels[:: 1 + len(pixels) // 128, :: 1 + pixels.shape[1] // 128]
    colours = thumbnail.reshape(-1, 3) / 255.0
    weights = np.array([0.299, 0.587, 0.114])
    variances, directions = np.linalg.eigh(np.cov(colours.T, ddof=0))
    brightness_variance = float(((colours @ weights).std() / np.linalg.norm(weights)) ** 2)
    if brightness_variance < variances[-1] * 0.9:  # yellow on turquoise is a matter of colour
        weights = directions[:, -1] * np.sign(directions[:, -1].sum() or 1.0)
        weights /= np.abs(weights).sum()
    grey = pixels @ (weights / 255).astype(np.float32)
    return grey - np.float32(min(0.0, weights[weights < 0].sum()))


def border(grey: Grey) -> Grey:
    """Return the outermost pixels, float32 [N]."""
    return np.concatenate([grey[[0, -1]].ravel(), grey[1:-1, [0, -1]].ravel()])


def is_dark(grey: Grey) -> bool:
    """Say whether the paper is dark, under bright ink."""
    thumbnail = _thumbnail(grey, _THUMBNAIL)
    bright = _bright_border(thumbnail)
    if max(bright, 1 - bright) >= _ONE_COLOUR or max(grey.shape) < SMALL:
        return bright < 0.5
    # A border of both colours is shadow, table or ink. The ink is what stands out from the median
    # of its surroundings.
    picture = Image.fromarray((thumbnail * 255).astype(np.uint8))
    median = picture.filter(ImageFilter.MedianFilter(2 * (min(thumbnail.shape) // 5) + 1))
    stands_out = thumbnail - np.asarray(median, np.float32) / 255
    return float((stands_out**3).sum()) > _FAINT**3


def _bright_border(thumbnail: Grey) -> float:
    """Return which share of the border is bright."""
    return float((border(thumbnail) > otsu(thumbnail.ravel())).mean())


def find_sheet(grey: Grey) -> NDArray[np.bool_] | None:
    """Return where a bright sheet lies on a dark table, bool [H, W]; None if there is none.

    A sheet is wider than a stroke, nearly a rectangle, and bright but for the ink on it.
    """
    if max(grey.shape) < SMALL:
        return None
    thumbnail = _thumbnail(grey, _THUMBNAIL)
    if _bright_border(thumbnail) > 1 - _ONE_COLOUR:
        return None
    bright = (thumbnail > otsu(thumbnail.ravel())).astype(np.float32)
    side = min(thumbnail.shape)
    without_ink = closing(bright, side // 6)
    parts = connected_components(-closing(-without_ink, int(_SHEET_SIDE * side)) > 0.5)
    if len(parts) == 0:
        return None
    largest = int(parts.areas.argmax())
    sheet = _fill(parts.labels == largest + 1)
    box_area = int(parts.widths[largest] * parts.heights[largest])
    is_sheet = sheet.sum() >= max(0.2 * sheet.size, _RECTANGULAR * box_area)
    if not is_sheet or bright[sheet].mean() < _RECTANGULAR:
        return None
    inner = _enlarge(-running_max(-sheet.astype(np.float32), 5), grey) > 0.5
    # A block of writing looks like a sheet when it is small; most of its pixels are paper.
    return inner if inner.any() and np.median(grey[inner]) > otsu(thumbnail.ravel()) else None


def _fill(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill each row and column between its first and last pixel, where both agree."""
    filled = []
    for axis in (0, 1):
        after = np.maximum.accumulate(mask, axis=axis)
        before = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis=axis), axis)
        filled.append(after & before)
    return filled[0] & filled[1]


def paper_level(grey: Grey) -> Grey:
    """Return how bright the paper is under each pixel, float32 [H, W].

    Dark strokes are filled from their surroundings; shadows, wider than a stroke, stay.
    """
    if max(grey.shape) < SMALL:
        return np.full_like(grey, np.median(border(grey)))
    thumbnail = _thumbnail(grey, _PAPER_THUMBNAIL)
    paper = closing(thumbnail, int(_WINDOW * max(thumbnail.shape)))
    return np.maximum(_enlarge(paper, grey), np.float32(1 / 255))


def _thumbnail(grey: Grey, side: int) -> Grey:
    """Scale down to at most `side` pixels."""
    scale = min(1.0, side / max(grey.shape))
    height, width = (max(1, round(scale * length)) for length in grey.shape)
    return resize(grey, height, width)


def _enlarge(thumbnail: Grey, grey: Grey) -> Grey:
    """Scale up to the size of `grey`, without ripples at edges."""
    height, width = grey.shape
    return resize(thumbnail, height, width, Image.Resampling.BILINEAR)
