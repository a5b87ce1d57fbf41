"""Metrics against published numbers, scikit-learn, scipy, and arithmetic by hand."""

import json
from math import comb, log, sqrt

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from tenfold.errors import DataError
from tenfold.metrics import (
    AccuracyDifference,
    Score,
    accuracy_difference,
    calibration_bins,
    evaluate_probabilities,
    holm,
    log_loss,
    mcnemar,
    risk_coverage,
    score,
    wilson_interval,
)

CLASSES = tuple("0123456789")


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_agrees_with_published_numbers(
    correct: int, n: int, low: float, high: float
) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [1, 7, 2_100, 28_000])
def test_wilson_interval_agrees_with_scipy(n: int) -> None:
    for correct in {0, 1, n // 3, n - 1, n}:
        expected = binomtest(correct, n).proportion_ci(method="wilson")
        assert wilson_interval(correct, n) == pytest.approx(tuple(expected), abs=1e-12)


def test_wilson_interval_ends_where_the_score_test_stops_rejecting() -> None:
    for end in wilson_interval(27_868, 28_000):
        distance = abs(27_868 / 28_000 - end)
        assert distance == pytest.approx(1.959964 * sqrt(end * (1 - end) / 28_000), rel=1e-5)


def test_wilson_interval_stays_within_0_and_1() -> None:
    assert wilson_interval(0, 7)[0] == 0
    assert wilson_interval(7, 7)[1] == 1


@pytest.mark.parametrize(
    ("correct", "n", "message"),
    [
        (0, 0, "of 0 predictions is undefined, expected at least one"),
        (6, 5, "6 of 5 predictions are correct, expected from 0 to 5"),
        (-1, 5, "-1 of 5"),
    ],
)
def test_impossible_counts_have_an_error_message(correct: int, n: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wilson_interval(correct, n)
    with pytest.raises(DataError, match=message):
        Score(correct, n)


def test_score_is_printed_with_counts_and_interval() -> None:
    assert str(Score(27_868, 28_000)) == "0.9953 (27,868 of 28,000; 95% interval 0.9944–0.9960)"


def test_score_survives_json() -> None:
    back = json.loads(json.dumps(Score(3, 4).to_json()))
    low, high = wilson_interval(3, 4)
    assert back == {"accuracy": 0.75, "correct": 3, "n": 4, "interval": [low, high]}


def test_score_counts_agreement() -> None:
    assert score(np.array([1, 2, 3]), np.array([1, 0, 3])) == Score(2, 3)
    assert score(np.array([1, 2], np.uint8), np.array([1, 2])) == Score(2, 2)
    names = np.array(["cat", "dog"])
    assert score(names, np.array(["cat", "a longer name"])) == Score(1, 2)
    assert score(names.astype(object), names) == Score(2, 2)


def test_score_refuses_numbers_against_text() -> None:
    indices, names = np.array([1, 2]), np.array(["1", "2"])
    with pytest.raises(DataError, match="predictions are numbers and true labels are text, expect"):
        score(indices, names)
    with pytest.raises(DataError, match="predictions are text and true labels are numbers, expect"):
        score(names.astype(object), indices)


def test_score_refuses_unequal_lengths_and_nothing() -> None:
    with pytest.raises(DataError, match="2 predictions and 3 true labels, expected as many"):
        score(np.array([1, 2]), np.array([1, 2, 3]))
    with pytest.raises(DataError, match="at least one"):
        score(np.array([], dtype=np.int64), np.array([], dtype=np.int64))


def test_evaluation_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 10, 500)
    probabilities = rng.dirichlet(np.full(10, 0.3), 500)
    probabilities[np.arange(500), labels] += 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)

    found = evaluate_probabilities(probabilities, labels, CLASSES)

    assert found.score.accuracy == sklearn_metrics.accuracy_score(labels, predicted)
    assert found.loss == pytest.approx(sklearn_metrics.log_loss(labels, probabilities))
    np.testing.assert_array_equal(
        found.confusion, sklearn_metrics.confusion_matrix(labels, predicted)
    )
    recalls = [found.per_class[name].accuracy for name in CLASSES]
    expected = sklearn_metrics.recall_score(labels, predicted, average=None)
    assert recalls == pytest.approx(expected)


def test_log_loss_keeps_the_precision_of_its_input() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.full(10, 0.3), 5000)
    labels = rng.integers(0, 10, 5000)
    singles = probabilities.astype(np.float32)
    of_label = np.maximum(singles[np.arange(5000), labels], np.finfo(np.float32).tiny)
    assert log_loss(singles, labels) == float(-np.log(of_label).mean())
    of_label = probabilities[np.arange(5000), labels]
    assert log_loss(probabilities, labels) == float(-np.log(of_label).mean())
    halves = np.array([[0.0, 1.0]], np.float16)
    assert log_loss(halves, np.array([0])) == pytest.approx(126 * log(2))


def test_the_loss_of_an_evaluation_is_log_loss() -> None:
    rng = np.random.default_rng(4)
    probabilities = rng.dirichlet(np.full(10, 0.1), 300).astype(np.float32)
    labels = rng.integers(0, 10, 300)
    found = evaluate_probabilities(probabilities, labels, CLASSES)
    assert found.loss == log_loss(probabilities, labels)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.95, 0.05], [0.35, 0.65]])
    labels = np.array([0, 0, 1, 1])
    # Three predictions at 0.95, of which 2/3 are correct; one at 0.65, correct.
    expected = 3 / 4 * (0.95 - 2 / 3) + 1 / 4 * (1 - 0.65)
    assert evaluate_probabilities(probabilities, labels, "ab").calibration_error == pytest.approx(
        expected
    )


def test_calibration_error_of_certainty_is_the_error_rate() -> None:
    probabilities = np.array([[1.0, 0.0]] * 10)
    labels = np.array([0] * 9 + [1])
    assert evaluate_probabilities(probabilities, labels, "ab").calibration_error == pytest.approx(
        0.1
    )


def test_certain_and_wrong_has_a_large_finite_loss() -> None:
    found = evaluate_probabilities(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1]), "ab")
    assert found.loss == pytest.approx(126 * log(2))  # the smallest normal float32 is 2 ** -126
    assert found.score == Score(0, 1)


def test_certain_and_correct_has_no_loss() -> None:
    found = evaluate_probabilities(np.array([[1.0, 0.0]]), np.array([0]), "ab")
    assert f"{found.loss:.4f}, {found.calibration_error}" == "0.0000, 0.0"


def test_classes_without_images_have_no_score() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    found = evaluate_probabilities(probabilities, np.array([1, 0]), ("cat", "dog", "owl"))
    assert found.per_class == {"cat": Score(0, 1), "dog": Score(1, 1)}
    np.testing.assert_array_equal(found.confusion, [[0, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_half_precision_probabilities_are_accepted() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(10), 200).astype(np.float16)
    labels = rng.integers(0, 10, 200)
    found = evaluate_probabilities(probabilities, labels, CLASSES)
    exact = evaluate_probabilities(probabilities.astype(np.float64), labels, CLASSES)
    assert found.score == exact.score
    assert found.loss == pytest.approx(exact.loss, rel=1e-6)
    assert found.calibration_error == pytest.approx(exact.calibration_error, abs=1e-3)


def test_evaluation_survives_json() -> None:
    back = json.loads(
        json.dumps(evaluate_probabilities(np.eye(2), np.array([0, 1]), "ab").to_json())
    )
    assert back["accuracy"] == 1
    assert back["confusion"] == [[1, 0], [0, 1]]
    assert back["per_class"]["b"]["correct"] == 1
    assert {"n", "interval", "loss", "calibration_error"} <= back.keys()


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.eye(3), [0, 1, 1], r"\[3, 3\] for 3 labels, expected \[N, 2\]"),
        (np.eye(2), [0], "for 1 labels"),
        (np.zeros((0, 2)), [], "N at least 1"),
        (np.array([[1.0, 0.0], [3.0, -2.0]]), [0, 1], "row 1 sums to 1 with minimum -2"),
        (np.array([[np.nan, 0.0]]), [0], "row 0 sums to nan"),
        (np.array([[0.5, 0.1]]), [0], "row 0 sums to 0.6"),
        (np.eye(2), [0, 2], "labels run from 0 to 2, expected indices of the 2 classes"),
    ],
)
def test_malformed_input_of_an_evaluation_has_an_error_message(
    probabilities: np.ndarray, labels: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_probabilities(probabilities, np.array(labels, dtype=np.int64), "ab")


def test_calibration_bins_hold_every_prediction_once() -> None:
    confidence = np.array([0.3, 0.5, 0.89, 0.95, 0.999, 0.99951, 1.0, 1.0])
    is_correct = np.array([0, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
    found = calibration_bins(confidence, is_correct)
    np.testing.assert_allclose(
        [(each.low, each.high, each.score.n) for each in found],
        [(0.2, 0.3, 1), (0.4, 0.5, 1), (0.8, 0.9, 1), (0.9, 1.0, 5)],
    )
    assert found[-1].confidence == pytest.approx((0.95 + 0.999 + 0.99951 + 2) / 5)
    assert found[-1].score == Score(4, 5)


def test_rejecting_low_confidence_raises_accuracy() -> None:
    coverage, accuracy = risk_coverage(
        np.array([0.6, 0.99, 0.8, 0.9]), np.array([False, True, True, False])
    )
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert accuracy.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])


def test_mcnemar_counts_the_images_that_only_one_gets_right() -> None:
    first = np.array([True] * 50 + [False] * 12 + [True] * 3 + [False] * 5)
    second = np.array([True] * 50 + [True] * 12 + [False] * 3 + [False] * 5)
    found = mcnemar(first, second)
    assert (found.both, found.first, found.second, found.neither) == (50, 3, 12, 5)
    # Twice the probability of at most 3 heads in 15 throws of a fair coin.
    assert found.p == pytest.approx(2 * sum(comb(15, k) for k in range(4)) / 2**15)
    assert mcnemar(first, first).p == 1.0


def test_mcnemar_needs_the_same_images() -> None:
    with pytest.raises(DataError, match="3 and 4 predictions cannot be compared"):
        mcnemar(np.ones(3, dtype=bool), np.ones(4, dtype=bool))
    with pytest.raises(DataError, match="same images, at least one"):
        mcnemar(np.ones(0, dtype=bool), np.ones(0, dtype=bool))


class TestAccuracyDifference:
    def test_is_zero_for_equal_predictions(self):
        is_correct = np.random.default_rng(0).random((3, 500)) < 0.9
        expected = AccuracyDifference(0.0, 0.0, 0.0)
        assert accuracy_difference(is_correct, is_correct) == expected

    def test_interval_has_its_coverage_when_both_seeds_and_images_vary(self):
        """Two equal recognizers: the interval should hold 0 in at least 95 of 100 cases."""
        rng = np.random.default_rng(1)
        held = 0
        for _ in range(400):
            easiness = rng.normal(size=300)

            def is_correct(easiness=easiness):
                seeds = 0.3 * rng.normal(size=(5, 1))
                return easiness + seeds + rng.normal(size=(5, 300)) > -2

            found = accuracy_difference(is_correct(), is_correct())
            held += found.low <= 0 <= found.high
        assert held >= 0.95 * 400

    def test_a_true_difference_is_found(self):
        rng = np.random.default_rng(2)
        worse, better = rng.random((5, 4000)) < 0.90, rng.random((5, 4000)) < 0.95
        found = accuracy_difference(worse, better)
        assert 0 < found.low < 0.05 < found.high

    def test_different_shapes_have_an_error_message(self):
        with pytest.raises(DataError, match=r"shape \[2, 3\] and \[3, 2\] cannot be compared"):
            accuracy_difference(np.ones((2, 3), bool), np.ones((3, 2), bool))


def test_holm_steps_down_from_the_smallest():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
