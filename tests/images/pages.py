"""Pictures as people take them, drawn from MNIST's digits: pen on paper under a lamp."""

import io

import numpy as np
from PIL import Image

PAPER = (236, 233, 224)
INK = (40, 42, 60)


def enlarge(digit, side=112):
    """MNIST's 28 × 28 pixels as smooth strokes, float [side, side] from 0 to 1."""
    picture = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture) / 255


def place(strokes, height, width, top, left):
    """Strokes on an empty page, float [height, width]."""
    page = np.zeros((height, width))
    rows, columns = strokes.shape
    page[top : top + rows, left : left + columns] = strokes
    return page


def row_of(digits, side=112, gap=0, margin=40):
    """Digits side by side."""
    strokes = np.hstack([np.pad(enlarge(digit, side), ((0, 0), (0, gap))) for digit in digits])
    return np.pad(strokes, margin)


def ink_on_paper(strokes, paper=PAPER, ink=INK):
    """Colours [H, W, 3], float from 0 to 255."""
    return np.array(paper) + strokes[..., None] * (np.array(ink, float) - np.array(paper))


def to_pixels(colours):
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


def shadow(colours, darkest=0.45):
    """A lamp at one side, and the soft edge of a shadow across the page."""
    height, width = colours.shape[:2]
    lamp = np.linspace(1.0, 0.75, width)[None, :, None]
    rows, columns = np.mgrid[:height, :width]
    edge = (columns + 0.3 * rows - 0.6 * width) / (0.04 * width)
    return colours * lamp * (darkest + (1 - darkest) / (1 + np.exp(edge)))[..., None]


def grain(colours, rng, strength=5.0):
    return colours + rng.normal(0, strength, colours.shape[:2])[..., None]


def ruled(colours, spacing=60, slope=0.02, colour=(120, 150, 200), thickness=2, squared=False):
    """Lines from edge to edge, not quite level."""
    page = colours.copy()
    rows, columns = np.mgrid[: page.shape[0], : page.shape[1]]
    is_line = (rows + slope * columns) % spacing < thickness
    if squared:
        is_line |= (columns - slope * rows) % spacing < thickness
    page[is_line] = np.minimum(page[is_line], colour)
    return page


def jpeg(colours, quality=40):
    stream = io.BytesIO()
    Image.fromarray(to_pixels(colours)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def png(pixels, **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def likeness(found, digit):
    """Correlation of two 28 × 28 images, at the best of nine shifts by at most a pixel."""
    shifted = [
        np.roll(found.astype(float), (down, right), (0, 1)).ravel()
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    return max(np.corrcoef(image, digit.ravel())[0, 1] for image in shifted)
