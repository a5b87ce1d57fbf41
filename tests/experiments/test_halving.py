"""Successive halving of made-up trials: which are promoted, and what each rung costs."""

import pytest

from tenfold.experiments import halving
from tenfold.experiments.halving import (
    Eta,
    RungResult,
    TimeBudget,
    Trial,
    make_rungs,
    promoted,
    successive_halving,
)
from tenfold.recipe import Recipe


def make_trials(count):
    return [Trial(number, {}, Recipe.load("quick")) for number in range(count)]


def train_to(accuracies):
    """Return a `train` that gives each trial its accuracy on every rung; None fails it."""

    def train(rung, _index, trials):
        for trial in trials:
            accuracy = accuracies[trial.number]
            if accuracy is None:
                trial.state = "failed"
            else:
                correct = round(1000 * accuracy)
                result = RungResult(rung.budget_fraction, correct, 1000, 1 - accuracy, 1.0)
                trial.results.append(result)

    return train


def test_there_are_three_rungs_each_of_three_times_the_budget_and_fewer_for_few_trials():
    def budgets(trials):
        return [rung.budget_fraction for rung in make_rungs(trials)]

    assert budgets(30) == [1 / 9, 1 / 3, 1]
    assert budgets(9) == [1 / 9, 1 / 3, 1]
    assert budgets(8) == [1 / 3, 1]
    assert budgets(2) == [1]
    assert [rung.is_last for rung in make_rungs(30)] == [False, False, True]
    assert [rung.step for rung in make_rungs(30)] == [1, 3, 9]


def test_a_scaled_recipe_costs_the_budget_of_its_rung_for_any_number_of_epochs():
    for epochs in (1, 2, 3, 6, 10, 24, 100):
        recipe = Recipe.load("quick").with_overrides({"training": {"max_epochs": epochs}})
        for rung in make_rungs(30):
            scaled, fraction = rung.scale_recipe(recipe)
            cost = scaled.training.max_epochs * fraction / epochs
            assert fraction <= 1
            assert abs(cost - rung.budget_fraction) < 1e-9 or (
                fraction == 1 and cost <= rung.budget_fraction + 1e-9
            )


def test_the_best_third_is_promoted_and_every_trial_ends_once():
    trials, ended = make_trials(9), []
    train = train_to([n / 10 for n in range(9)])
    successive_halving(trials, make_rungs(9), train, ended.append)
    assert [len(trial.results) for trial in trials] == [1, 1, 1, 1, 1, 1, 2, 2, 3]
    assert [trial.state for trial in trials] == ["pruned"] * 8 + ["complete"]
    assert sorted(trial.number for trial in ended) == list(range(9))
    assert min(trials, key=Trial.sort_key).number == 8


def test_failed_trials_are_not_promoted_and_take_no_place():
    trials, ended = make_trials(9), []
    train = train_to([None, None, None, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    successive_halving(trials, make_rungs(9), train, ended.append)
    assert [trial.state for trial in trials[:3]] == ["failed"] * 3
    assert sum(len(trial.results) > 1 for trial in trials) == 2
    assert len(ended) == 9


def test_ties_are_broken_by_loss_then_by_number():
    trials = make_trials(3)
    for trial, loss in zip(trials, (0.2, 0.1, 0.1), strict=True):
        trial.results.append(RungResult(1.0, 9, 10, loss, 1.0))
    assert [trial.number for trial in sorted(trials, key=Trial.sort_key)] == [1, 2, 0]
    assert [trial.number for trial in promoted(trials)] == [1]


def test_it_ends_when_all_trials_fail():
    trials = make_trials(9)
    successive_halving(trials, make_rungs(9), train_to([None] * 9), lambda _trial: None)
    assert {trial.state for trial in trials} == {"failed"}


def test_full_trainings_of_brackets_of_different_sizes_are_ranked_by_accuracy():
    """A trial that had a third and then the full budget is not behind one that had a ninth."""
    large, small = make_trials(9), make_trials(3)
    for number, trial in enumerate(small):
        trial.number = 9 + number
    successive_halving(
        large, make_rungs(9), train_to([n / 10 for n in range(9)]), lambda _trial: None
    )
    successive_halving(
        small, make_rungs(3), train_to([0] * 9 + [0.1, 0.2, 0.9]), lambda _trial: None
    )
    assert [len(trial.results) for trial in small] == [1, 1, 2]
    assert [rung.step for rung in make_rungs(3)] == [3, 9]
    assert min([*large, *small], key=Trial.sort_key).number == 11


def test_the_results_of_folds_are_pooled():
    folds = [
        {"correct": 90, "n": 100, "loss": 0.4, "train_s": 2.0},
        {"correct": 40, "n": 50, "loss": 0.1, "train_s": 3.0},
    ]
    pooled = RungResult.from_folds(folds, 1 / 3)
    assert (pooled.correct, pooled.n, pooled.train_s) == (130, 150, 5.0)
    assert pooled.loss == pytest.approx(0.3)
    assert pooled.accuracy == 130 / 150


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(halving, "time", clock)
    return clock


def test_rungs_share_a_time_budget_and_each_may_start_one_job(clock):
    budget = TimeBudget(30, 3)
    first = budget.next_rung()
    clock.now = 9
    assert [first(), first()] == [True, True]
    clock.now = 11
    assert not first()
    second = budget.next_rung()
    clock.now = 25
    assert [second(), second()] == [True, False]


def test_the_time_left_follows_from_the_speed_so_far(clock):
    eta = Eta([9], folds=1)  # 9 × 1/9 + 3 × 1/3 + 1 = 3 full trainings
    assert eta.format() == "no trial has finished yet"
    clock.now = 60
    eta.add_done(1 / 3)
    eta.add_skipped(2 / 3)
    assert eta.format() == "6:00 left"
