"""What came of one method in a comparison, and its row in the table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tenfold.experiments.cost import Cost
from tenfold.experiments.methods import Method
from tenfold.report.metrics import Score

COLUMNS = (
    "method", "accuracy", "low", "high", "correct", "n", "images_learned", "fit_s",
    "predict_s_per_1000", "bytes", "peak_bytes", "reason",
)  # fmt: skip


@dataclass
class Entry:
    """One method: what it was expected to take, and what came of it.

    Attributes:
        method: which.
        cost: None if the small fits failed.
        part: of the images that it may learn from, to stay within the budget.
        results: of each fold, as `fit_and_judge` returned them.
        reason: why it failed.
    """

    method: Method
    cost: Cost | None = None
    part: float = 1.0
    results: list[Mapping[str, Any]] = field(default_factory=list)
    reason: str = ""

    @property
    def score(self) -> Score | None:
        """Over the folds that are done; None before the first, or if the method failed."""
        if self.reason or not self.results:
            return None
        correct = sum(result["correct"] for result in self.results)
        return Score(correct, sum(result["n"] for result in self.results))

    def mean(self, name: str) -> float:
        """Return the mean over folds of something measured."""
        return float(sum(result[name] for result in self.results) / len(self.results))

    @property
    def fit_s(self) -> float:
        """Seconds of one fit."""
        return self.mean("fit_s")

    @property
    def predict_s_per_1000(self) -> float:
        """Seconds for a thousand answers."""
        return 1000 * self.mean("predict_s") / self.mean("n")

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; of a failed method its name and why."""
        if self.score is None:
            return {"method": self.method.name, "reason": self.reason or "not finished"}
        return {
            "method": self.method.name,
            **self.score.to_json(),
            "images_learned": round(self.mean("images")),
            "part": self.part,
            "fit_s": self.fit_s,
            "predict_s_per_1000": self.predict_s_per_1000,
            "bytes": round(self.mean("bytes")),
            "peak_bytes": max(result["peak_bytes"] for result in self.results),
        }


def row_of(told: Mapping[str, Any]) -> list[Any]:
    """Return what `COLUMNS` name of an entry's JSON; None where there is nothing to tell."""
    low, high = told.get("interval", (None, None))
    return [{**told, "low": low, "high": high}.get(column) for column in COLUMNS]


def rank(entry: Entry) -> tuple[float, float]:
    """Sort by this: best first, those without a score last."""
    if entry.score is None:
        return (1.0, 0.0)
    return (0.0, -entry.score.accuracy)
