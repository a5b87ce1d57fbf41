"""How good the answers are: scores with their uncertainty, mistakes by class, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError

CALIBRATION_BINS = 15
SIGNIFICANT = 0.05  # p below this, adjusted for how many pairs there are, counts as a difference
SMALLEST_PROBABILITY = 1e-12
UPPER_END = 0.975  # a 95 % interval leaves out 2.5 % of the distribution on each side


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Interval that holds the true accuracy with probability 0.95.

    Unlike the textbook p ± 1.96 s it stays inside [0, 1] and keeps its promise near 0 and 1, where
    digit recognizers live (Wilson 1927, "Probable Inference, the Law of Succession, and
    Statistical Inference", JASA 22:209–212).

    Raises:
        DataError: `n` is not positive, or `correct` is not within 0…n.
    """
    _check_counts(correct, n)
    z = NormalDist().inv_cdf(UPPER_END)
    accuracy = correct / n
    centre = accuracy + z * z / (2 * n)
    half_width = z * sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    shrink = 1 + z * z / n
    # In theory these ends are met exactly; rounding would miss them by a hair.
    low = 0.0 if correct == 0 else (centre - half_width) / shrink
    high = 1.0 if correct == n else (centre + half_width) / shrink
    return low, high


def _check_counts(correct: int, n: int) -> None:
    if n < 1:
        raise DataError(f"a score was asked of {n} answers, expected at least one")
    if not 0 <= correct <= n:
        raise DataError(f"{correct} of {n} answers are correct, expected from 0 to {n}")


@dataclass(frozen=True)
class Score:
    """Accuracy against known truth: `correct` of `n` answers.

    Raises:
        DataError: `n` is not positive, or `correct` is not within 0…n.
    """

    correct: int
    n: int

    def __post_init__(self) -> None:
        _check_counts(self.correct, self.n)

    @property
    def accuracy(self) -> float:
        """Share of correct answers, from 0 to 1."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.n)

    def to_json(self) -> dict[str, Any]:
        """The score as JSON holds it: accuracy, correct, n, interval [low, high]."""
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
            f"95 % interval {low:.4f}–{high:.4f})"
        )


def score(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> Score:
    """Count how many `answers` int64 [N] agree with `truth` int64 [N].

    Raises:
        DataError: the two differ in length, or are empty.
    """
    if answers.shape != truth.shape:
        raise DataError(
            f"{answers.size:,} answers stand against {truth.size:,} true labels, "
            "expected one answer for each label"
        )
    return Score(correct=int((answers == truth).sum()), n=answers.size)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that is measured when a recognizer's probabilities meet the truth.

    Attributes:
        score: over all images.
        per_class: score over the images of each class (recall); a class without images is absent.
        confusion: int64 [C, C], images by true class (row) and answered class (column).
        loss: mean negative log-likelihood of the truth, in nats.
        calibration_error: mean distance between confidence and accuracy, from 0 (honest) to 1.
    """

    score: Score
    per_class: dict[str, Score]
    confusion: NDArray[np.int64]
    loss: float
    calibration_error: float

    def to_json(self) -> dict[str, Any]:
        """The evaluation as JSON holds it; `confusion` as a list of rows."""
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
    """Compare `probabilities` float [N, C] with `labels` int64 [N].

    Raises:
        DataError: shapes disagree, nothing is there to compare, a row is no probability
            distribution, or a label is no index into `classes`.
    """
    _check_evaluation(probabilities, labels, classes)
    answers = probabilities.argmax(axis=1)
    confusion = _confusion(labels, answers, len(classes))
    truth_probability = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Evaluation(
        score=score(answers, labels),
        per_class={
            name: Score(correct=int(row[index]), n=int(row.sum()))
            for index, (name, row) in enumerate(zip(classes, confusion, strict=True))
            if row.any()
        },
        confusion=confusion,
        loss=float(-np.log(truth_probability.clip(SMALLEST_PROBABILITY, 1.0)).mean()),
        calibration_error=_calibration_error(probabilities.max(axis=1), answers == labels),
    )


def _check_evaluation(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64], classes: Sequence[str]
) -> None:
    if probabilities.shape != (len(labels), len(classes)) or len(labels) == 0:
        raise DataError(
            f"probabilities are {list(probabilities.shape)} for {len(labels)} labels, "
            f"expected [N, {len(classes)}] with N at least 1, a row for each label"
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
    labels: NDArray[np.int64], answers: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    cells = np.bincount(labels * n_classes + answers, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def _calibration_error(
    confidence: NDArray[np.floating[Any]], is_correct: NDArray[np.bool_]
) -> float:
    """Expected calibration error over 15 equal bins of confidence, each closed on the right.

    The mean over bins of |accuracy - confidence|, each bin weighted by its images (Guo et al.
    2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, equation 3).
    """
    confidence = confidence.astype(np.float64)
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.int64).clip(1, CALIBRATION_BINS)
    return float(np.abs(np.bincount(bins, weights=is_correct - confidence)).sum() / len(bins))


@dataclass(frozen=True)
class CalibrationBin:
    """The answers that were about equally sure.

    Attributes:
        low, high: bounds of their confidence.
        confidence: their mean confidence; what the accuracy should be.
        score: what it was.
    """

    low: float
    high: float
    confidence: float
    score: Score


# Nearly all answers of a good recognizer lie above 0.99, where bands of equal width see nothing.
BAND_EDGES = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)


def calibration_bins(
    confidence: NDArray[np.floating[Any]], is_correct: NDArray[np.bool_]
) -> list[CalibrationBin]:
    """Group answers by confidence, float [N], ten times finer towards certainty; least sure first.

    Bands are closed on the right; one without answers is left out.
    """
    places = np.searchsorted(BAND_EDGES[1:-1], confidence.astype(np.float64), side="left")
    found = []
    for index in np.unique(places):
        inside = places == index
        found.append(
            CalibrationBin(
                low=BAND_EDGES[index],
                high=BAND_EDGES[index + 1],
                confidence=float(confidence[inside].mean(dtype=np.float64)),
                score=Score(int(is_correct[inside].sum()), int(inside.sum())),
            )
        )
    return found


def risk_coverage(
    confidence: NDArray[np.floating[Any]], is_correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tell how accuracy grows if the least sure answers may be withheld.

    Returns:
        Coverage, the share that is answered, and the accuracy among those: float64 [N] each, from
        the single surest answer to all of them (El-Yaniv and Wiener 2010, "On the Foundations of
        Noise-free Selective Classification", JMLR 11:1605–1641).
    """
    order = np.argsort(-confidence.astype(np.float64), kind="stable")
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(is_correct[order]) / answered


@dataclass(frozen=True)
class McNemarResult:
    """Two sets of answers to the same images.

    Attributes:
        both, first, second, neither: how many images both, only one, or neither answered right.
        p: probability of a difference at least so large if the two were equally good.
    """

    both: int
    first: int
    second: int
    neither: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemarResult:
    """Ask whether two recognizers really differ, by the images that only one of them reads.

    The exact form of McNemar's test (McNemar 1947, "Note on the sampling error of the difference
    between correlated proportions or percentages", Psychometrika 12:153–157): if they were equally
    good, each such image would fall to either with probability one half.

    Args:
        first: bool [N], whether the one answered each image right.
        second: bool [N], whether the other did; the same images in the same order.

    Raises:
        DataError: the two differ in length, or are empty.
    """
    if first.shape != second.shape or not first.size:
        raise DataError(
            f"{first.size:,} and {second.size:,} answers are to be compared, "
            "expected answers to the same images, at least one"
        )
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import

    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    apart = only_first + only_second
    p = binomtest(only_first, apart).pvalue if apart else 1.0
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    return McNemarResult(both, only_first, only_second, neither, float(p))


@dataclass(frozen=True)
class Difference:
    """How much more accurate one thing is than another.

    Attributes:
        mean: of the differences of accuracy.
        low, high: 95 % interval.
    """

    mean: float
    low: float
    high: float


def difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    """Return how much more accurate the second is, with the luck of seeds and of images in it.

    Seeds and images are crossed: every seed judged the same images. The variance is that of the
    mean over images plus that of the mean over seeds, which is never too small (Owen 2007, "The
    pigeonhole bootstrap", Annals of Applied Statistics 1:386–411); the interval is Student's with
    one degree of freedom less than there are seeds.

    Args:
        first: bool [seeds, N], whether each seed of the one answered each image right.
        second: likewise of the other, on the same images.

    Raises:
        DataError: the two differ in shape, or are empty.
    """
    if first.shape != second.shape or first.ndim != 2 or not first.size:
        raise DataError(
            f"answers of {list(first.shape)} and {list(second.shape)} are to be compared, expected "
            "[seeds, images], the same for both"
        )
    from scipy.stats import t  # noqa: PLC0415 - slow to import

    apart = second.astype(np.float64) - first
    seeds, n = apart.shape
    variance = apart.mean(axis=0).var(ddof=1) / n if n > 1 else 0.0
    quantile = NormalDist().inv_cdf(UPPER_END)
    if seeds > 1:
        variance += apart.mean(axis=1).var(ddof=1) / seeds
        quantile = float(t.ppf(UPPER_END, seeds - 1))
    mean, half = float(apart.mean()), quantile * sqrt(variance)
    return Difference(mean, mean - half, mean + half)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust probabilities of many tests, so that below 0.05 a false one is rare among them all.

    Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6:65–70.
    """
    adjusted = [1.0] * len(ps)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted
