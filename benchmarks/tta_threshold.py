"""Claim: test-time views where a network has low confidence predict what five views always do.

The recognizer predicts the images in turns with its threshold and with one that no probability
reaches, so that five views of every image are averaged. No labels are needed: what counts is how
many predictions differ.
"""

import argparse
import statistics
import time
from pathlib import Path

import machine
import numpy as np

import tenfold.recognizer
from tenfold.data import read
from tenfold.recognizer import TTA_THRESHOLD, Recognizer

UNREACHABLE = 2.0  # no probability is above it
THRESHOLDS = {"low confidence": TTA_THRESHOLD, "all images": UNREACHABLE}


def main() -> None:
    parser = argparse.ArgumentParser(description="Test-time views: where needed, or always.")
    parser.add_argument("run", type=Path, help="run folder or recognizer with tta_shift")
    parser.add_argument("images", type=Path, help="test.csv or another unlabelled file")
    parser.add_argument("--rounds", type=int, default=3, help="turns for each (default 3)")
    options = parser.parse_args()
    recognizer = Recognizer.load(options.run)
    if recognizer.tta_shift is None:
        parser.error(f"{options.run} has no test-time views: prediction.tta_shift_pixels is none")
    images = read(options.images, labels=False).images
    machine.print_machine(machine.describe())

    predictor = recognizer.predictor()
    found, times = {}, {name: [] for name in THRESHOLDS}
    for _ in range(options.rounds):
        for name, threshold in THRESHOLDS.items():
            tenfold.recognizer.TTA_THRESHOLD = threshold
            started = time.perf_counter()
            found[name] = predictor.predict_proba(images)
            times[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(each) for name, each in times.items()}
    for name in THRESHOLDS:
        print(f"five views, {name}: {len(images) / seconds[name]:,.0f} images/s")
    adaptive, always = found.values()
    differ = int((adaptive.argmax(axis=1) != always.argmax(axis=1)).sum())
    ratio = seconds["all images"] / seconds["low confidence"]
    print(
        f"{differ} of {len(images):,} predictions differ, a probability by at most "
        f"{np.abs(adaptive - always).max():.3f}; {ratio:.2f} times as fast "
        f"(medians of {options.rounds}, in turns)"
    )


if __name__ == "__main__":
    main()
