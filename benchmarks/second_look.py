"""Claim: to look again only where a network is not sure gives the answers of five looks at all.

Images are answered in turns by the recognizer as it is and by one that is never sure, which
averages five views of every image. Needs no labels: what counts is how many answers differ.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

# This folder goes to the end of the path: torch imports the standard library's own `profile`.
sys.path.append(sys.path.pop(0))

import machine
import numpy as np

from tenfold import recognizer as room
from tenfold.data import read
from tenfold.recognizer import Recognizer

NEVER = 2.0  # no probability reaches it


def main() -> None:
    parser = argparse.ArgumentParser(description="A second look where unsure, or at everything.")
    parser.add_argument("run", type=Path, help="run folder or recognizer that looks again")
    parser.add_argument("images", type=Path, help="test.csv or another unlabelled file")
    parser.add_argument("--rounds", type=int, default=3, help="turns for each (default 3)")
    options = parser.parse_args()
    recognizer, images = Recognizer.load(options.run), read(options.images, labels=False).images
    if recognizer.tta_shift is None:
        parser.error(f"{options.run} takes one look only: prediction.tta_shift_pixels is none")
    machine.print_machine(machine.describe())

    levels = {"where unsure": room.TTA_THRESHOLD, "at all": NEVER}
    found, times = {}, {name: [] for name in levels}
    for _ in range(options.rounds):
        for name, level in levels.items():
            room.TTA_THRESHOLD = level
            started = time.perf_counter()
            found[name] = recognizer.predict_proba(images)
            times[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(each) for name, each in times.items()}
    for name in levels:
        print(f"four more looks {name}: {len(images) / seconds[name]:,.0f} images/s")
    where, everywhere = found.values()
    differ = int((where.argmax(axis=1) != everywhere.argmax(axis=1)).sum())
    ratio = seconds["at all"] / seconds["where unsure"]
    print(
        f"{differ} of {len(images):,} answers differ, a probability by at most "
        f"{np.abs(where - everywhere).max():.3f}; {ratio:.2f} times as fast "
        f"(medians of {options.rounds}, in turns)"
    )


if __name__ == "__main__":
    main()
