"""Comparison of runs: their scores, and whether they differ on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.files import write_text
from tenfold.formatting import format_duration, pluralize
from tenfold.metrics import SIGNIFICANT, McNemarResult, Score, holm, mcnemar
from tenfold.predictions import Predictions
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.html import Section, render


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Several runs, evaluated on the same images.

    Attributes:
        names: of the runs.
        runs: what each left.
        eval_set: which images they were evaluated on, in words.
        scores: of each run on those images.
        pairs: McNemar's test for each two runs, by their indices in `names`.
    """

    names: tuple[str, ...]
    runs: tuple[RunArtifacts, ...]
    eval_set: str
    scores: tuple[Score, ...]
    pairs: dict[tuple[int, int], McNemarResult]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        runs = [
            {"run": name, "recipe": run.recipe.name, "seed": run.recipe.seed, **score.to_json()}
            for name, run, score in zip(self.names, self.runs, self.scores, strict=True)
        ]
        pairs = [
            {"runs": [self.names[one], self.names[other]], **vars(test), "p_adjusted": p}
            for ((one, other), test), p in zip(self.pairs.items(), self.adjusted_p, strict=True)
        ]
        return {"eval_set": self.eval_set, "runs": runs, "pairs": pairs}

    @property
    def adjusted_p(self) -> list[float]:
        """The p of each pair, adjusted for their number (Holm 1979)."""
        return holm([test.p for test in self.pairs.values()])

    def section(self) -> Section:
        """Return the comparison as a section of a report."""
        section = Section("comparison", "Comparison", chapter="Augmentation")
        section.add_text(self._answer())
        section.add_text(f"All runs were evaluated on {self.eval_set}.")
        self._add_runs(section)
        self._add_pairs(section)
        scores = dict(zip(self.names, self.scores, strict=True))
        drawn = figures.scores(scores, "Accuracy by run")
        section.add_figure("comparison", "Accuracy of each run with its interval", drawn)
        return section

    def _answer(self) -> str:
        """Say which run is most accurate, and from which it does not differ significantly."""
        best = max(range(len(self.runs)), key=lambda index: self.scores[index].accuracy)
        equal = [
            self.names[one if other == best else other]
            for (one, other), p in zip(self.pairs, self.adjusted_p, strict=True)
            if best in {one, other} and p >= SIGNIFICANT
        ]
        text = f"{self.names[best]} is most accurate: {self.scores[best].accuracy:.2%}."
        if not equal:
            return f"{text} The difference from each other run is significant."
        return f"{text} It does not differ significantly from {', '.join(equal)}."

    def _add_runs(self, section: Section) -> None:
        rows = []
        for name, run, score in zip(self.names, self.runs, self.scores, strict=True):
            time = "–" if run.summary is None else format_duration(run.summary["train_s"])
            rows.append((name, f"{run.recipe.name}, seed {run.recipe.seed}", str(score), time))
        section.add_table("Runs", ("run", "recipe", "score", "training time"), rows)

    def _add_pairs(self, section: Section) -> None:
        rows = []
        for ((one, other), test), p in zip(self.pairs.items(), self.adjusted_p, strict=True):
            differ = "different" if p < SIGNIFICANT else "statistically indistinguishable"
            counts = (f"{count:,}" for count in (test.first, test.second, test.neither))
            rows.append((f"{self.names[one]} and {self.names[other]}", *counts, f"{p:.2g}", differ))
        header = ("runs", "only first correct", "only second correct", "both wrong", "p", "result")
        section.add_table("McNemar's exact test of each pair", header, rows)
        if len(rows) > 1:
            section.add_text(f"p is adjusted for the number of pairs, {len(rows)} (Holm 1979).")


def compare_runs(runs: Sequence[RunArtifacts]) -> RunComparison:
    """Evaluate `runs` on images that none of them was trained on, the same for all.

    These are the test images, if their labels were known; else those that all runs held out of the
    same training data.

    Raises:
        DataError: there are fewer than two runs, or no such images.
    """
    if len(runs) < 2:
        raise DataError("one run cannot be compared, expected at least two")
    names = _run_names(runs)
    eval_set, predictions, indices = _common_images(runs)
    correct = [_is_correct(each, indices) for each in predictions]
    return RunComparison(
        names=names,
        runs=tuple(runs),
        eval_set=eval_set,
        scores=tuple(Score(int(each.sum()), len(each)) for each in correct),
        pairs={
            (one, other): mcnemar(correct[one], correct[other])
            for one, other in combinations(range(len(runs)), 2)
        },
    )


def write_comparison(comparison: RunComparison, path: Path) -> None:
    """Write the comparison as a self-contained page."""
    title = f"Comparison of {len(comparison.names)} runs"
    write_text(path, render(title, f"Evaluated on {comparison.eval_set}.", [comparison.section()]))


def _common_images(
    runs: Sequence[RunArtifacts],
) -> tuple[str, list[Predictions], NDArray[np.int64]]:
    """Return labelled images that all runs predicted and none was trained on.

    Returns:
        Which images these are, the predictions of each run, and the indices of the images, int64.
    """
    for kind, candidates in (
        ("test image", [run.predictions for run in runs]),
        ("held-out image", [run.validation for run in runs]),
    ):
        found = [each for each in candidates if each is not None and each.labels is not None]
        if len(found) < len(runs) or len({each.dataset_sha256 for each in found}) > 1:
            continue
        indices = found[0].indices
        for each in found[1:]:
            indices = np.intersect1d(indices, each.indices)
        if len(indices):
            return f"the same {pluralize(len(indices), kind)}", found, indices
    raise DataError(
        "these runs share no labelled images that none of them was trained on, expected runs "
        "scored on the same test images, or that held out the same part of the same data (one "
        "split seed: --set data.split_seed=0)"
    )


def _is_correct(predictions: Predictions, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
    assert predictions.labels is not None
    order = np.argsort(predictions.indices)
    rows = order[np.searchsorted(predictions.indices, indices, sorter=order)]
    correct: NDArray[np.bool_] = predictions.predicted[rows] == predictions.labels[rows]
    return correct


def _run_names(runs: Sequence[RunArtifacts]) -> tuple[str, ...]:
    """Name runs by their folders, with as much of the path as makes them unique."""
    paths = [run.folder.path.resolve() for run in runs]
    deepest = max(len(path.parts) for path in paths)
    for length in range(1, deepest + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return tuple(names)
    raise DataError(f"{paths[0]}: is given twice, expected different runs")
