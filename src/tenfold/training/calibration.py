"""Confidence that means what it says: one temperature, found on images held out of training.

C. Guo, G. Pleiss, Y. Sun and K. Weinberger, 'On calibration of modern neural networks', ICML
2017: dividing the logits by a single number is enough, and changes no answer.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from tenfold.recognizer import Recognizer, tempered

COLDEST, HOTTEST = 0.05, 20.0
# With fewer images a lucky handful without a mistake would make the recognizer sure of all.
FEWEST_IMAGES = 100


def calibrated(
    recognizer: Recognizer, probabilities: NDArray[np.float32], labels: NDArray[np.int64]
) -> Recognizer:
    """Return `recognizer` with the temperature that held-out images want.

    Args:
        recognizer: any temperature that it has is replaced.
        probabilities: float32 [N, classes], said of the images without a temperature.
        labels: the truth, int64 [N].
    """
    return replace(recognizer, temperature=best_temperature(probabilities, labels))


def best_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the temperature that makes the truth of held-out images most likely.

    Args:
        probabilities: float32 [N, classes], as an untempered recognizer gives them.
        labels: the truth, int64 [N].

    Returns:
        A number from 0.05 to 20; 1, which leaves probabilities alone, for under 100 images or
        without a mistake on them: then only certainty itself would be likely enough.
    """
    if len(labels) < FEWEST_IMAGES or (probabilities.argmax(axis=1) == labels).all():
        return 1.0
    rows = np.arange(len(labels))

    def surprise(log_temperature: float) -> float:
        of_truth = tempered(probabilities, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x))
