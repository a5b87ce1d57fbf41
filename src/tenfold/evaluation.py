"""Evaluate a recognizer on labelled images, and say what makes the score mean something else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.classifier import Classifier, OnProgress, PreparedClassifier, no_progress
from tenfold.data.checks import polarity_problem
from tenfold.data.dataset import Dataset
from tenfold.data.fingerprints import Fingerprints
from tenfold.decision import DecisionCounts
from tenfold.metrics import Evaluation, Score, evaluate_probabilities, score

SAMPLE_IMAGES = 256
SUSPICIOUS_ACCURACY = 0.9  # below it the images are looked at the other ways round
_MIN_GAIN = 0.2

Turn = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
# The eight symmetries of a square but for the one that leaves it as it is.
SYMMETRIES: dict[str, Turn] = {
    "transposed": lambda images: images.transpose(0, 2, 1),
    "mirrored left to right": lambda images: images[:, :, ::-1],
    "mirrored top to bottom": lambda images: images[:, ::-1],
    "turned by 180°": lambda images: images[:, ::-1, ::-1],
    "turned by 90° to the left": lambda images: np.rot90(images, 1, (1, 2)),
    "turned by 90° to the right": lambda images: np.rot90(images, -1, (1, 2)),
    "transposed and turned by 180°": lambda images: images.transpose(0, 2, 1)[:, ::-1, ::-1],
}


@dataclass(frozen=True)
class LabelledEvaluation:
    """What a recognizer makes of labelled images.

    Attributes:
        evaluation: of all images.
        decisions: on all images: how many answers are sure, and how many of these are right.
        n_trained: how many of them it was trained on; None if that is not known.
        n_validated: how many were held out while it was trained, by which it was chosen.
        others: the score on those that it has not seen; None without any.
        warnings: what makes the score mean something else, a sentence each.
    """

    evaluation: Evaluation
    decisions: DecisionCounts
    n_trained: int | None
    n_validated: int | None
    others: Score | None
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return self.evaluation.to_json() | {
            "decisions": vars(self.decisions),
            "trained_on": self.n_trained,
            "validated_on": self.n_validated,
            "others": None if self.others is None else self.others.to_json(),
            "warnings": list(self.warnings),
        }


def evaluate_labelled(
    recognizer: Classifier,
    dataset: Dataset,
    seen: Fingerprints | None = None,
    *,
    on_progress: OnProgress = no_progress,
) -> LabelledEvaluation:
    """Evaluate a recognizer on `dataset`, whose labels are indices into its classes.

    Args:
        recognizer: what predicts.
        dataset: labelled images.
        seen: the images that it was trained and validated on; None if they are not known.
        on_progress: is called with the images done and all images.

    Raises:
        DataError: the images are not of the size that it was trained on, or have no labels.
    """
    predictor, labels = recognizer.predictor(), dataset.require_labels()
    probabilities = predictor.predict_proba(dataset, on_progress=on_progress)
    found = evaluate_probabilities(probabilities, labels, recognizer.classes)
    warnings = [polarity_problem(dataset, bright_ink=recognizer.bright_ink)]
    if warnings[0] is None and found.score.accuracy < SUSPICIOUS_ACCURACY:
        warnings.append(_symmetry_problem(predictor, dataset))
    n_trained = n_validated = others = None
    if seen is not None:
        trained, validated = seen.find(dataset.images)
        n_trained, n_validated = int(trained.sum()), int(validated.sum())
        unseen = ~(trained | validated)
        if unseen.any():
            others = score(probabilities[unseen].argmax(axis=1), labels[unseen])
    said = tuple(warning for warning in warnings if warning is not None)
    decisions = DecisionCounts.count(recognizer.decision_rule, probabilities, labels)
    return LabelledEvaluation(found, decisions, n_trained, n_validated, others, said)


def _symmetry_problem(predictor: PreparedClassifier, dataset: Dataset) -> str | None:
    """Return the sentence for images that are recognized better another way round."""
    rows = np.linspace(0, len(dataset) - 1, min(SAMPLE_IMAGES, len(dataset))).astype(int)
    images, labels = dataset.images[rows], dataset.require_labels()[rows]

    def accuracy(turn: Turn) -> float:
        turned = np.ascontiguousarray(turn(images))
        return float((predictor.predict_proba(turned).argmax(axis=1) == labels).mean())

    as_it_is = accuracy(lambda each: each)
    best, name = max((accuracy(turn), name) for name, turn in SYMMETRIES.items())
    if best < as_it_is + _MIN_GAIN:
        return None
    hint = "--transpose transposes them" if name == "transposed" else "expected upright images"
    return (
        f"{dataset.name}: of {len(rows)} images {best:.0%} are recognized when {name}, and "
        f"{as_it_is:.0%} as they are: {hint}"
    )
