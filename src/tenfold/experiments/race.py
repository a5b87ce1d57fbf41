"""A race of many trials: all begin cheap, and the best third goes on at three times the cost.

Successive halving (Jamieson and Talwalkar, 'Non-stochastic best arm identification and
hyperparameter optimization', AISTATS 2016), by thirds as in Hyperband. Each rung waits for all of
its trials: so who goes on does not depend on which process was quicker or was killed, and equal
seeds give equal races.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

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
        return recipe.varied({"training": {"max_epochs": epochs}}), part


def rungs(trials: int) -> list[Rung]:
    """Return the rungs for so many trials: three, or fewer for a handful."""
    count = 1
    while count < MOST_RUNGS and trials >= REDUCTION**count:
        count += 1
    return [Rung(float(REDUCTION) ** -left) for left in reversed(range(count))]


@dataclass(frozen=True)
class Reached:
    """What one trial reached on one rung, over all folds; `share` is the rung's."""

    share: float
    correct: int
    n: int
    loss: float
    train_s: float

    @classmethod
    def over(cls, results: Sequence[Mapping[str, Any]], share: float) -> "Reached":
        """Add up the results of `train_and_judge` on several folds."""
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
    reached: list[Reached] = field(default_factory=list)
    state: str = "waiting"
    reason: str = ""

    def rank(self) -> tuple[float, ...]:
        """Sort by this, best first: share of a whole training, accuracy, loss, number."""
        if not self.reached:
            return (0, 0, 0, self.number)
        last = self.reached[-1]
        return (-last.share, -last.accuracy, last.loss, self.number)


def survivors(entries: Sequence[Entry]) -> list[Entry]:
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
        going_on = [] if rung.last else survivors(ran)
        for entry in alive:
            if entry.state == "failed":
                close(entry)
            elif entry in ran and entry not in going_on:
                entry.state = "complete" if rung.last else "stopped early"
                close(entry)
        alive = going_on
