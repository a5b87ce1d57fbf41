"""Claim: images predicted per second, ours against Keras's `predict` on the same network.

Each round trains the network for an epoch on 2,000 rows on both sides, which settles its weights
and its layout, and then times the prediction of all of test.csv: the file is read before, the
pixels go in as they are stored, probabilities come out. Each is the median of five passes, after
one that is not timed; Keras's at its own batch size. Both use all cores and no test-time
augmentation; `tta_threshold.py` times what a trained network does.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import machine
import ours
from epoch_time import PEERS, peer_python
from growth import first_rows

ROWS = 2_000
REPEATS = 5


def rate_of_ours(recipe: str, train: Path, test: Path, folder: Path) -> float:
    """Return the images per second of a recognizer trained for one epoch of `recipe`."""
    ours.call(
        ours.command(
            *("train", train, "--recipe", recipe, "--out", folder),
            *("--set", "training.max_epochs=1", "--set", "distillation.teacher=none"),
            *("--set", "prediction.tta_shift_pixels=none"),
        )
    )
    return ours.rate_in_memory(folder, test, REPEATS)


def rate_of_keras(python: Path, network: str, train: Path, test: Path) -> float:
    """Return the images per second that the Keras original reports of its own `predict`."""
    output = ours.call(
        [
            *(str(python), str(PEERS / "keras_peer.py"), "--json", "--network", network),
            *("--train", str(train), "--test", str(test), "--epochs", "1"),
        ],
    )
    rate: float = json.loads(output.splitlines()[-1])["predict_images_per_second"]
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description="Images predicted per second, against Keras.")
    parser.add_argument("network", choices=("surma", "deotte", "tiny"))
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv, test.csv")
    parser.add_argument(
        "--also", nargs="*", default=["quick", "tiny"], help="recipes of ours timed too"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns for each side (default 3)")
    parser.add_argument("--peer-python", type=Path, help="use this environment for Keras")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    for name in ("train.csv", "test.csv"):
        if not (options.data / name).exists():
            parser.error(f"{options.data / name} is missing: tenfold data mnist --kaggle DIR")

    python = options.peer_python or peer_python()
    here = machine.describe()
    machine.print_machine(here)
    test, rounds = options.data / "test.csv", []
    recipes = list(dict.fromkeys((options.network, *options.also)))
    for turn in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            train = first_rows(options.data / "train.csv", ROWS, folder)
            keras = rate_of_keras(python, options.network, train, test)
            rates = {
                recipe: rate_of_ours(recipe, train, test, folder / recipe) for recipe in recipes
            }
        rounds.append({"keras": keras, "ours": rates})
        own = ", ".join(f"{k} {v:,.0f} ({v / keras:.1f}×)" for k, v in rates.items())
        print(f"round {turn + 1}: Keras {keras:,.0f} images/s; ours: {own}", flush=True)
    for recipe in recipes:
        ratios = [one["ours"][recipe] / one["keras"] for one in rounds]
        print(
            f"{recipe} against {options.network} in Keras: median {statistics.median(ratios):.2f}× "
            f"(n = {len(ratios)}, {min(ratios):.2f}–{max(ratios):.2f}×)"
        )
    if options.json:
        ours.save_json(
            {"machine": here, "network": options.network, "rounds": rounds}, options.json
        )


if __name__ == "__main__":
    main()
