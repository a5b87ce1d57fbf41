"""Runs side by side: their scores, and whether they really differ on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.files import write_text
from tenfold.formatting import pluralize
from tenfold.metrics import SIGNIFICANT, McNemarResult, Score, holm, mcnemar
from tenfold.predictions import Predictions
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.html import Section, Table, render


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Several runs, judged on the same images.

    Attributes:
        names: of the runs.
        runs: what each left.
        ground: which images they were judged on, for people.
        scores: of each on those images.
        pairs: for each two runs, by their places in `names`, how they compare.
    """

    names: tuple[str, ...]
    runs: tuple[RunArtifacts, ...]
    ground: str
    scores: tuple[Score, ...]
    pairs: dict[tuple[int, int], McNemarResult]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON holds it."""
        runs = [
            {"run": name, "recipe": run.recipe.name, "seed": run.recipe.seed, **score.to_json()}
            for name, run, score in zip(self.names, self.runs, self.scores, strict=True)
        ]
        pairs = [
            {"runs": [self.names[one], self.names[other]], **vars(found), "p_adjusted": p}
            for ((one, other), found), p in zip(self.pairs.items(), self.adjusted, strict=True)
        ]
        return {"ground": self.ground, "runs": runs, "pairs": pairs}

    @property
    def adjusted(self) -> list[float]:
        """The p of each pair, adjusted for their number (Holm 1979)."""
        return holm([found.p for found in self.pairs.values()])

    def section(self) -> Section:
        """Return it as a section of a report."""
        section = Section("comparison", "Side by side")
        section.say(f"All were judged on {self.ground}.")
        section.tables += [self._table(), self._pairs_table()]
        if len(self.pairs) > 1:
            section.say(f"p is adjusted for the number of pairs, {len(self.pairs)} (Holm 1979).")
        scores = dict(zip(self.names, self.scores, strict=True))
        shows = "Accuracy of each run with its interval"
        section.draw("comparison", shows, figures.scores(scores, "Runs side by side"))
        return section

    def _table(self) -> Table:
        rows = []
        for name, run, score in zip(self.names, self.runs, self.scores, strict=True):
            seconds = "–" if run.summary is None else f"{run.summary['train_s']:.0f} s"
            recipe = f"{run.recipe.name}, seed {run.recipe.seed}"
            rows.append((name, recipe, str(score), seconds))
        return Table("The runs", ("run", "recipe", "score", "training"), rows)

    def _pairs_table(self) -> Table:
        rows = []
        for ((one, other), found), p in zip(self.pairs.items(), self.adjusted, strict=True):
            verdict = "differ" if p < SIGNIFICANT else "may be equally good"
            rows.append(
                (
                    f"{self.names[one]} and {self.names[other]}",
                    f"{found.first:,}",
                    f"{found.second:,}",
                    f"{found.neither:,}",
                    f"{p:.2g}",
                    verdict,
                )
            )
        header = ("runs", "only first right", "only second right", "both wrong", "p", "verdict")
        return Table("McNemar's exact test on each pair", header, rows)


def side_by_side(runs: Sequence[RunArtifacts]) -> RunComparison:
    """Judge `runs` on images that none of them learned, the same for all.

    These are the images to predict, where their truth was known; else those that all runs held
    out of the same training data.

    Raises:
        DataError: there are fewer than two runs, or no such images.
    """
    if len(runs) < 2:
        raise DataError("one run cannot be compared, expected at least two")
    names = _names(runs)
    ground, chosen, rows = _common_ground(runs)
    right = [_is_right(answers, rows) for answers in chosen]
    return RunComparison(
        names=names,
        runs=tuple(runs),
        ground=ground,
        scores=tuple(Score(int(each.sum()), len(each)) for each in right),
        pairs={
            (one, other): mcnemar(right[one], right[other])
            for one, other in combinations(range(len(runs)), 2)
        },
    )


def write_comparison(found: RunComparison, path: Path) -> None:
    """Write `found` as a page that opens without a network."""
    section = found.section()
    title = f"{len(found.names)} runs side by side"
    write_text(path, render(title, found.ground, [section]))


def _common_ground(
    runs: Sequence[RunArtifacts],
) -> tuple[str, list[Predictions], NDArray[np.int64]]:
    """Find images with known truth that all runs answered and none learned."""
    predicted = [run.predictions for run in runs]
    held_out = [run.held_out for run in runs]
    for what, found in (("to predict", predicted), ("held out by all", held_out)):
        answers = [one for one in found if one is not None and one.labels is not None]
        if len(answers) < len(runs) or len({one.dataset_sha256 for one in answers}) > 1:
            continue
        rows = answers[0].indices
        for one in answers[1:]:
            rows = np.intersect1d(rows, one.indices)
        if len(rows):
            return f"the same {pluralize(len(rows), 'image')} {what}", answers, rows
    raise DataError(
        "these runs share no images with known truth that none of them learned, expected runs "
        "scored on the same images, or that held out the same part of the same data (one split "
        "seed: --set data.split_seed=0)"
    )


def _is_right(answers: Predictions, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    assert answers.labels is not None
    order = np.argsort(answers.indices)
    places = order[np.searchsorted(answers.indices, rows, sorter=order)]
    right: NDArray[np.bool_] = answers.predicted[places] == answers.labels[places]
    return right


def _names(runs: Sequence[RunArtifacts]) -> tuple[str, ...]:
    """Name runs by their folders, with as much of the path as tells them apart."""
    paths = [run.folder.path.resolve() for run in runs]
    deepest = max(len(path.parts) for path in paths)
    for length in range(1, deepest + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return tuple(names)
    raise DataError(f"{paths[0]}: stands there twice, expected different runs")
