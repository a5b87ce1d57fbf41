"""Decisions on probabilities, against what they promise on held-out images."""

import json

import numpy as np
import pytest

from tenfold.decision import Decision, DecisionCounts, DecisionRule, digit_score
from tenfold.errors import DataError


def draw(n, seed):
    """Labels, and calibrated probabilities: a label is drawn from those of its image."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, (n, 10))
    logits[np.arange(n), random.integers(0, 10, n)] += random.uniform(3, 16, n)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    below = probabilities.cumsum(axis=1) < random.random((n, 1))
    return probabilities.astype(np.float32), below.sum(axis=1).clip(0, 9).astype(np.int64)


@pytest.fixture(scope="module")
def rule():
    return DecisionRule.fit(*draw(20_000, 0))


def test_sure_answers_are_as_accurate_as_promised(rule):
    probabilities, labels = draw(50_000, 1)
    decisions = np.array(rule.decide(probabilities))
    sure = decisions == Decision.SURE
    accuracy = (probabilities.argmax(axis=1) == labels)[sure].mean()
    assert accuracy == pytest.approx(0.999, abs=6e-4)
    assert accuracy > (probabilities.argmax(axis=1) == labels).mean() + 0.01
    assert sure.mean() == pytest.approx(rule.coverage, abs=0.02)
    assert (decisions == Decision.NO_DIGIT).mean() == pytest.approx(0.005, abs=0.003)


@pytest.mark.parametrize("coverage", [0.9, 0.99, 0.999])
def test_prediction_sets_hold_the_label_as_often_as_asked(rule, coverage):
    probabilities, labels = draw(50_000, 2)
    sets = rule.prediction_sets(probabilities, coverage)
    covered = sets[np.arange(len(labels)), labels].mean()
    assert covered >= coverage - 0.003
    if coverage == 0.99:  # neither does it give everything to be safe
        assert covered <= 0.993
        assert 1 < sets.sum(axis=1).mean() < 3  # of ten
    assert sets[np.arange(len(labels)), probabilities.argmax(axis=1)].all()


def test_higher_coverage_gives_larger_sets(rule):
    probabilities, _ = draw(1000, 3)
    small, large = (rule.prediction_sets(probabilities, each) for each in (0.992, 0.999))
    assert (small <= large).all()
    assert small.sum() < large.sum()


def test_a_digit_that_is_one_of_two_is_not_sure_and_a_flat_answer_is_no_digit():
    rows = np.zeros((3, 10), np.float32)
    rows[0, 3], rows[1, [4, 9]], rows[2] = 1, 0.5, 0.1
    assert DecisionRule().decide(rows) == [Decision.SURE, Decision.NOT_SURE, Decision.NO_DIGIT]
    np.testing.assert_allclose(digit_score(rows), [1, 1, 0.2])


def test_it_is_kept_as_json(rule):
    assert DecisionRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    assert str(DecisionRule.from_json(json.loads(json.dumps(DecisionRule().to_json())))) == str(
        DecisionRule()
    )


@pytest.mark.parametrize("coverage", [0.0, 1.0, 0.99999])
def test_a_coverage_that_cannot_be_had_is_refused(rule, coverage):
    with pytest.raises(DataError, match=r"expected more than 0 and at most 0\.99995"):
        rule.prediction_sets(np.full((1, 10), 0.1, np.float32), coverage)


def test_decisions_are_counted():
    rows = np.zeros((4, 10), np.float32)
    rows[:2, 3], rows[2, [4, 9]], rows[3] = 1, 0.5, 0.1
    found = DecisionCounts.count(DecisionRule(), rows, np.array([3, 8, 4, 0]))
    assert found == DecisionCounts((2, 1), (1, 1), 1)
    assert str(found) == (
        "sure of 2 of 4 (50.0%), 50.00% of them right; not sure of 1; no digit: 1"
    )


def test_one_image_is_enough_to_fit():
    rule = DecisionRule.fit(np.array([[0.2, 0.8]], np.float32), np.array([1]))
    assert (rule.coverage, rule.sure_accuracy, rule.n) == (1, 1, 1)
