"""Evaluation of predictions: accuracy with its uncertainty, confusion, loss, calibration, tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

CALIBRATION_BINS = 15
RELIABILITY_BINS = 10
SIGNIFICANT = 0.05  # an adjusted p below this counts as a difference
UPPER_QUANTILE = 0.975  # a 95% interval leaves out 2.5% of the distribution on each side
TINY = np.finfo(np.float32).tiny  # smallest normal float32: log(0) would be infinite


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson interval of the accuracy `correct / n`.

    Unlike the textbook p ± 1.96 s it stays inside [0, 1] and keeps its coverage near 0 and 1, where
    digit recognizers are (Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
    Inference", JASA 22:209–212).

    `scipy.stats.binomtest(correct, n).proportion_ci(method="wilson")` is the same to 1e-12, but
    importing scipy.stats takes 0.8 s, longer than all of `tenfold score`, and each call 0.2 ms.

    Raises:
        DataError: `n` is not positive, or `correct` is not within 0…n.
    """
    _check_counts(correct, n)
    z = NormalDist().inv_cdf(UPPER_QUANTILE)
    accuracy = correct / n
    centre = accuracy + z * z / (2 * n)
    half_width = z * sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    shrink = 1 + z * z / n
    # Mathematically these ends are exact; rounding would miss them by an ulp.
    low = 0.0 if correct == 0 else (centre - half_width) / shrink
    high = 1.0 if correct == n else (centre + half_width) / shrink
    return low, high


def _check_counts(correct: int, n: int) -> None:
    if n < 1:
        raise DataError(f"a score of {n} predictions is undefined, expected at least one")
    if not 0 <= correct <= n:
        raise DataError(f"{correct} of {n} predictions are correct, expected from 0 to {n}")


@dataclass(frozen=True)
class Score:
    """Accuracy: `correct` of `n` predictions.

    Raises:
        DataError: `n` is not positive, or `correct` is not within 0…n.
    """

    correct: int
    n: int

    def __post_init__(self) -> None:
        _check_counts(self.correct, self.n)

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, from 0 to 1."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the accuracy: low, high."""
        return wilson_interval(self.correct, self.n)

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON holds it: accuracy, correct, n, interval [low, high]."""
        return {
            "accuracy": self.accuracy,
            "correct": self.correct,
            "n": self.n,
            "interval": list(self.interval),
        }

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.accuracy:.4f} ({self.correct:,} of {self.n:,}; "
            f"95% interval {low:.4f}–{high:.4f})"
        )


def score(predicted: NDArray[Any], labels: NDArray[Any]) -> Score:
    """Count how many `predicted` classes [N] equal the true `labels` [N].

    Both are integers (indices into the classes), or both are text (class names).

    Raises:
        DataError: the two differ in length, one is numbers and the other text, or they are empty.
    """
    if predicted.shape != labels.shape:
        raise DataError(
            f"{predicted.size:,} predictions and {labels.size:,} true labels, "
            "expected as many of one as of the other"
        )
    kinds = _kind(predicted), _kind(labels)
    if kinds[0] != kinds[1]:
        raise DataError(
            f"predictions are {kinds[0]} and true labels are {kinds[1]}, "
            "expected class names in both or class indices in both"
        )
    return Score(correct=int((predicted == labels).sum()), n=predicted.size)


def _kind(labels: NDArray[Any]) -> str:
    """Name what `labels` hold: numbers never equal text, so a mixture would score 0."""
    is_text = labels.dtype.kind in "US" or (
        labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.flat)
    )
    return "text" if is_text else "numbers"


def log_loss(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> float:
    """Return the mean negative log-likelihood of the true class, in nats.

    It is computed in the dtype of `probabilities`, or in float32 if theirs is narrower. Below the
    smallest normal float32 a probability counts as that number: certain and wrong costs 87.3 nats.

    Args:
        probabilities: float [N, C].
        labels: int64 [N], indices of the true classes.
    """
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_label, TINY, 1)).mean())


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate_probabilities` measures.

    Attributes:
        score: over all images.
        per_class: score over the images of each true class (recall); a class without images is
            absent.
        confusion: int64 [C, C], images by true class (row) and predicted class (column).
        loss: see `log_loss`.
        calibration_error: mean distance between confidence and accuracy, from 0 (calibrated) to 1.
    """

    score: Score
    per_class: dict[str, Score]
    confusion: NDArray[np.int64]
    loss: float
    calibration_error: float

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON holds it; `confusion` as a list of rows."""
        return {
            **self.score.to_json(),
            "loss": self.loss,
            "calibration_error": self.calibration_error,
            "per_class": {name: score.to_json() for name, score in self.per_class.items()},
            "confusion": self.confusion.tolist(),
        }


def evaluate_probabilities(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64], classes: Sequence[str]
) -> Evaluation:
    """Compare `probabilities` float [N, C] with the true `labels` int64 [N].

    Raises:
        DataError: shapes disagree, there are no images, a row is no probability distribution, or a
            label is no index into `classes`.
    """
    _check_evaluation(probabilities, labels, classes)
    predicted = probabilities.argmax(axis=1)
    confusion = _confusion(labels, predicted, len(classes))
    return Evaluation(
        score=score(predicted, labels),
        per_class={
            name: Score(correct=int(row[index]), n=int(row.sum()))
            for index, (name, row) in enumerate(zip(classes, confusion, strict=True))
            if row.any()
        },
        confusion=confusion,
        loss=log_loss(probabilities, labels) + 0.0,  # turns -0.0 into 0.0
        calibration_error=_calibration_error(probabilities.max(axis=1), predicted == labels),
    )


def _check_evaluation(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64], classes: Sequence[str]
) -> None:
    if probabilities.shape != (len(labels), len(classes)) or len(labels) == 0:
        raise DataError(
            f"probabilities are {list(probabilities.shape)} for {len(labels)} labels, "
            f"expected [N, {len(classes)}] with N at least 1, one row per label"
        )
    # Half-precision softmax misses 1 by up to a few thousandths.
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = (probabilities < 0).any(axis=1) | ~(np.abs(sums - 1) < 0.01)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"probabilities: row {row} sums to {sums[row]:.4g} with minimum "
            f"{probabilities[row].min():.4g}, expected numbers from 0 to 1 that sum to 1"
        )
    if not 0 <= labels.min() <= labels.max() < len(classes):
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}, "
            f"expected indices of the {len(classes)} classes"
        )


def _confusion(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    cells = np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def _calibration_error(
    confidence: NDArray[np.floating[Any]], is_correct: NDArray[np.bool_]
) -> float:
    """Return the expected calibration error, over 15 equal bins of confidence, closed on the right.

    The mean over bins of |accuracy - confidence|, each bin weighted by its images (Guo et al.
    2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, equation 3).
    """
    confidence = confidence.astype(np.float64)
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.int64).clip(1, CALIBRATION_BINS)
    return float(np.abs(np.bincount(bins, weights=is_correct - confidence)).sum() / len(bins))


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions of similar confidence.

    Attributes:
        low, high: bounds of their confidence.
        confidence: their mean confidence, which the accuracy equals if it is calibrated.
        score: their accuracy.
    """

    low: float
    high: float
    confidence: float
    score: Score


def calibration_bins(
    confidence: NDArray[np.floating[Any]], is_correct: NDArray[np.bool_]
) -> list[CalibrationBin]:
    """Group predictions by confidence, float [N], in ten bins of equal width.

    Bins are closed on the right and ascend; an empty one is left out.
    """
    edges = np.linspace(0, 1, RELIABILITY_BINS + 1).tolist()
    bins = np.searchsorted(edges[1:-1], confidence.astype(np.float64), side="left")
    found = []
    for index in np.unique(bins):
        inside = bins == index
        found.append(
            CalibrationBin(
                low=edges[index],
                high=edges[index + 1],
                confidence=float(confidence[inside].mean(dtype=np.float64)),
                score=Score(int(is_correct[inside].sum()), int(inside.sum())),
            )
        )
    return found


def risk_coverage(
    confidence: NDArray[np.floating[Any]], is_correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how accuracy grows if predictions of low confidence are rejected.

    Returns:
        Coverage, the share of images that is not rejected, and the accuracy on those: float64 [N]
        each, from the single most confident prediction to all of them (El-Yaniv and Wiener 2010,
        "On the Foundations of Noise-free Selective Classification", JMLR 11:1605–1641).
    """
    order = np.argsort(-confidence.astype(np.float64), kind="stable")
    accepted = np.arange(1, len(order) + 1)
    return accepted / len(order), np.cumsum(is_correct[order]) / accepted


@dataclass(frozen=True)
class McNemarResult:
    """Two classifiers on the same images.

    Attributes:
        both, first, second, neither: number of images that both, only one, or neither classified
            correctly.
        p: probability of a difference at least this large if both were equally accurate.
    """

    both: int
    first: int
    second: int
    neither: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemarResult:
    """Test whether two classifiers differ, by the images that only one of them gets right.

    The exact form of McNemar's test (McNemar 1947, "Note on the sampling error of the difference
    between correlated proportions or percentages", Psychometrika 12:153–157): if they were equally
    accurate, each such image would fall to either with probability one half.

    Args:
        first: bool [N], whether the first classified each image correctly.
        second: bool [N], likewise; the same images in the same order.

    Raises:
        DataError: the two differ in length, or are empty.
    """
    if first.shape != second.shape or not first.size:
        raise DataError(
            f"{first.size:,} and {second.size:,} predictions cannot be compared, "
            "expected predictions for the same images, at least one"
        )
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import

    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_first + only_second
    p = binomtest(only_first, discordant).pvalue if discordant else 1.0
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    return McNemarResult(both, only_first, only_second, neither, float(p))


@dataclass(frozen=True)
class AccuracyDifference:
    """Accuracy of one classifier minus that of another.

    Attributes:
        mean: over seeds and images.
        low, high: 95% interval.
    """

    mean: float
    low: float
    high: float


def accuracy_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> AccuracyDifference:
    """Return how much more accurate the second is; the interval covers both seeds and images.

    Seeds and images are crossed: every seed was evaluated on the same images. The variance is that
    of the mean over images plus that of the mean over seeds, which never underestimates (Owen
    2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1:386–411); the interval is
    Student's with one degree of freedom less than there are seeds.

    Args:
        first: bool [seeds, N], whether the first, trained with each seed, classified each image
            correctly.
        second: likewise, on the same images.

    Raises:
        DataError: the two differ in shape, or are empty.
    """
    if first.shape != second.shape or first.ndim != 2 or not first.size:
        raise DataError(
            f"predictions of shape {list(first.shape)} and {list(second.shape)} cannot be "
            "compared, expected [seeds, images], the same for both"
        )
    from scipy.stats import t  # noqa: PLC0415 - slow to import

    gain = second.astype(np.float64) - first
    seeds, n = gain.shape
    variance = gain.mean(axis=0).var(ddof=1) / n if n > 1 else 0.0
    quantile = NormalDist().inv_cdf(UPPER_QUANTILE)
    if seeds > 1:
        variance += gain.mean(axis=1).var(ddof=1) / seeds
        quantile = float(t.ppf(UPPER_QUANTILE, seeds - 1))
    mean, half = float(gain.mean()), quantile * sqrt(variance)
    return AccuracyDifference(mean, mean - half, mean + half)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests, so that 0.05 bounds the chance of any false positive.

    Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6:65–70.
    """
    adjusted = [1.0] * len(ps)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted
