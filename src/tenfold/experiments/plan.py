"""What a search is to do: where it starts, how many it draws, and which images judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.data.dataset import Dataset
from tenfold.data.splits import fold, split_rows
from tenfold.errors import DataError, ExperimentError
from tenfold.experiments.race import rungs
from tenfold.experiments.space import Space
from tenfold.experiments.study import sampler_of
from tenfold.experiments.trial import some_of
from tenfold.recipe import ABOUT
from tenfold.training.single import divide
from tenfold.wording import counted

HELD_OUT = 0.2  # of all images: set aside for the verdict
FOLDS = 5  # that the images to search on are divided into; without --folds one of them judges
BATCH = 9  # trials drawn at a time by a sampler that learns from those before


@dataclass(frozen=True)
class Plan:
    """What is searched, and how.

    Attributes:
        space: from where to start, and what may be chosen.
        trials: how many recipes are drawn.
        sampler: one of `tenfold.experiments.study.SAMPLERS`.
        seed: of the division of images and of all draws.
        folds: judge by all folds of so many; None judges by one of five.
        seeds: on how many seeds winner and start are trained again; 0 leaves that out.
    """

    space: Space
    trials: int
    sampler: str = "random"
    seed: int = 0
    folds: int | None = None
    seeds: int = 5

    def __post_init__(self) -> None:
        start = self.space.start
        problems = []
        if self.trials < 1:
            problems.append(f"--trials {self.trials}: expected at least 1")
        if self.folds is not None and self.folds < 2:
            problems.append(f"--folds {self.folds}: expected at least 2")
        if self.seeds < 0:
            problems.append(f"--seeds {self.seeds}: expected 0 or more")
        if not start.is_one_training:
            problems.append(
                f"recipe {start.name} is more than one training, expected ensemble.members = 1, "
                "no teacher and no pseudo-labels"
            )
        if problems:
            raise ExperimentError("; ".join(problems))
        sampler_of(self.sampler, self.seed, 0)

    def identity(self, labelled: Dataset) -> dict[str, Any]:
        """Return what must be equal for a search to go on."""
        return {
            "data": labelled.fingerprint(),
            "starting recipe": self.space.start.model_dump(mode="json", exclude=ABOUT),
            "space": self.space.to_json(),
            "sampler": self.sampler,
            "seed": self.seed,
            "folds": self.folds,
        }

    def parts(self, labelled: Dataset) -> dict[str, Dataset]:
        """Divide the images into "search", to try recipes on, and "final", for the verdict.

        Raises:
            DataError: a class has too few for that, for the folds, or for the first rung.
        """
        rows, aside = split_rows(labelled, HELD_OUT, self.seed)
        parts = {
            name: labelled.select(part, f"{labelled.name} ({name} part)")
            for name, part in (("search", rows), ("final", aside))
        }
        learn, _ = fold(parts["search"], self.folds or FOLDS, 0, self.seed)
        self._try_first_rung(parts["search"].select(learn))
        return parts

    def _try_first_rung(self, learn: Dataset) -> None:
        """Divide the images of a fold as the cheapest trials will, before any is begun."""
        first = rungs(self.batches(())[0])[0]
        recipe, part = first.cut(self.space.start)
        try:
            divide(some_of(learn, part, recipe.split_seed), recipe)
        except DataError as error:
            if first.last:
                raise
            raise DataError(
                f"{error}; a search of {counted(self.trials, 'trial')} begins with "
                f"{first.share:.0%} of a training: fewer trials begin with more"
            ) from error

    def batches(self, before: Sequence[int]) -> list[int]:
        """Return how many trials race each other, after races of `before` so many."""
        batches, left = list(before), self.trials - sum(before)
        while left > 0:
            batches.append(left if self.sampler == "random" else min(left, BATCH))
            left -= batches[-1]
        return batches
