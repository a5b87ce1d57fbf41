"""Claim: recipe robust reads MNIST's own 10,000 digits, and is unsure where there is no digit.

It is trained on MNIST's 60,000 alone, of which it holds 3,000 out. Then it is scored once on the
10,000, on the 3,000 as other hands and bad cameras would have left them, and on pictures without a
digit: the area under the ROC curve of its maximum probability, 1 where every digit has a higher
one than every other picture. More pictures without a digit are read from IDX files:

    python benchmarks/robust.py --out OUT
    python benchmarks/robust.py --out OUT --no-digits fashion/t10k-images-idx3-ubyte.gz

A finished run in OUT is measured again, and one that was stopped is resumed.
"""

import argparse
import gzip
from pathlib import Path

import machine
import numpy as np
import ours

SIDE = 28
IDX_HEADER = 16  # bytes


def train(out: Path):
    """Train by recipe robust into the run folder `out`, unless that is done.

    Returns:
        The recognizer, the images held out, and MNIST's own 10,000.
    """
    import tenfold
    from tenfold.data import train_valid_rows
    from tenfold.recipe import Recipe

    train_set, test_set = tenfold.mnist()
    recipe = Recipe.load("robust")
    recognizer = tenfold.fit(train_set, recipe=recipe, out=out, resume=True, verbose=True)
    _, rows = train_valid_rows(train_set, recipe.data, recipe.split_seed)
    return recognizer, train_set.select(rows), test_set


def score(recognizer, images: np.ndarray, labels: np.ndarray) -> dict:
    """Return the recognizer's score on labelled images, with its 95% Wilson interval."""
    from tenfold.metrics import wilson_interval

    correct, n = int((recognizer.predict(images) == labels).sum()), len(labels)
    return {"correct": correct, "n": n, "interval": wilson_interval(correct, n)}


def changed_digits(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the digits in other writing styles, with other pens, and as bad pictures."""
    import torch

    from tenfold.config import AugmentationConfig
    from tenfold.training.augment import stroke_width_jitter
    from tenfold.training.corrupt import corrupt
    from tenfold.training.styles import vary_writing_style

    always = AugmentationConfig(writing_styles=1, stroke_pixels=1, corruption=1)
    generator = torch.Generator().manual_seed(0)
    pixels, digits = torch.from_numpy(images), torch.from_numpy(labels)
    return {
        "other styles": vary_writing_style(always, pixels, digits, generator).numpy(),
        "other pens": stroke_width_jitter(always, pixels, generator).numpy(),
        "bad pictures": corrupt(always, pixels, generator).numpy(),
    }


def no_digits(paths: list[Path]) -> dict[str, np.ndarray]:
    """Return pictures without a digit: noise, every blank grey, and those in IDX files."""
    rng = np.random.default_rng(0)
    greys = np.arange(256, dtype=np.uint8)
    pictures = {
        "uniform noise": rng.integers(0, 256, (2000, SIDE, SIDE), dtype=np.uint8),
        "blank": np.broadcast_to(greys[:, None, None], (256, SIDE, SIDE)).copy(),
    }
    for path in paths:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        pictures[str(path)] = np.frombuffer(content, np.uint8, offset=IDX_HEADER).reshape(
            -1, SIDE, SIDE
        )
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(description="Train by recipe robust, and measure it.")
    parser.add_argument("--out", type=Path, required=True, help="the run folder")
    parser.add_argument("--no-digits", type=Path, nargs="*", default=[], metavar="IDX")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()

    here = machine.describe()
    machine.print_machine(here)
    from sklearn.metrics import roc_auc_score

    recognizer, held_out, test_set = train(options.out)
    sets = {
        "MNIST's own 10,000": (test_set.images, test_set.labels),
        "held out": (held_out.images, held_out.labels),
    }
    for name, images in changed_digits(held_out.images, held_out.labels).items():
        sets[f"held out, {name}"] = (images, held_out.labels)
    scores = {name: score(recognizer, images, labels) for name, (images, labels) in sets.items()}
    for name, row in scores.items():
        low, high = row["interval"]
        accuracy = row["correct"] / row["n"]
        print(f"{name:24}{accuracy:.5f} of {row['n']:,}, 95% interval {low:.5f} to {high:.5f}")

    confidence = recognizer.predict_proba(test_set).max(axis=1)
    areas = {}
    for name, images in no_digits(options.no_digits).items():
        others = recognizer.predict_proba(images).max(axis=1)
        is_digit = np.repeat([1, 0], [len(confidence), len(others)])
        areas[name] = roc_auc_score(is_digit, np.concatenate([confidence, others]))
        print(f"{name:24}AUROC {areas[name]:.5f} of {len(others):,} without a digit")
    if options.json:
        ours.save_json({"machine": here, "scores": scores, "auroc": areas}, options.json)


if __name__ == "__main__":
    main()
