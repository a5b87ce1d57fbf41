"""Labels that look wrong: confident learning, by cleanlab."""

import warnings

import numpy as np
from numpy.typing import NDArray

from tenfold.answers import Answers


def suspicious(answers: Answers) -> NDArray[np.int64]:
    """Return the places in `answers` of labels that are probably wrong, the most doubtful first.

    Confident learning compares each class's usual confidence with what is said of images of other
    labels (Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset
    labels", JAIR 70, 2021, arXiv 1911.00068). The answers must come from networks that never saw
    the images, or they would repeat the labels.

    Args:
        answers: with labels.

    Returns:
        int64 [K]; empty where there is nothing to compare, as with one class alone.
    """
    assert answers.labels is not None
    if len(np.unique(answers.labels)) < 2:
        return np.empty(0, np.int64)
    from cleanlab.filter import find_label_issues  # noqa: PLC0415 - slow to import

    # Classes without an image would make columns that nothing is known of.
    present, labels = np.unique(answers.labels, return_inverse=True)
    probabilities = answers.probabilities[:, present].astype(np.float64) + 1e-12
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it cannot doubt the label of a class's only image
        found: NDArray[np.int64] = find_label_issues(
            labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    return found.astype(np.int64)
