"""Claim: which trained networks make a good ensemble, by images that none was trained on.

The runs must hold out the same images, say two sevenths of the 42,000:

    tenfold train DIR/train.csv --recipe standard --seed 0 --out RUN
        --set data.validation=0.285714 --set data.split_seed=1

Their probabilities for these, saved in each run, are averaged in every combination. The loss is
that at the best temperature, which is fitted on the same images: slightly optimistic, for all
alike. The best of many averages is more optimistic still: the script prints how many there are.
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
from tenfold.training.train import fit_temperature

MAX_SHOWN = 3  # averages of each size, those with the lowest loss


def read_predictions(runs: Sequence[Path]) -> list[Predictions]:
    """What each run predicts for the images that it held out, which must be the same ones."""
    found = [Predictions.load(RunFolder(run).validation) for run in runs]
    first = found[0]
    for run, one in zip(runs, found, strict=True):
        same_images = one.dataset_sha256 == first.dataset_sha256
        if not same_images or not np.array_equal(one.indices, first.indices):
            raise SystemExit(f"{run} held out other images than {runs[0]}")
    return found


def evaluate(probabilities: NDArray[np.float32], like: Predictions) -> Evaluation:
    """Evaluate calibrated `probabilities` on the images of `like`."""
    assert like.labels is not None  # what is held out is labelled
    temperature = fit_temperature(probabilities, like.labels)
    calibrated = apply_temperature(probabilities, temperature)
    return evaluate_probabilities(calibrated, like.labels, like.classes)


def averages(runs: Sequence[Path], found: Sequence[Predictions], size: int) -> list[tuple]:
    """Loss, number of errors and names of every average of `size` networks, best loss first."""
    rows = []
    for indices in itertools.combinations(range(len(found)), size):
        mean = np.mean([found[index].probabilities for index in indices], axis=0)
        evaluation = evaluate(mean, found[0])
        names = " + ".join(runs[index].name for index in indices)
        rows.append((evaluation.loss, evaluation.score.n - evaluation.score.correct, names))
    return sorted(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Averages of trained networks, evaluated alike.")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders that hold out the same")
    parser.add_argument(
        "--max-size", type=int, default=4, help="networks in an average (default 4)"
    )
    options = parser.parse_args()
    found = read_predictions(options.runs)
    errors = np.stack([one.predicted != one.labels for one in found])
    print(
        f"{len(found[0]):,} images held out; misclassified by one network or more: "
        f"{errors.any(axis=0).sum()}, by all {len(found)}: {errors.all(axis=0).sum()}"
    )
    for size in range(1, min(options.max_size, len(found)) + 1):
        rows = averages(options.runs, found, size)
        loss, wrong = (statistics.fmean(row[column] for row in rows) for column in (0, 1))
        print(f"\naverages of {size}: {len(rows)}; {wrong:.1f} errors, loss {loss:.5f} on average")
        for loss, wrong, name in rows if size == 1 else rows[:MAX_SHOWN]:
            print(f"{wrong:>6}{loss:>9.5f}  {name}")


if __name__ == "__main__":
    main()
