"""Claim: the score of a recipe, as mean ± standard deviation over seeds, and its time.

Each seed is one whole `tenfold run` without files: trained on 42,000 digits of MNIST and scored
once, at its end, on the other 28,000. With --data it is a run on the files in that folder, the
same for every seed, scored once against its truth.csv. Every seed asked for is in the mean.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import machine
import ours

from tenfold.data import read, train_valid_rows
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.run_folder import RunFolder

COLUMNS = ("test_accuracy", "valid_accuracy", "train_s", "total_s")


def run_seed(recipe: str, seed: int, folder: Path, data: Path | None, settings: list[str]) -> dict:
    """Make one whole run, or resume one that was stopped, and read its score and its summary."""
    out = folder / str(seed)
    run = RunFolder(out)
    mark = out / "resumed"  # it stays: a finished seed is read again by the next call
    files = (data / "train.csv", data / "test.csv") if data else ()
    if run.summary.exists():
        _check_same_recipe(recipe, seed, settings, run)
        if data:
            _check_same_data(run, data)
    else:
        resumed = out.exists()
        if resumed:
            mark.touch()
        changes = [part for setting in settings for part in ("--set", setting)]
        ours.call(
            ours.command(
                *("run", *files, "--recipe", recipe, "--seed", seed, "--out", out, *changes),
                *(("--resume",) if resumed else ()),
            )
        )
    if data:
        score_arguments = (run.submission, data / "truth.csv", "--json")
        score = json.loads(ours.call(ours.command("score", *score_arguments)))
    else:
        score = json.loads(run.score.read_text())
    summary = json.loads(run.summary.read_text())
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


def _check_same_recipe(recipe: str, seed: int, settings: list[str], run: RunFolder) -> None:
    """Make sure that the finished run was trained by this recipe."""
    targets = Recipe.load(recipe, overrides=settings, seed=seed).model_dump(exclude=METADATA_FIELDS)
    if Recipe.load(run.recipe).model_dump(exclude=METADATA_FIELDS) != targets:
        raise SystemExit(f"{run.path} holds a run of another recipe: take another --out")


def _check_same_data(run: RunFolder, data: Path) -> None:
    """Make sure that the finished run was trained on the files in `data`."""
    labelled, recipe = read(data / "train.csv", labels=True), Recipe.load(run.recipe)
    parts = {"train": labelled}
    if recipe.ensemble.members == 1:
        train_rows, valid_rows = train_valid_rows(labelled, recipe.data, recipe.split_seed)
        parts["train"] = labelled[train_rows]
        if valid_rows is not None:
            parts["valid"] = labelled[valid_rows]
    # With pseudo-labels the last training has more images than the file; the first has not.
    stage = RunFolder(run.pseudo_label_stage)
    source = stage.data if stage.path.exists() else run.data
    found = json.loads(source.read_text())
    for name, part in parts.items():
        if found[name]["sha256"] != part.content_hash():
            raise SystemExit(
                f"{run.path} holds a run on other data than {data}: take another --out"
            )


def print_row(name: str, row: dict, note: str = "") -> None:
    valid = "–" if row["valid_accuracy"] is None else f"{row['valid_accuracy']:.5f}"
    total = "–" if row["total_s"] is None else f"{row['total_s']:.1f}"
    print(
        f"{name:>6}{row['test_accuracy']:>10.5f}{valid:>12}"
        f"{row['train_s']:>10.1f}{total:>10}   {note}",
        flush=True,
    )


def summarize(rows: list[dict]) -> dict:
    """Return mean and sample standard deviation of every column; the latter needs two seeds.

    A column with a missing value has neither: a recipe that holds nothing out has no validation
    accuracy, and a run that was resumed has no total time.
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
        note += f"{row['correct']:,} of {row['n']:,}, 95% interval {low:.5f} to {high:.5f}"
        print_row(str(seed), row, note)

    summary = summarize(rows)
    print_row("mean", summary["mean"], f"n={len(rows)} seeds, recipe {rows[0]['recipe']}")
    if "std" in summary:
        print_row("± std", summary["std"])
    if options.json:
        ours.save_json({"machine": here, "runs": rows, "summary": summary}, options.json)


if __name__ == "__main__":
    main()
