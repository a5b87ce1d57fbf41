"""Winner against start: both trained again on several seeds, and judged on images set aside.

A search finds what was lucky as well as what is good. So the winner is believed only by images
that took no part in the search, and with an interval that holds the luck of seeds and of images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.answers import Answers
from tenfold.experiments.trial import trial_job
from tenfold.files import RunFolder
from tenfold.jobs import Job
from tenfold.recipe import Recipe
from tenfold.report.metrics import Difference, difference
from tenfold.wording import counted


@dataclass(frozen=True)
class Verdict:
    """What came of training both again.

    Attributes:
        n: images set aside.
        start, winner: accuracy of each on them, by seed.
        difference: winner minus start.
    """

    n: int
    start: tuple[float, ...]
    winner: tuple[float, ...]
    difference: Difference

    @property
    def better(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return self.difference.low > 0

    def sentence(self) -> str:
        """Say it in words."""
        found = self.difference
        told = (
            f"on {counted(self.n, 'image')} set aside, {counted(len(self.start), 'seed')}: start "
            f"{np.mean(self.start):.4f}, winner {np.mean(self.winner):.4f}, difference "
            f"{found.mean:+.4f} (95 % interval {found.low:+.4f} to {found.high:+.4f})"
        )
        if self.better:
            return f"{told}: the winner is better"
        if found.high < 0:
            return f"{told}: the winner is worse, what the search saw was luck"
        return f"{told}: no difference is shown, the winner may have been lucky"

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "n": self.n,
            "start": list(self.start),
            "winner": list(self.winner),
            "difference": vars(self.difference),
            "better": self.better,
            "sentence": self.sentence(),
        }


def verdict_jobs(
    recipes: Mapping[str, Recipe],
    seeds: int,
    learn: Mapping[str, str],
    judge: Mapping[str, str],
) -> dict[str, list[Job]]:
    """Describe the trainings of "start" and "winner" on each seed from 0 on."""
    return {
        who: [
            trial_job(
                f"{who}, seed {seed}",
                recipe.model_copy(update={"seed": seed}),
                learn,
                judge=judge,
            )
            for seed in range(seeds)
        ]
        for who, recipe in recipes.items()
    }


def read_verdict(jobs: Mapping[str, Sequence[Job]], folder: Path) -> Verdict:
    """Return what came of finished `jobs` in `folder`."""
    right = {
        who: np.stack([_is_right(folder / job.id) for job in theirs])
        for who, theirs in jobs.items()
    }
    start, winner = right["start"], right["winner"]
    return Verdict(
        n=start.shape[1],
        start=tuple(start.mean(axis=1).tolist()),
        winner=tuple(winner.mean(axis=1).tolist()),
        difference=difference(start, winner),
    )


def _is_right(folder: Path) -> NDArray[np.bool_]:
    answers = Answers.load(RunFolder(folder).predictions)
    assert answers.labels is not None
    right: NDArray[np.bool_] = answers.answers == answers.labels
    return right
