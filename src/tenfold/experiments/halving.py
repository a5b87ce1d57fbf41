"""A race of many trials: all begin cheap, and the best third goes on at three times the cost.

Successive halving (Jamieson and Talwalkar, 'Non-stochastic best arm identification and
hyperparameter optimization', AISTATS 2016), by thirds as in Hyperband. Each rung waits for all of
its trials: so who goes on does not depend on which process was quicker or was killed, and equal
seeds give equal races.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tenfold.formatting import format_duration
from tenfold.recipe import Recipe

REDUCTION: Final = 3
MOST_RUNGS: Final = 3
LEAST_SHARE: Final = float(REDUCTION) ** (1 - MOST_RUNGS)  # of a whole training: the first rung


@dataclass(frozen=True)
class Rung:
    """How much of a whole training a trial gets.

    Attributes:
        share: of the cost of a whole training, epochs × images.
    """

    share: float

    @property
    def last(self) -> bool:
        """Whether it is the whole."""
        return self.share == 1

    @property
    def step(self) -> int:
        """The share as a whole number: 1, 3, and 9 for the whole."""
        return round(self.share / LEAST_SHARE)

    def cut(self, recipe: Recipe) -> tuple[Recipe, float]:
        """Return the recipe with fewer epochs, and which part of the images it learns from.

        Both shrink alike, as far as whole epochs allow; schedules fit themselves to the length.
        """
        if self.last:
            return recipe, 1.0
        whole = recipe.training.max_epochs
        epochs = max(1, round(whole * self.share**0.5))
        part = min(1.0, self.share * whole / epochs)
        return recipe.with_overrides({"training": {"max_epochs": epochs}}), part


def rungs(trials: int) -> list[Rung]:
    """Return the rungs for so many trials: three, or fewer for a handful."""
    count = 1
    while count < MOST_RUNGS and trials >= REDUCTION**count:
        count += 1
    return [Rung(float(REDUCTION) ** -left) for left in reversed(range(count))]


@dataclass(frozen=True)
class RungResult:
    """What one trial reached on one rung, over all folds; `share` is the rung's."""

    share: float
    correct: int
    n: int
    loss: float
    train_s: float

    @classmethod
    def over(cls, results: Sequence[Mapping[str, Any]], share: float) -> "RungResult":
        """Add up the results of `train_and_evaluate_trial` on several folds."""
        n = sum(result["n"] for result in results)
        return cls(
            share=share,
            correct=sum(result["correct"] for result in results),
            n=n,
            loss=sum(result["loss"] * result["n"] for result in results) / n,
            train_s=sum(result["train_s"] for result in results),
        )

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.n


@dataclass
class Entry:
    """One trial: what was drawn, and how far it got.

    Attributes:
        number: in the study, counted from 0; where machines share one, not all of its numbers
            are in the table.
        drawn: as Optuna has it, by place.
        recipe: None if what was drawn is impossible together.
        reached: on each rung that it ran, from the first.
        state: "waiting", "running", "stopped early", "complete", "failed"; or for want of time
            "not begun", and "out of time" after its first rung.
        reason: why it failed.
    """

    number: int
    drawn: Mapping[str, Any]
    recipe: Recipe | None
    reached: list[RungResult] = field(default_factory=list)
    state: str = "waiting"
    reason: str = ""

    def rank(self) -> tuple[float, ...]:
        """Sort by this, best first: share of a whole training, accuracy, loss, number."""
        if not self.reached:
            return (0, 0, 0, self.number)
        last = self.reached[-1]
        return (-last.share, -last.accuracy, last.loss, self.number)


def promoted(entries: Sequence[Entry]) -> list[Entry]:
    """Return the best third of those that ran, rounded up, in the order of their numbers."""
    ran = sorted(entries, key=Entry.rank)
    return sorted(ran[: -(-len(ran) // REDUCTION)], key=lambda entry: entry.number)


def race(
    entries: Sequence[Entry],
    steps: Sequence[Rung],
    run: Callable[[Rung, int, Sequence[Entry]], None],
    close: Callable[[Entry], None],
) -> None:
    """Let `entries` race: `run` trains some of them on a rung and fills in what they reached.

    An entry that did not get a rung further, for want of time, stays where it is. `close` is told
    of every entry that is finished.
    """
    alive = [entry for entry in entries if entry.state != "failed"]
    for index, rung in enumerate(steps):
        run(rung, index, alive)
        ran = [entry for entry in alive if len(entry.reached) > index]
        add_resume_hint = [] if rung.last else promoted(ran)
        for entry in alive:
            if entry.state == "failed":
                close(entry)
            elif entry in ran and entry not in add_resume_hint:
                entry.state = "complete" if rung.last else "stopped early"
                close(entry)
        alive = add_resume_hint


class Budget:
    """When each rung must begin no more: the time is shared equally among them.

    Args:
        seconds: in all; None is without end.
        stages: how many rungs there are.
    """

    def __init__(self, seconds: float | None, stages: int) -> None:
        self._seconds, self._stages = seconds, stages
        self._stage, self._started = 0, time.monotonic()

    def next_stage(self) -> Callable[[], bool]:
        """Return what says whether a job of the next rung may begin; the first always may."""
        self._stage += 1
        if self._seconds is None:
            return lambda: True
        deadline = self._started + self._seconds * self._stage / self._stages
        first = True

        def may_start() -> bool:
            nonlocal first
            allowed, first = first or time.monotonic() < deadline, False
            return allowed

        return may_start


class Eta:
    """How long races will still take, from what was done since the start.

    Args:
        races: how many trials are in each.
        folds: trainings that each trial takes on each rung.
    """

    def __init__(self, races: Sequence[int], folds: int) -> None:
        self._left = sum(
            rung.share * folds * count for size in races for rung, count in _planned(size)
        )
        self._done, self._started = 0.0, time.monotonic()

    def did(self, share: float) -> None:
        """Count a training of `share` of a whole one."""
        self._left -= share
        self._done += share

    def skipped(self, share: float) -> None:
        """Count one that was done before, or will not be done."""
        self._left -= share

    def left(self) -> str:
        """Say how long it will still take."""
        if not self._done:
            return "no trial is done yet"
        seconds_each = (time.monotonic() - self._started) / self._done
        return f"{format_duration(max(0.0, self._left) * seconds_each)} left"


def _planned(trials: int) -> list[tuple[Rung, int]]:
    """Return the rungs of a race, and how many trials run on each."""
    planned = []
    for rung in rungs(trials):
        planned.append((rung, trials))
        trials = -(-trials // REDUCTION)
    return planned
