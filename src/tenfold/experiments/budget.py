"""How much time an experiment has, and how much it will still take."""

import time
from collections.abc import Callable, Sequence

from tenfold.experiments.race import REDUCTION, Rung, rungs
from tenfold.wording import clock


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


class Pace:
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
        return f"{clock(max(0.0, self._left) * seconds_each)} left"


def _planned(trials: int) -> list[tuple[Rung, int]]:
    """Return the rungs of a race, and how many trials run on each."""
    planned = []
    for rung in rungs(trials):
        planned.append((rung, trials))
        trials = -(-trials // REDUCTION)
    return planned
