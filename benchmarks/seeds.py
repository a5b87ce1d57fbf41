"""Claim: the score of a recipe, as mean ± standard deviation over seeds, and its time.

Each seed is one whole `tenfold run` without files: trained on 42,000 digits of MNIST and scored
once, at its end, on the other 28,000. With --data it is a run on the files in that folder, the
same for every seed, scored once against its truth.csv. Every seed asked for is in the mean.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

# This folder goes to the end of the path: torch imports the standard library's own `profile`.
sys.path.append(sys.path.pop(0))

import machine
import ours

from tenfold.data import read
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.run_folder import RunFolder
from tenfold.training.train import divide

COLUMNS = ("test_accuracy", "valid_accuracy", "train_s", "total_s")


def run_seed(recipe: str, seed: int, folder: Path, data: Path | None, choices: list[str]) -> dict:
    """Make one whole run, or finish one that was stopped, and read its score and its summary."""
    out = folder / str(seed)
    mark = out / "resumed"  # left there: the seed may be read again another day
    files = (data / "train.csv", data / "test.csv") if data else ()
    if (out / "run.json").exists():
        _check_same(recipe, seed, choices, out)
        if data:
            _check_same_data(out, data)
    else:
        resumed = out.exists()
        if resumed:
            mark.touch()
        changes = [part for choice in choices for part in ("--set", choice)]
        ours.call(
            ours.command(
                *("run", *files, "--recipe", recipe, "--seed", seed, "--out", out, *changes),
                *(("--resume",) if resumed else ()),
            )
        )
    if data:
        answers = (out / "submission.csv", data / "truth.csv")
        score = json.loads(ours.call(ours.command("score", *answers, "--json")))
    else:
        score = json.loads((out / "score.json").read_text())
    summary = json.loads((out / "run.json").read_text())
    validation = summary["validation"]
    return {
        "seed": seed,
        "recipe": summary["recipe"],
        "test_accuracy": score["accuracy"],
        "correct": score["correct"],
        "n": score["n"],
        "interval": score["interval"],
        "valid_accuracy": None if validation is None else validation["accuracy"],
        "train_s": summary["train_s"],
        "total_s": summary["total_s"],
        "resumed": mark.exists(),  # then the seconds are not those of a whole run
    }


def _check_same(recipe: str, seed: int, choices: list[str], out: Path) -> None:
    """A finished run is taken as it is: it has to be one of just this recipe."""
    asked = Recipe.load(recipe, overrides=choices, seed=seed).model_dump(exclude=METADATA_FIELDS)
    if Recipe.load(out / "recipe.toml").model_dump(exclude=METADATA_FIELDS) != asked:
        raise SystemExit(f"{out} holds a run of another recipe: take another --out")


def _check_same_data(out: Path, data: Path) -> None:
    """So it has to be one on just these files."""
    labelled, run = read(data / "train.csv", labels=True), RunFolder(out)
    recipe = Recipe.load(run.recipe)
    parts = (labelled, None) if recipe.ensemble.members > 1 else divide(labelled, recipe)
    # A second training learned from more than the file holds: the first tells.
    source = RunFolder(run.pseudo_label_stage).data if run.pseudo_label_stage.exists() else run.data
    found = json.loads(source.read_text())
    for name, part in zip(("train", "valid"), parts, strict=True):
        if part is not None and found[name]["sha256"] != part.content_hash():
            raise SystemExit(f"{out} holds a run on other data than {data}: take another --out")


def print_row(name: str, row: dict, note: str = "") -> None:
    valid = "–" if row["valid_accuracy"] is None else f"{row['valid_accuracy']:.5f}"
    total = "–" if row["total_s"] is None else f"{row['total_s']:.1f}"
    print(
        f"{name:>6}{row['test_accuracy']:>10.5f}{valid:>12}"
        f"{row['train_s']:>10.1f}{total:>10}   {note}",
        flush=True,
    )


def summarise(rows: list[dict]) -> dict:
    """Mean and sample standard deviation of every column; the latter needs two seeds.

    A recipe that holds nothing out has no validation accuracy, for any seed, and a run that was
    resumed no seconds as a whole.
    """
    columns = {column: [row[column] for row in rows] for column in COLUMNS}

    def over(statistic: Callable) -> dict:
        return {name: None if None in v else statistic(v) for name, v in columns.items()}

    summary = {"n": len(rows), "mean": over(statistics.fmean)}
    if len(rows) > 1:
        summary["std"] = over(statistics.stdev)
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description="A recipe's score over several seeds.")
    parser.add_argument("--recipe", required=True, help="name or file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--data", type=Path, help="folder with train.csv, test.csv and truth.csv")
    parser.add_argument("--set", action="append", default=[], help="change the recipe, as tenfold")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs, one a seed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()

    here = machine.describe()
    machine.print_machine(here)
    print(f"{'seed':>6}{'test':>10}{'validation':>12}{'train, s':>10}{'total, s':>10}", flush=True)
    rows = []
    for seed in options.seeds:
        row = run_seed(options.recipe, seed, options.out, options.data, options.set)
        rows.append(row)
        low, high = row["interval"]
        note = "stopped and resumed; " if row["resumed"] else ""
        note += f"{row['correct']:,} of {row['n']:,}, 95 % interval {low:.5f} to {high:.5f}"
        print_row(str(seed), row, note)

    summary = summarise(rows)
    print_row("mean", summary["mean"], f"n={len(rows)} seeds, recipe {rows[0]['recipe']}")
    if "std" in summary:
        print_row("± std", summary["std"])
    if options.json:
        ours.save_json({"machine": here, "runs": rows, "summary": summary}, options.json)


if __name__ == "__main__":
    main()
