"""Decisions: when an answer is sure, when two digits are likely, when there is no digit at all.

A rule is fitted on images that were held out. It changes no prediction, and says how far to trust
one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tenfold.artifact import ArtifactSchema, Count
from tenfold.errors import DataError
from tenfold.metrics import risk_coverage

# Of the held-out images that are answered as sure, so many must be right.
SURE_ACCURACY: Final = 0.999
# Of the held-out images, all digits, so many must be taken for digits.
DIGIT_SHARE: Final = 0.995
# So many of the largest nonconformity scores are kept: with 3,000 images, coverage from 93% on.
MAX_SCORES: Final = 200


class Decision(StrEnum):
    """What to make of an image."""

    SURE = "sure"
    NOT_SURE = "not sure"
    NO_DIGIT = "no digit"
    NO_INK = "no ink"


@dataclass(frozen=True)
class DecisionRule:
    """Thresholds on the probabilities of one recognizer, and what they mean on held-out images.

    Attributes:
        sure_threshold: the smallest probability of a sure answer.
        digit_threshold: the smallest sum of the two largest probabilities of a digit. The sum is
            close to 1 where a digit is one of two, and low where the network knows nothing like it.
        n: held-out images that the rule was fitted on; 0 if it was not.
        coverage: the share of them that is sure.
        sure_accuracy: the accuracy on those.
        nonconformity: the largest 1 - probability of the label among them, largest first, for
            `prediction_sets`.
    """

    sure_threshold: float = 0.9
    digit_threshold: float = 0.7
    n: int = 0
    coverage: float = math.nan
    sure_accuracy: float = math.nan
    nonconformity: tuple[float, ...] = ()

    @classmethod
    def fit(cls, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> "DecisionRule":
        """Fit the rule on held-out images.

        The answers of highest confidence are sure as long as 99.9% of them are right (El-Yaniv and
        Wiener, JMLR 2010); 99.5% of the images are taken for digits.

        Args:
            probabilities: float32 [N, classes], N at least 1.
            labels: int64 [N].
        """
        confidence = probabilities.max(axis=1).astype(np.float64)
        is_correct = probabilities.argmax(axis=1) == labels
        coverage, accuracy = risk_coverage(confidence, is_correct)
        good = np.flatnonzero(accuracy >= SURE_ACCURACY)
        last = int(good[-1]) if len(good) else 0
        nonconformity = 1 - probabilities[np.arange(len(labels)), labels].astype(np.float64)
        return cls(
            sure_threshold=float(np.sort(confidence)[::-1][last]),
            digit_threshold=float(np.quantile(digit_score(probabilities), 1 - DIGIT_SHARE)),
            n=len(labels),
            coverage=float(coverage[last]),
            sure_accuracy=float(accuracy[last]),
            nonconformity=tuple(np.sort(nonconformity)[::-1][:MAX_SCORES].round(6).tolist()),
        )

    def decide(self, probabilities: NDArray[np.float32]) -> list[Decision]:
        """Return the decision for each row of float32 [N, classes]."""
        confidence, score = probabilities.max(axis=1), digit_score(probabilities)
        return [
            Decision.NO_DIGIT
            if digit < self.digit_threshold
            else (Decision.SURE if sure >= self.sure_threshold else Decision.NOT_SURE)
            for sure, digit in zip(confidence.tolist(), score.tolist(), strict=True)
        ]

    def prediction_sets(
        self, probabilities: NDArray[np.float32], coverage: float
    ) -> NDArray[np.bool_]:
        """Return the conformal prediction set of each image: bool [N, classes].

        Of images like the held-out ones, at least the share `coverage` has its label in the set:
        all classes of at least a certain probability (LAC: M. Sadinle, J. Lei and L. Wasserman,
        'Least ambiguous set-valued classifiers with bounded error levels', JASA 2019). Images of
        another kind, such as photos, have no such guarantee. A set is never empty: it holds the
        prediction.

        Args:
            probabilities: float32 [N, classes].
            coverage: from 0 to 1, both excluded.

        Raises:
            DataError: the rule was not fitted, or on too few images for so high a coverage.
        """
        rank = math.ceil((self.n + 1) * coverage)  # of the score in rising order, from 1
        if not 0 < coverage < 1 or rank > self.n:
            raise DataError(
                f"a coverage of {coverage:g} cannot be had from {self.n:,} held-out images, "
                f"expected more than 0 and at most {self.n / (self.n + 1):.5f}"
            )
        kept = min(self.n - rank, len(self.nonconformity) - 1)  # a larger score covers more
        sets: NDArray[np.bool_] = probabilities >= 1 - self.nonconformity[kept] - 1e-6
        sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
        return sets

    def __str__(self) -> str:
        if not self.n:
            return "sure from a probability of 90% (not calibrated: no images were held out)"
        return (
            f"sure from a probability of {self.sure_threshold:.3f}: {self.coverage:.1%} of "
            f"{self.n:,} held-out digits, {self.sure_accuracy:.2%} of them right"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return asdict(self) | {"nonconformity": list(self.nonconformity)} if self.n else {}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DecisionRule":
        """Read what `to_json` returned."""
        scores: Sequence[float] = values.get("nonconformity", ())
        return cls(**{**values, "nonconformity": tuple(scores)})


@dataclass(frozen=True)
class DecisionCounts:
    """How often each decision is made on labelled images, and how often it is right.

    Attributes:
        sure: images answered as sure, and how many of these answers are right.
        not_sure: likewise.
        no_digit: images taken for no digit.
    """

    sure: tuple[int, int]
    not_sure: tuple[int, int]
    no_digit: int

    @classmethod
    def count(
        cls, rule: DecisionRule, probabilities: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> "DecisionCounts":
        """Count the decisions of `rule` on float32 [N, classes] with labels int64 [N]."""
        decisions = np.array(rule.decide(probabilities), dtype=object)
        is_correct = probabilities.argmax(axis=1) == labels

        def count(decision: Decision) -> tuple[int, int]:
            chosen = decisions == decision
            return int(chosen.sum()), int(is_correct[chosen].sum())

        return cls(count(Decision.SURE), count(Decision.NOT_SURE), count(Decision.NO_DIGIT)[0])

    def __str__(self) -> str:
        n = self.sure[0] + self.not_sure[0] + self.no_digit
        sure, right = self.sure
        accuracy = f", {right / sure:.2%} of them right" if sure else ""
        return (
            f"sure of {sure:,} of {n:,} ({sure / n:.1%}){accuracy}; not sure of "
            f"{self.not_sure[0]:,}; no digit: {self.no_digit:,}"
        )


Share = Annotated[float, Field(ge=-1e-3, le=1.001)]  # of float32 numbers that were added up


class DecisionRuleFile(ArtifactSchema, extra="forbid"):
    """A decision rule as it is saved: empty where it was not fitted."""

    sure_threshold: Share | None = None
    digit_threshold: Share | None = None
    n: Count = 0
    coverage: Share | None = None
    sure_accuracy: Share | None = None
    nonconformity: list[Share] | None = None

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        values = self.model_dump()
        if self.model_fields_set and (
            None in values.values() or not self.nonconformity or not self.n
        ):
            raise ValueError("either every field of a rule, fitted on at least one image, or none")
        return self


def digit_score(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of the two largest probabilities of each row: float32 [N]."""
    largest: NDArray[np.float32] = np.sort(probabilities, axis=1)[:, -2:].sum(axis=1)
    return largest
