import json
from math import comb, log, sqrt

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, recall_score

from tenfold.errors import DataError
from tenfold.metrics import (
    Difference,
    Score,
    calibration_bins,
    difference,
    evaluate_probabilities,
    holm,
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


def test_wilson_interval_ends_where_the_score_test_stops_rejecting() -> None:
    for end in wilson_interval(27_868, 28_000):
        distance = abs(27_868 / 28_000 - end)
        assert distance == pytest.approx(1.959964 * sqrt(end * (1 - end) / 28_000), rel=1e-5)


def test_wilson_interval_stays_within_0_and_1() -> None:
    assert wilson_interval(0, 7)[0] == 0
    assert wilson_interval(7, 7)[1] == 1


@pytest.mark.parametrize(
    ("correct", "n", "says"),
    [
        (0, 0, "of 0 answers, expected at least one"),
        (6, 5, "6 of 5 answers are correct, expected from 0 to 5"),
        (-1, 5, "-1 of 5"),
    ],
)
def test_wilson_interval_says_what_is_wrong(correct: int, n: int, says: str) -> None:
    with pytest.raises(DataError, match=says):
        wilson_interval(correct, n)


def test_score_reads_as_a_sentence() -> None:
    assert str(Score(27_868, 28_000)) == ("0.9953 (27,868 of 28,000; 95 % interval 0.9944–0.9960)")


def test_score_survives_json() -> None:
    back = json.loads(json.dumps(Score(3, 4).to_json()))
    low, high = wilson_interval(3, 4)
    assert back == {"accuracy": 0.75, "correct": 3, "n": 4, "interval": [low, high]}


def test_score_counts_agreement() -> None:
    assert score(np.array([1, 2, 3]), np.array([1, 0, 3])) == Score(2, 3)


def test_score_refuses_unequal_lengths_and_nothing() -> None:
    with pytest.raises(DataError, match="2 answers stand against 3 true labels"):
        score(np.array([1, 2]), np.array([1, 2, 3]))
    with pytest.raises(DataError, match="at least one"):
        score(np.array([], dtype=np.int64), np.array([], dtype=np.int64))


def test_evaluation_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 10, 500)
    probabilities = rng.dirichlet(np.full(10, 0.3), 500)
    probabilities[np.arange(500), labels] += 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    answers = probabilities.argmax(axis=1)

    found = evaluate_probabilities(probabilities, labels, CLASSES)

    assert found.score.accuracy == accuracy_score(labels, answers)
    assert found.loss == pytest.approx(log_loss(labels, probabilities))
    np.testing.assert_array_equal(found.confusion, confusion_matrix(labels, answers))
    recalls = [found.per_class[name].accuracy for name in CLASSES]
    assert recalls == pytest.approx(recall_score(labels, answers, average=None))


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.95, 0.05], [0.35, 0.65]])
    labels = np.array([0, 0, 1, 1])
    # Three answers at 0.95, of which 2/3 are right; one at 0.65, right.
    expected = 3 / 4 * (0.95 - 2 / 3) + 1 / 4 * (1 - 0.65)
    assert evaluate_probabilities(probabilities, labels, "ab").calibration_error == pytest.approx(
        expected
    )


def test_certainty_is_off_by_its_share_of_mistakes() -> None:
    probabilities = np.array([[1.0, 0.0]] * 10)
    labels = np.array([0] * 9 + [1])
    assert evaluate_probabilities(probabilities, labels, "ab").calibration_error == pytest.approx(
        0.1
    )


def test_certain_and_wrong_costs_much_but_not_infinity() -> None:
    found = evaluate_probabilities(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1]), "ab")
    assert found.loss == pytest.approx(-log(1e-12))
    assert found.score == Score(0, 1)


def test_certain_and_right_costs_nothing() -> None:
    found = evaluate_probabilities(np.array([[1.0, 0.0]]), np.array([0]), "ab")
    assert (found.loss, found.calibration_error) == (0, 0)


def test_classes_without_images_have_no_score() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    found = evaluate_probabilities(probabilities, np.array([1, 0]), ("cat", "dog", "owl"))
    assert found.per_class == {"cat": Score(0, 1), "dog": Score(1, 1)}
    np.testing.assert_array_equal(found.confusion, [[0, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_half_precision_probabilities_are_taken() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(10), 200).astype(np.float16)
    found = evaluate_probabilities(probabilities, rng.integers(0, 10, 200), CLASSES)
    assert 0 < found.calibration_error < 1


def test_evaluation_survives_json() -> None:
    back = json.loads(
        json.dumps(evaluate_probabilities(np.eye(2), np.array([0, 1]), "ab").to_json())
    )
    assert back["accuracy"] == 1
    assert back["confusion"] == [[1, 0], [0, 1]]
    assert back["per_class"]["b"]["correct"] == 1
    assert {"n", "interval", "loss", "calibration_error"} <= back.keys()


@pytest.mark.parametrize(
    ("probabilities", "labels", "says"),
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
def test_evaluation_says_what_is_wrong(
    probabilities: np.ndarray, labels: list[int], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        evaluate_probabilities(probabilities, np.array(labels, dtype=np.int64), "ab")


def test_bands_hold_every_answer_once_and_grow_finer_towards_certainty() -> None:
    confidence = np.array([0.3, 0.5, 0.89, 0.95, 0.999, 0.99951, 1.0, 1.0])
    right = np.array([0, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
    found = calibration_bins(confidence, right)
    assert [(band.low, band.high, band.score.n) for band in found] == [
        (0.0, 0.5, 2), (0.5, 0.9, 1), (0.9, 0.99, 1), (0.99, 0.999, 1), (0.999, 0.9999, 1),
        (0.9999, 1.0, 2),
    ]  # fmt: skip
    assert found[0].confidence == pytest.approx(0.4)
    assert found[0].score == Score(1, 2)


def test_withholding_unsure_answers_buys_accuracy() -> None:
    coverage, accuracy = risk_coverage(
        np.array([0.6, 0.99, 0.8, 0.9]), np.array([False, True, True, False])
    )
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert accuracy.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])


def test_mcnemar_counts_the_images_that_only_one_reads() -> None:
    first = np.array([True] * 50 + [False] * 12 + [True] * 3 + [False] * 5)
    second = np.array([True] * 50 + [True] * 12 + [False] * 3 + [False] * 5)
    found = mcnemar(first, second)
    assert (found.both, found.first, found.second, found.neither) == (50, 3, 12, 5)
    # Twice the probability of at most 3 heads in 15 throws of a fair coin.
    assert found.p == pytest.approx(2 * sum(comb(15, k) for k in range(4)) / 2**15)
    assert mcnemar(first, first).p == 1.0


def test_mcnemar_wants_the_same_images() -> None:
    with pytest.raises(DataError, match="same images"):
        mcnemar(np.ones(3, dtype=bool), np.ones(4, dtype=bool))


class TestDifference:
    def test_of_answers_that_never_differ_is_nothing(self):
        right = np.random.default_rng(0).random((3, 500)) < 0.9
        assert difference(right, right) == Difference(0.0, 0.0, 0.0)

    def test_the_interval_keeps_its_promise_when_seeds_and_images_are_lucky(self):
        """Two equal recognizers: the interval should hold 0 in at least 95 of 100 cases."""
        rng = np.random.default_rng(1)
        held = 0
        for _ in range(400):
            hard = rng.normal(size=300)

            def right(hard=hard):
                seeds = 0.3 * rng.normal(size=(5, 1))
                return hard + seeds + rng.normal(size=(5, 300)) > -2

            found = difference(right(), right())
            held += found.low <= 0 <= found.high
        assert held >= 0.95 * 400

    def test_a_true_difference_is_found(self):
        rng = np.random.default_rng(2)
        worse, better = rng.random((5, 4000)) < 0.90, rng.random((5, 4000)) < 0.95
        found = difference(worse, better)
        assert 0 < found.low < 0.05 < found.high

    def test_shapes_must_agree(self):
        with pytest.raises(DataError, match="expected"):
            difference(np.ones((2, 3), bool), np.ones((3, 2), bool))


def test_holm_steps_down_from_the_smallest():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
