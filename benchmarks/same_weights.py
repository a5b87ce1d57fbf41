"""Claim: a refactoring changes no bit of what the code computes.

Every recipe trains for two epochs on a few hundred digits, with one seed and one thread; hashes of
the weights and of the probabilities of 1,000 other digits are printed and saved. Save them before a
refactoring, and compare after it:

    python benchmarks/same_weights.py --json before.json
    python benchmarks/same_weights.py --compare before.json

Hashes are comparable only on one machine with one version of PyTorch.
"""

import argparse
import hashlib
import json
import os
import tempfile
from pathlib import Path

import machine
import ours

TRAIN_IMAGES, PREDICTED_IMAGES = 600, 1000
OVERRIDES = ("--set", "training.max_epochs=2")


def copy_rows(source: Path, target: Path, images: int) -> None:
    """Copy the header and the first `images` rows of a CSV."""
    with source.open() as lines:
        target.write_text("".join(next(lines) for _ in range(images + 1)))


def content_hashes(recipe: str, train: Path, test: Path, out: Path) -> dict[str, str]:
    """Train by `recipe` in `out`, and return the sha256 of weights and of probabilities."""
    from tenfold.data import read
    from tenfold.recognizer import Recognizer

    arguments = ("train", train, "--recipe", recipe, "--seed", 1, "--out", out, *OVERRIDES)
    ours.call(ours.command(*arguments), env={**os.environ, "OMP_NUM_THREADS": "1"})
    recognizer = Recognizer.load(out)
    weights = hashlib.sha256()
    for member in recognizer.members:  # in order: a renamed layer makes no difference
        for tensor in member.model.state_dict().values():
            weights.update(tensor.numpy().tobytes())
    probabilities = recognizer.predict_proba(read(test, labels=False))
    return {
        "weights": weights.hexdigest(),
        "probabilities": hashlib.sha256(probabilities.tobytes()).hexdigest(),
    }


def recipes() -> list[str]:
    """Return the names of all recipes, as `tenfold recipes` lists them."""
    lines = ours.call(ours.command("recipes")).splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith(" ")]


def main() -> None:
    parser = argparse.ArgumentParser(description="Hashes of what every recipe computes.")
    parser.add_argument("--recipe", action="append", help="only this one; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the hashes")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="with those saved before")
    options = parser.parse_args()

    here = machine.describe()
    machine.print_machine(here)
    import torch

    torch.set_num_threads(1)
    before = json.loads(options.compare.read_text())["recipes"] if options.compare else {}
    found, differing = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours.call(ours.command("data", "mnist", "--kaggle", folder / "digits"))
        train, test = folder / "train.csv", folder / "test.csv"
        copy_rows(folder / "digits" / "train.csv", train, TRAIN_IMAGES)
        copy_rows(folder / "digits" / "test.csv", test, PREDICTED_IMAGES)
        for recipe in options.recipe or recipes():
            found[recipe] = content_hashes(recipe, train, test, folder / recipe)
            note = ""
            if options.compare:
                is_equal = found[recipe] == before.get(recipe)
                note = "equal" if is_equal else "DIFFERS"
                if not is_equal:
                    differing.append(recipe)
            weights, probabilities = (value[:16] for value in found[recipe].values())
            print(f"{recipe:12} {weights} {probabilities} {note}", flush=True)
    if options.json:
        ours.save_json({"machine": here, "recipes": found}, options.json)
    if differing:
        raise SystemExit(f"differs from {options.compare}: {', '.join(differing)}")


if __name__ == "__main__":
    main()
