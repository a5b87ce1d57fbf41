"""The fifteen corruptions of MNIST-C, written anew from their definitions.

N. Mu and J. Gilmer, "MNIST-C: A Robustness Benchmark for Computer Vision", 2019, arXiv 1906.02337.
Every strength is the published one, which the authors' program (google-research/mnist-c,
corruptions.py) has as its default. Random numbers differ from the authors', so the images are of
the same distribution but not the same images.

A corruption takes images, float32 [N, 28, 28] from 0 to 1, ink bright on dark, and a generator of
random numbers. It returns an array of that shape, which `corrupt` clips and rounds.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

Images = NDArray[np.float32]

SIDE = 28
CENTRE = (SIDE - 1) / 2
FOG_SIDE = 256  # of the map whose corner covers the image
FOG_BATCH = 100  # maps at once: 26 MB
LINE_REACH = 2.3  # pixels from the middle of a drawn line to where its ink would end
MOTION_RADIUS, MOTION_SIGMA = 10, 3


def corrupt(name: str, images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """Return uint8 [N, 28, 28], corrupted; the same for the same seed and images."""
    rng = np.random.default_rng([seed, list(CORRUPTIONS).index(name)])
    result = CORRUPTIONS[name](images.astype(np.float32) / 255, rng)
    return (result.clip(0, 1) * 255).round().astype(np.uint8)


def shot_noise(images: Images, rng: Generator) -> NDArray[np.floating]:
    """Count photons, three on average where a pixel is white."""
    return rng.poisson(images * 3) / 3


def impulse_noise(images: Images, rng: Generator) -> Images:
    """Turn 17% of the pixels black or white."""
    noisy = rng.random(images.shape) < 0.17
    return np.where(noisy, rng.integers(2, size=images.shape), images)


def glass_blur(images: Images, rng: Generator) -> Images:
    """Blur, swap neighbours at random, twice, and blur again."""
    blurred = (_blur(images, 0.7) * 255).astype(np.uint8) / np.float32(255)
    pixels = np.ascontiguousarray(blurred.transpose(1, 2, 0))  # one row of memory a position
    each = np.arange(len(images))
    for _ in range(2):
        for row in range(SIDE - 1, 1, -1):
            for column in range(SIDE - 1, 1, -1):
                down, right = rng.integers(-1, 1, size=(2, len(images)))
                swapped = rng.random(len(images)) < 0.5
                other = row + down * swapped, column + right * swapped, each
                here = pixels[row, column].copy()
                pixels[row, column] = pixels[other]
                pixels[other] = here
    return _blur(pixels.transpose(2, 0, 1), 0.7)


def motion_blur(images: Images, rng: Generator) -> Images:
    """Smear along a line at up to 45° from the horizontal, with the half of a Gaussian.

    As ImageMagick does it: whole pixels along the line, the border repeated. Compared with its
    version 6.9 on five images, no pixel differs by more than one grey level.
    """
    steps = np.arange(2 * MOTION_RADIUS + 1)
    weights = np.exp(-(steps**2) / (2 * MOTION_SIGMA**2))
    angle = np.radians(rng.uniform(-45, 45, size=(len(images), 1)))
    down, right = (
        np.ceil(steps * direction - 0.5).astype(int) for direction in (np.sin(angle), np.cos(angle))
    )
    each, place = np.arange(len(images))[:, None, None], np.arange(SIDE)
    result = np.zeros_like(images)
    for step, weight in enumerate(weights / weights.sum()):
        rows = (place + down[:, step, None]).clip(0, SIDE - 1)
        columns = (place + right[:, step, None]).clip(0, SIDE - 1)
        result += np.float32(weight) * images[each, rows[:, :, None], columns[:, None, :]]
    return result


def shear(images: Images, rng: Generator) -> Images:
    """Slant by 0.4 radians, to the left or to the right."""
    return _two_ways(images, rng, lambda sign: [[np.cos(0.4), 0], [-np.sin(sign * 0.4), 1]])


def scale(images: Images, rng: Generator) -> Images:
    """Shrink to 0.7 of the size."""
    return _warp(images, np.eye(2) / 0.7)


def rotate(images: Images, rng: Generator) -> Images:
    """Rotate by 0.4 radians, which is 23°, in either direction."""
    cos, sin = np.cos(0.4), np.sin(0.4)
    return _two_ways(images, rng, lambda sign: [[cos, sign * sin], [-sign * sin, cos]])


def brightness(images: Images, rng: Generator) -> Images:
    """Add half of the range to every pixel."""
    return images + np.float32(0.5)


def translate(images: Images, rng: Generator) -> Images:
    """Shift by three pixels up or down, and by three to the left or to the right."""
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)))
    down, right = rng.choice([0, 6], size=(2, len(images), 1)) + np.arange(SIDE)
    return padded[np.arange(len(images))[:, None, None], down[:, :, None], right[:, None, :]]


def stripe(images: Images, rng: Generator) -> Images:
    """Invert the seven columns at either side."""
    result = images.copy()
    result[:, :, :7] = 1 - result[:, :, :7]
    result[:, :, -7:] = 1 - result[:, :, -7:]
    return result


def fog(images: Images, rng: Generator) -> Images:
    """Add a random cloud three times as bright as ink, and dim all so that the sum fits."""
    brightest = images.max(axis=(1, 2), keepdims=True)
    return (images + 3 * _clouds(len(images), rng)) * brightest / (brightest + 3)


def spatter(images: Images, rng: Generator) -> Images:
    """Cover parts with blots of dark grey."""
    liquid = _blur(rng.normal(0.65, 0.3, images.shape).astype(np.float32), 1)
    blots = _blur((liquid > 0.65).astype(np.float32), 1.5)
    blots[blots < 0.8] = 0
    return images * (1 - blots) + np.float32(63 / 255) * blots


def dotted_line(images: Images, rng: Generator) -> Images:
    """Draw a line from the left to the right, two columns drawn and two not."""
    rows = rng.integers(27, size=(2, len(images)))
    line = _line(np.zeros(len(images)), rows[0], np.full(len(images), 27.0), rows[1])
    line[:, :, np.arange(SIDE) // 2 % 2 == 0] = 0
    return images + line


def zigzag(images: Images, rng: Generator) -> Images:
    """Draw a zigzag from the left to the right, two pixels to either side of a line."""
    start = rng.integers(27, size=len(images))
    angle = np.arctan(rng.integers(-5, 5, size=len(images)) / 23)
    length = 23 / np.cos(angle)
    along = np.stack([np.full(len(images), at) for at in (0.0, 2, 6, 10, 14, 18, 22)] + [length])
    across = np.stack([np.full(len(images), at) for at in (0.0, 2, -2, 2, -2, 2, -2)])
    across = np.concatenate([across, [-1 / (length - 20)]])
    columns = 2 + np.cos(angle) * along - np.sin(angle) * across
    rows = start + np.sin(angle) * along + np.cos(angle) * across
    result = images.copy()
    for corner in range(len(along) - 1):
        result += _line(columns[corner], rows[corner], columns[corner + 1], rows[corner + 1])
    return result


def canny_edges(images: Images, rng: Generator) -> NDArray[np.bool_]:
    """Keep the edges alone, as Canny's detector finds them with a blur of one pixel."""
    from skimage.feature import canny

    return np.stack([canny(image) for image in images])


Corruption = Callable[[Images, Generator], NDArray]
CORRUPTIONS: dict[str, Corruption] = {
    function.__name__.replace("_", " "): function
    for function in (
        *(shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness),
        *(translate, stripe, fog, spatter, dotted_line, zigzag, canny_edges),
    )
}


def _blur(images: Images, sigma: float) -> Images:
    return gaussian_filter(images, sigma, axes=(1, 2), mode="nearest")


def _warp(images: Images, matrix: NDArray) -> Images:
    """Fill each pixel from where `matrix`, on (row, column) from the centre, points to."""
    whole = np.eye(3)  # images are the first axis, which stays
    whole[1:, 1:] = matrix
    centre = np.array([0, CENTRE, CENTRE])
    return affine_transform(
        images, whole, centre - whole @ centre, order=1, mode="grid-constant", prefilter=False
    )


def _two_ways(images: Images, rng: Generator, matrix: Callable[[int], list[list[float]]]) -> Images:
    """Warp each image by one of two matrices, by chance."""
    result = np.empty_like(images)
    first = rng.random(len(images)) < 0.5
    for rows, sign in ((first, 1), (~first, -1)):
        result[rows] = _warp(images[rows], np.array(matrix(sign)))
    return result


def _clouds(n: int, rng: Generator) -> Images:
    """Return the corners, float32 [N, 28, 28], of clouds that run from 0 to 1 as a whole.

    Diamond-square on a torus (Fournier, Fussell and Carpenter 1982): a grid gets twice as fine by
    means of four neighbours, to which ever smaller noise is added.
    """
    corners = []
    for start in range(0, n, FOG_BATCH):
        heights = np.zeros((min(FOG_BATCH, n - start), 1, 1), np.float32)
        amplitude = 1.0
        while heights.shape[1] < FOG_SIDE:
            heights = _refine(heights, amplitude, rng)
            amplitude /= 1.4**2
        low = heights.min(axis=(1, 2), keepdims=True)
        high = heights.max(axis=(1, 2), keepdims=True)
        corners.append((heights[:, :SIDE, :SIDE] - low) / (high - low))
    return np.concatenate(corners)


def _refine(heights: Images, amplitude: float, rng: Generator) -> Images:
    """Return a grid twice as fine: float32 [N, 2 S, 2 S] of [N, S, S]."""
    n, side, _ = heights.shape
    noise = rng.random((3, n, side, side), np.float32)
    noise = (2 * noise - 1) * np.float32(amplitude)
    pair = heights + np.roll(heights, -1, axis=2)
    centres = (pair + np.roll(pair, -1, axis=1)) / 4 + noise[0]
    beside = (pair + centres + np.roll(centres, 1, axis=1)) / 4 + noise[1]
    below = heights + np.roll(heights, -1, axis=1)
    below = (below + centres + np.roll(centres, 1, axis=2)) / 4 + noise[2]
    finer = np.empty((n, 2 * side, 2 * side), np.float32)
    finer[:, ::2, ::2], finer[:, 1::2, 1::2] = heights, centres
    finer[:, ::2, 1::2], finer[:, 1::2, ::2] = beside, below
    return finer


def _line(c0: NDArray, r0: NDArray, c1: NDArray, r1: NDArray) -> Images:
    """Return the ink of a line for each image, from (c0, r0) to (c1, r1): float32 [N, 28, 28].

    Ink fades with the vertical distance d from the line, as 1 + log(1 - d / 2.3). The line covers
    whole columns.
    """
    columns = np.arange(SIDE, dtype=np.float32)
    heights = r0[:, None] + ((r1 - r0) / (c1 - c0))[:, None] * (columns - c0[:, None])
    distance = np.abs(columns[:, None] - heights[:, None, :].astype(np.float32))
    ink = 1 + np.log(1 - distance.clip(max=LINE_REACH - 1e-3) / LINE_REACH)
    inside = (columns >= np.floor(c0)[:, None]) & (columns < np.ceil(c1)[:, None])
    return (ink.clip(0) * inside[:, None, :]).astype(np.float32)
