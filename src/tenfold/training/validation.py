"""What the images held out say of an epoch, and which epoch is kept."""

from collections.abc import Sequence

import numpy as np

from tenfold.data.dataset import Dataset
from tenfold.machine import Machine
from tenfold.recognizer import Recognizer
from tenfold.training.progress import Epoch


def validate(
    recognizer: Recognizer, valid: Dataset | None, machine: Machine
) -> tuple[float | None, float | None]:
    """Return mean negative log-likelihood and accuracy on `valid`, by the road of prediction."""
    if valid is None:
        return None, None
    probabilities = recognizer.probabilities(valid, machine)
    labels = valid.known_labels()
    of_truth = probabilities[np.arange(len(labels)), labels]
    loss = -np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()
    return float(loss), float((probabilities.argmax(axis=1) == labels).mean())


def kept_epoch(history: Sequence[Epoch], keep: str) -> int:
    """Return which epoch the recognizer comes from, counted from 1.

    The best is by validation accuracy, among equals by validation loss.
    """
    if keep == "last":
        return history[-1].epoch
    return max(history, key=lambda row: (row.valid_accuracy or 0, -(row.valid_loss or 0))).epoch
