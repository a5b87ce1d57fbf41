"""Images that are no digits, and how well a recognizer's confidence tells them from digits."""

from collections.abc import Iterator
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pictures import normalize_all
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from strokes import Stroke, draw, scribbles

from tenfold.data import Dataset
from tenfold.metrics import TINY, UPPER_QUANTILE

SYNTHETIC = 2000  # images of each kind that is made here
# Letters that many people write as they write a digit, or that lie as near to one.
LOOK_ALIKES = "OoIliSsZzBbqg"


def max_probability(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the confidence of each prediction: float64 [N] of float32 [N, C]."""
    return probabilities.max(axis=1).astype(np.float64)


def negative_entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return minus the entropy of each prediction, in nats: float64 [N] of float32 [N, C]."""
    p = probabilities.astype(np.float64).clip(TINY)
    return (p * np.log(p)).sum(axis=1)


def auroc(
    digits: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[float, tuple[float, float]]:
    """Return the area under the ROC curve of confidences, and its 95% interval.

    It is the chance that a digit has a higher confidence than another image; ties count half. The
    interval is normal, with the variance of DeLong, DeLong and Clarke-Pearson (1988, Biometrics
    44:837–845), cut at 0 and 1; it has no width where the two sets do not overlap.

    Args:
        digits: float64 [M], M at least 2.
        others: float64 [N], N at least 2.
    """
    ranks = rankdata(np.concatenate([digits, others]))
    lower_others = (ranks[: len(digits)] - rankdata(digits)) / len(others)
    higher_digits = 1 - (ranks[len(digits) :] - rankdata(others)) / len(digits)
    area = float(lower_others.mean())
    variance = lower_others.var(ddof=1) / len(digits) + higher_digits.var(ddof=1) / len(others)
    half_width = NormalDist().inv_cdf(UPPER_QUANTILE) * sqrt(variance)
    return area, (max(0.0, area - half_width), min(1.0, area + half_width))


def letters(characters: dict[str, list[list[Stroke]]]) -> Iterator[Dataset]:
    """Yield all letters, those that look like no digit, and each of the others alone."""
    images = {
        character: normalize_all(map(draw, writers))
        for character, writers in characters.items()
        if character.isalpha()
    }
    unlike = [each for character, each in images.items() if character not in LOOK_ALIKES]
    yield Dataset(np.concatenate(list(images.values())), name="letters, all 52")
    yield Dataset(np.concatenate(unlike), name="letters without look-alikes")
    for character in LOOK_ALIKES:
        yield Dataset(images[character], name=f"letter {character}")


def synthetic(rng: Generator) -> Iterator[Dataset]:
    """Yield noise of three kinds, scribbles, and one image of every grey level."""
    shape = (SYNTHETIC, 28, 28)
    uniform = rng.random(shape)
    blurred = gaussian_filter(uniform, 1.5, axes=(1, 2))
    low, high = (each(blurred, axis=(1, 2), keepdims=True) for each in (np.min, np.max))
    greys = np.arange(256, dtype=np.uint8)[:, None, None]
    yield Dataset(_bytes(uniform), name="noise, uniform")
    yield Dataset(_bytes(rng.normal(0.5, 0.25, shape)), name="noise, Gaussian")
    yield Dataset(_bytes((blurred - low) / (high - low)), name="noise, blurred")
    yield Dataset(normalize_all(scribbles(SYNTHETIC, rng)), name="scribbles")
    yield Dataset(np.broadcast_to(greys, (256, 28, 28)).copy(), name="blanks, every grey")


def _bytes(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    return (images.clip(0, 1) * 255).round().astype(np.uint8)
