import numpy as np
import pytest

from tenfold.recognizer import apply_temperature
from tenfold.training.train import fit_temperature


def honest(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that are drawn by them."""
    probabilities = rng.dirichlet(np.full(10, 0.2), n).astype(np.float32)
    labels = np.array([rng.choice(10, p=row / row.sum()) for row in probabilities.astype(float)])
    return probabilities, labels


@pytest.mark.parametrize("wrong_by", [0.5, 1.0, 2.5])
def test_it_undoes_a_known_temperature(wrong_by):
    probabilities, labels = honest(np.random.default_rng(0), 4000)
    distorted = apply_temperature(probabilities, 1 / wrong_by)
    assert fit_temperature(distorted, labels) == pytest.approx(wrong_by, rel=0.05)


def test_no_mistake_makes_nothing_surer():
    sure = apply_temperature(np.eye(10, dtype=np.float32)[np.arange(500) % 10], 3.0) * 0.9 + 0.01
    labels = np.arange(500) % 10
    assert fit_temperature(sure, labels) == 1.0
    labels[:5] = 9 - labels[:5]
    assert fit_temperature(sure, labels) != 1.0


def test_a_handful_of_images_changes_nothing():
    probabilities, labels = honest(np.random.default_rng(1), 99)
    assert fit_temperature(probabilities, labels) == 1.0
