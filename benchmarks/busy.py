"""Claim: on a busy machine a training keeps its fair share, and on an idle one that costs nothing.

    python benchmarks/busy.py

Recipe quick trains on 9,600 digits for three epochs, beside 0, 1 and 3 processes that compute all
the time. Its threads wait for each other as OpenMP has it by default (they spin), shortly, as the
command line has it, or asleep; or there is only one. The settings take turns; the seconds are those
of an epoch, without the first, the median of all turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import ours

SETTINGS = {
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "as tenfold": {"GOMP_SPINCOUNT": "1000"},
    "asleep": {"GOMP_SPINCOUNT": "0"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
TRAIN = """
import sys
import tenfold
from tenfold.recipe import Recipe
train_set, _ = tenfold.mnist()
recipe = Recipe.load("quick", overrides=["training.max_epochs=3", "training.progressive_sizes=[]"])
tenfold.fit(train_set[:9600], recipe=recipe, out=sys.argv[1])
"""
BURN = "while True: pass"


def epoch_seconds(setting: dict[str, str]) -> list[float]:
    """Train once with these variables, and return the seconds of each epoch but the first."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-c", TRAIN, str(out)]
        subprocess.run(command, env=os.environ | setting, check=True, capture_output=True)
        lines = (out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["train_s"] for line in lines][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure training beside other work.")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--neighbours", type=int, nargs="*", default=[0, 1, 3])
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    here = machine.describe()
    machine.print_machine(here)
    print(f"{'beside it':12}" + "".join(f"{name:>14}" for name in SETTINGS))
    table = {}
    for count in options.neighbours:
        others = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(count)]
        try:
            times: dict[str, list[float]] = {name: [] for name in SETTINGS}
            for _ in range(options.turns):
                for name, setting in SETTINGS.items():
                    times[name] += epoch_seconds(setting)
        finally:
            for other in others:
                other.kill()
                other.wait()
        table[count] = times
        medians = (statistics.median(each) for each in times.values())
        print(f"{count or 'nothing':<12}" + "".join(f"{each:>12.2f} s" for each in medians))
    if options.json:
        ours.save_json({"machine": here, "seconds": table}, options.json)


if __name__ == "__main__":
    main()
