"""Claim: the score of a recipe, as mean ± standard deviation over seeds, and its time.

Each seed is one whole `tenfold run` without files: trained on 42,000 digits of MNIST and scored
once, at its end, on the other 28,000. Every seed asked for is in the mean.
"""

import argparse
import json
import statistics
from pathlib import Path

import machine
import ours

COLUMNS = ("test_accuracy", "valid_accuracy", "train_s", "total_s")


def run_seed(recipe: str, seed: int, folder: Path) -> dict:
    """Make one whole run and read its score and its summary."""
    out = folder / str(seed)
    ours.call(ours.command("run", "--recipe", recipe, "--seed", seed, "--out", out))
    score = json.loads((out / "score.json").read_text())
    summary = json.loads((out / "run.json").read_text())
    return {
        "seed": seed,
        "recipe": summary["recipe"],
        "test_accuracy": score["accuracy"],
        "correct": score["correct"],
        "n": score["n"],
        "interval": score["interval"],
        "valid_accuracy": summary["validation"]["accuracy"],
        "train_s": summary["train_s"],
        "total_s": summary["total_s"],
    }


def print_row(name: str, row: dict, note: str = "") -> None:
    print(
        f"{name:>6}{row['test_accuracy']:>10.5f}{row['valid_accuracy']:>12.5f}"
        f"{row['train_s']:>10.1f}{row['total_s']:>10.1f}   {note}",
        flush=True,
    )


def summarise(rows: list[dict]) -> dict:
    """Mean and sample standard deviation of every column; the latter needs two seeds."""
    columns = {column: [row[column] for row in rows] for column in COLUMNS}
    summary = {"n": len(rows), "mean": {c: statistics.fmean(v) for c, v in columns.items()}}
    if len(rows) > 1:
        summary["std"] = {c: statistics.stdev(v) for c, v in columns.items()}
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description="A recipe's score over several seeds.")
    parser.add_argument("--recipe", required=True, help="name or file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs, one a seed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()

    here = machine.describe()
    machine.print_machine(here)
    print(f"{'seed':>6}{'test':>10}{'validation':>12}{'train, s':>10}{'total, s':>10}", flush=True)
    rows = []
    for seed in options.seeds:
        row = run_seed(options.recipe, seed, options.out)
        rows.append(row)
        low, high = row["interval"]
        note = f"{row['correct']:,} of {row['n']:,}, 95 % interval {low:.5f} to {high:.5f}"
        print_row(str(seed), row, note)

    summary = summarise(rows)
    print_row("mean", summary["mean"], f"n={len(rows)} seeds, recipe {rows[0]['recipe']}")
    if "std" in summary:
        print_row("± std", summary["std"])
    if options.json:
        ours.save_json({"machine": here, "runs": rows, "summary": summary}, options.json)


if __name__ == "__main__":
    main()
