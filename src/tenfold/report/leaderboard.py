"""How one stands: a score among those that honest training has shown."""

import tomllib
from dataclasses import dataclass
from importlib import resources

from tenfold.errors import DataError
from tenfold.metrics import wilson_interval


@dataclass(frozen=True)
class Entry:
    """One known score on digits of the competition's kind.

    Attributes:
        who: made it, and how.
        score: accuracy from 0 to 1.
        images: how many answers the score counts.
        source: "published" by its author, or "ours": measured by us (docs/results.md).
    """

    who: str
    score: float
    images: int
    source: str

    @property
    def interval(self) -> tuple[float, float]:
        """What chance allows: the score's 95 % Wilson interval."""
        return wilson_interval(round(self.score * self.images), self.images)


@dataclass(frozen=True)
class Standing:
    """Where a score stands.

    Attributes:
        score: accuracy from 0 to 1.
        above: the known entries that are higher, best first.
        below: those that are not.
    """

    score: float
    above: tuple[Entry, ...]
    below: tuple[Entry, ...]

    def sentence(self) -> str:
        """Say it in one sentence."""
        if self.score > plausible_max():
            return (
                f"{self.score:.5g} is beyond what honest training has shown: the best, "
                f"{best().score}, reaches no further than {plausible_max():.5f} by chance; entries above "
                "that are usually explained by leaked test labels"
            )
        if not self.above:
            return f"{self.score:.5g} is not below any honest score known here"
        higher, lower = self.above[-1], self.below[:1]
        sentence = f"{self.score:.5g} stands below {higher.score:g} ({higher.who})"
        if self.score >= higher.interval[0]:
            sentence += ", but inside its 95 % interval"
        if lower:
            sentence += f", and at or above {lower[0].score:g} ({lower[0].who})"
        return sentence


def entries() -> list[Entry]:
    """Return the known scores, best first."""
    text = (resources.files("tenfold") / "report" / "leaderboard.toml").read_text("utf-8")
    known = [Entry(**entry) for entry in tomllib.loads(text)["entry"]]
    return sorted(known, key=lambda entry: -entry.score)


def best() -> Entry:
    """Return the best score that was published."""
    return next(entry for entry in entries() if entry.source == "published")


def plausible_max() -> float:
    """Return the score above which luck alone does not lift the best published one.

    It is the upper end of that score's 95 % interval.
    """
    return best().interval[1]


def standing(score: float) -> Standing:
    """Place `score`, an accuracy from 0 to 1, among the known ones.

    Raises:
        DataError: it is no such number.
    """
    if not 0 <= score <= 1:
        raise DataError(f"the score is {score:g}, expected an accuracy from 0 to 1 such as 0.9957")
    known = entries()
    return Standing(
        score,
        tuple(entry for entry in known if entry.score > score),
        tuple(entry for entry in known if entry.score <= score),
    )
