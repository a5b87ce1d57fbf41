"""Successive halving: every trial starts on a small budget, the best third gets three times more.

Jamieson and Talwalkar, 'Non-stochastic best arm identification and hyperparameter optimization',
AISTATS 2016, with the reduction factor 3 of Hyperband. Each rung waits for all of its trials, so
which trials are promoted depends neither on the order in which processes finish nor on a kill, and
equal seeds give equal searches.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tenfold.formatting import format_duration
from tenfold.recipe import Recipe

REDUCTION_FACTOR: Final = 3
MAX_RUNGS: Final = 3
MIN_BUDGET_FRACTION: Final = float(REDUCTION_FACTOR) ** (1 - MAX_RUNGS)

TrialState = Literal["waiting", "running", "pruned", "complete", "failed", "skipped", "out of time"]


@dataclass(frozen=True)
class Rung:
    """How much of a full training a trial gets.

    Attributes:
        budget_fraction: of the cost of a full training, epochs × images.
    """

    budget_fraction: float

    @property
    def is_last(self) -> bool:
        """Whether it is a full training."""
        return self.budget_fraction == 1

    @property
    def step(self) -> int:
        """The budget as a whole number, for Optuna: 1, 3, and 9 for a full training."""
        return round(self.budget_fraction / MIN_BUDGET_FRACTION)

    def scale_recipe(self, recipe: Recipe) -> tuple[Recipe, float]:
        """Return the recipe with fewer epochs, and the fraction of the images to train on.

        Both shrink by the same factor, as far as whole epochs allow; the learning rate schedule
        adapts to the number of epochs.
        """
        if self.is_last:
            return recipe, 1.0
        max_epochs = recipe.training.max_epochs
        epochs = max(1, round(max_epochs * self.budget_fraction**0.5))
        subset_fraction = min(1.0, self.budget_fraction * max_epochs / epochs)
        return recipe.with_overrides({"training": {"max_epochs": epochs}}), subset_fraction


def make_rungs(trials: int) -> list[Rung]:
    """Return the rungs for a number of trials: three, or fewer for fewer than nine trials."""
    count = 1
    while count < MAX_RUNGS and trials >= REDUCTION_FACTOR**count:
        count += 1
    return [Rung(float(REDUCTION_FACTOR) ** -left) for left in reversed(range(count))]


@dataclass(frozen=True)
class RungResult:
    """The result of one trial on one rung, over all folds; `budget_fraction` is the rung's.

    Attributes:
        correct, n: correct predictions, of how many images.
        loss: mean negative log-likelihood, in nats.
        train_s: seconds of training, summed over the folds.
    """

    budget_fraction: float
    correct: int
    n: int
    loss: float
    train_s: float

    @classmethod
    def from_folds(
        cls, results: Sequence[Mapping[str, Any]], budget_fraction: float
    ) -> "RungResult":
        """Pool the results that `train_and_evaluate_trial` returned for each fold."""
        n = sum(result["n"] for result in results)
        return cls(
            budget_fraction=budget_fraction,
            correct=sum(result["correct"] for result in results),
            n=n,
            loss=sum(result["loss"] * result["n"] for result in results) / n,
            train_s=sum(result["train_s"] for result in results),
        )

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions."""
        return self.correct / self.n


@dataclass
class Trial:
    """One trial: its parameters and its results.

    Attributes:
        number: in the study, counted from 0; where machines share a study, the table may skip
            numbers.
        params: as Optuna has them, by parameter name.
        recipe: None if the parameters are invalid together.
        results: one for each rung that it finished, from the first.
        state: "waiting", "running", "pruned", "complete" or "failed"; with a time budget also
            "skipped", if there was no time for its first rung, or "out of time" after that.
        reason: why it failed.
    """

    number: int
    params: Mapping[str, Any]
    recipe: Recipe | None
    results: list[RungResult] = field(default_factory=list)
    state: TrialState = "waiting"
    reason: str = ""

    @property
    def last(self) -> RungResult | None:
        """The result on the highest rung that it finished."""
        return self.results[-1] if self.results else None

    @property
    def train_s(self) -> float:
        """Seconds of training on all rungs."""
        return sum(result.train_s for result in self.results)

    def sort_key(self) -> tuple[float, ...]:
        """Sort by this, best first: budget fraction, accuracy, loss, number."""
        if self.last is None:
            return (0, 0, 0, self.number)
        return (-self.last.budget_fraction, -self.last.accuracy, self.last.loss, self.number)


def promoted(trials: Sequence[Trial]) -> list[Trial]:
    """Return the best third of trials that finished a rung, rounded up, ordered by number."""
    ranked = sorted(trials, key=Trial.sort_key)
    return sorted(ranked[: -(-len(ranked) // REDUCTION_FACTOR)], key=lambda trial: trial.number)


def successive_halving(
    trials: Sequence[Trial],
    rungs: Sequence[Rung],
    train: Callable[[Rung, int, Sequence[Trial]], None],
    on_trial_end: Callable[[Trial], None],
) -> None:
    """Train trials rung by rung, and promote the best third of each rung to the next.

    Args:
        trials: all of them; those that have failed already are left out.
        rungs: from the smallest budget to a full training.
        train: trains trials on a rung (with its index) and appends their results. A trial without
            a result on this rung, for want of time, stays where it is.
        on_trial_end: is called once for every trial that is pruned, complete or failed.
    """
    active = [trial for trial in trials if trial.state != "failed"]
    for index, rung in enumerate(rungs):
        train(rung, index, active)
        trained = [trial for trial in active if len(trial.results) > index]
        next_trials = [] if rung.is_last else promoted(trained)
        for trial in active:
            if trial.state == "failed":
                on_trial_end(trial)
            elif trial in trained and trial not in next_trials:
                trial.state = "complete" if rung.is_last else "pruned"
                on_trial_end(trial)
        active = next_trials


class TimeBudget:
    """Decides when each rung must start no more jobs: rungs share the time equally.

    Args:
        seconds: for all rungs; None means no limit.
        rungs: how many there are.
    """

    def __init__(self, seconds: float | None, rungs: int) -> None:
        self._seconds, self._rungs = seconds, rungs
        self._rung, self._started = 0, time.monotonic()

    def next_rung(self) -> Callable[[], bool]:
        """Return a function that tells whether a job of the next rung may start.

        The first job of a rung always may.
        """
        self._rung += 1
        if self._seconds is None:
            return lambda: True
        deadline = self._started + self._seconds * self._rung / self._rungs
        first = True

        def may_start() -> bool:
            nonlocal first
            allowed, first = first or time.monotonic() < deadline, False
            return allowed

        return may_start


class Eta:
    """Estimates the time that is left, from the speed since the start.

    Args:
        brackets: the number of trials in each run of successive halving.
        folds: trainings of each trial on each rung.
    """

    def __init__(self, brackets: Sequence[int], folds: int) -> None:
        self._left = sum(
            rung.budget_fraction * folds * count
            for trials in brackets
            for rung, count in _trials_on_rungs(trials)
        )
        self._done, self._started = 0.0, time.monotonic()

    def add_done(self, budget_fraction: float) -> None:
        """Count a training that ended."""
        self._left -= budget_fraction
        self._done += budget_fraction

    def add_skipped(self, budget_fraction: float) -> None:
        """Count a training that had finished earlier, or will not be done."""
        self._left -= budget_fraction

    def format(self) -> str:
        """Return the time left as text: "2:01:40 left"."""
        if not self._done:
            return "no trial has finished yet"
        seconds_each = (time.monotonic() - self._started) / self._done
        return f"{format_duration(max(0.0, self._left) * seconds_each)} left"


def _trials_on_rungs(trials: int) -> list[tuple[Rung, int]]:
    """Return the rungs of one bracket with the number of trials on each."""
    counts = []
    for rung in make_rungs(trials):
        counts.append((rung, trials))
        trials = -(-trials // REDUCTION_FACTOR)
    return counts
