"""How long a method will take, told from small fits; and who must do with fewer images.

A fit on n images takes a · nᵖ seconds, with p from the two largest of the small fits: near 1 for
most methods, near 2 for support vector machines. So with prediction, whose time grows with what was
learned by neighbours and support vectors. A network's time is that of one epoch times its epochs.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from tenfold.experiments.methods import Method

FIT_POWERS = (0.5, 2.2)  # what p may be: small fits are noisy
PREDICT_POWERS = (0.0, 1.0)
# A recipe that stops early takes fewer epochs than it may; half is a guess, and told as one.
EARLY = 0.5
START_S = 4.0  # of a process: Python, its libraries, and the images


@dataclass(frozen=True)
class Cost:
    """What one fit of a method takes on one core.

    Attributes:
        images: of the largest small fit.
        fit_s: of it, times all epochs for a network.
        fit_power: how that grows with images.
        predict_s: for one image after it.
        predict_power: how that grows with the images learned.
    """

    images: int
    fit_s: float
    fit_power: float
    predict_s: float
    predict_power: float

    @classmethod
    def of(cls, method: Method, fits: Sequence[Mapping[str, Any]]) -> "Cost":
        """Read it off the small fits, smallest first."""
        last = fits[-1]
        if method.recipe is not None:
            training = method.recipe.training
            epochs = training.max_epochs * (EARLY if training.patience_epochs else 1)
            return cls(last["images"], last["fit_s"] * epochs, 1.0, last["predict_s"], 0.0)
        return cls(
            last["images"],
            last["fit_s"],
            _power(fits, "fit_s", *FIT_POWERS),
            last["predict_s"],
            _power(fits, "predict_s", *PREDICT_POWERS),
        )

    def seconds(self, learned: float, judged: int) -> float:
        """Return what learning from so many images and judging so many takes."""
        times = learned / self.images
        fit_s = self.fit_s * times**self.fit_power
        predict_s = self.predict_s * times**self.predict_power * judged
        return float(START_S + fit_s + predict_s)

    def affordable(self, seconds: float, learned: int, judged: int) -> float:
        """Return the share of the images, up to 1, that can be learned from in so many seconds."""
        low, high = 0.0, 1.0
        if self.seconds(learned, judged) <= seconds:
            return 1.0
        for _ in range(30):
            middle = (low + high) / 2
            if self.seconds(middle * learned, judged) <= seconds:
                low = middle
            else:
                high = middle
        return low


def _power(fits: Sequence[Mapping[str, Any]], what: str, lowest: float, highest: float) -> float:
    """Return p of the two largest fits, within bounds; 1 within them if there is but one."""
    if len(fits) < 2:
        return min(max(1.0, lowest), highest)
    one, two = fits[-2:]
    grown = log(max(two[what], 1e-6) / max(one[what], 1e-6))
    return min(max(grown / log(two["images"] / one["images"]), lowest), highest)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long jobs of so many seconds take, each given in turn to the first free worker."""
    free = [0.0] * workers
    heapq.heapify(free)
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)
