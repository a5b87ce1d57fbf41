"""Claim: which trained networks make a good ensemble, judged by digits that none learned from.

The runs must hold out the same digits, say two sevenths of the 42,000:

    tenfold train DIR/train.csv --recipe standard --seed 0 --out RUN
        --set data.validation=0.285714 --set data.split_seed=1

Their answers to these, saved in each run, are averaged in every combination. Loss is that of the
best temperature, found on the same digits: a little flattering, to all alike. Whoever takes the
best of many averages is flattered more: the script says how many it has looked at.
"""

import argparse
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.metrics import Evaluation, evaluate_probabilities
from tenfold.predictions import Predictions
from tenfold.recognizer import apply_temperature
from tenfold.run_folder import RunFolder
from tenfold.training.train import best_temperature

SHOWN = 3  # averages of each size, those of least loss


def read_answers(runs: Sequence[Path]) -> list[Predictions]:
    """What each run said of the digits that it held out, which must be the same ones."""
    found = [Predictions.load(RunFolder(run).held_out) for run in runs]
    first = found[0]
    for run, one in zip(runs, found, strict=True):
        if one.data != first.data or not np.array_equal(one.indices, first.rows):
            raise SystemExit(f"{run} held out other digits than {runs[0]}")
    return found


def judge(probabilities: NDArray[np.float32], like: Predictions) -> Evaluation:
    """What calibrated `probabilities` are worth on the digits of `like`."""
    assert like.labels is not None  # what is held out is labelled
    calm = apply_temperature(probabilities, best_temperature(probabilities, like.labels))
    return evaluate_probabilities(calm, like.labels, like.classes)


def averages(runs: Sequence[Path], found: Sequence[Predictions], size: int) -> list[tuple]:
    """Loss, wrong answers and the names of every average of `size` networks, best loss first."""
    rows = []
    for chosen in itertools.combinations(range(len(found)), size):
        mean = np.mean([found[index].probabilities for index in chosen], axis=0)
        worth = judge(mean, found[0])
        names = " + ".join(runs[index].name for index in chosen)
        rows.append((worth.loss, worth.score.n - worth.score.correct, names))
    return sorted(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Averages of trained networks, judged alike.")
    parser.add_argument("runs", type=Path, nargs="+", help="folders, with one held-out part")
    parser.add_argument("--most", type=int, default=4, help="networks in an average (default 4)")
    options = parser.parse_args()
    found = read_answers(options.runs)
    missed = np.stack([one.predicted != one.labels for one in found])
    print(
        f"{len(found[0]):,} digits held out; missed by one network or more: "
        f"{missed.any(axis=0).sum()}, by all {len(found)}: {missed.all(axis=0).sum()}"
    )
    for size in range(1, min(options.most, len(found)) + 1):
        rows = averages(options.runs, found, size)
        loss, wrong = (statistics.fmean(row[column] for row in rows) for column in (0, 1))
        print(f"\naverages of {size}: {len(rows)}; {wrong:.1f} wrong, loss {loss:.5f} on average")
        for loss, wrong, name in rows if size == 1 else rows[:SHOWN]:
            print(f"{wrong:>6}{loss:>9.5f}  {name}")


if __name__ == "__main__":
    main()
