"""Claim: training time is linear in the images, and in members divided by cores.

Images: the training seconds of two epochs on the first 5,000, 10,000, 20,000 and 40,000 rows of
train.csv, the median of several rounds in turns, since runs of seconds are noisy on a shared
machine. Members: the wall time of whole ensembles on 5,000 rows, on one core and on all of
them. A line is fitted to each, and its largest relative residual printed.
"""

import argparse
import os
import statistics
import tempfile
import time
from itertools import islice, product
from pathlib import Path

import machine
import numpy as np
import ours

IMAGES = (5_000, 10_000, 20_000, 40_000)
MEMBERS = (2, 4, 6, 8)
EPOCHS = "training.max_epochs=2"


def first_rows(source: Path, rows: int, folder: Path) -> Path:
    """Write a CSV of the header and the first rows of `source`, and return its path."""
    path = folder / f"{rows}.csv"
    with source.open() as whole, path.open("w") as part:
        part.writelines(islice(whole, rows + 1))
    return path


def time_images(source: Path, recipe: str, folder: Path, rounds: int) -> list[dict]:
    """Time training for several numbers of images; all cores work on one network."""
    times: dict[int, list[float]] = {images: [] for images in IMAGES}
    for turn, images in product(range(rounds), IMAGES):
        out = folder / f"run-{images}-{turn}"
        data = first_rows(source, images, folder)
        ours.call(ours.command("train", data, "--recipe", recipe, "--set", EPOCHS, "--out", out))
        seconds = sum(row["train_s"] for row in ours.read_metrics(out))
        times[images].append(seconds)
        print(f"{images:>8,} images {seconds:>8.1f} s", flush=True)
    return [
        {"images": images, "seconds": statistics.median(rounds_s), "rounds": rounds_s}
        for images, rounds_s in times.items()
    ]


def time_members(source: Path, recipe: str, folder: Path, cores: list[int]) -> list[dict]:
    """Time whole ensembles, the wall seconds, on these cores alone."""
    data, rows = first_rows(source, IMAGES[0], folder), []
    for members in MEMBERS:
        out = folder / f"run-{members}-on-{len(cores)}"
        command = ours.command(
            *("train", data, "--recipe", recipe, "--set", EPOCHS, "--out", out),
            *("--set", f"ensemble.members={members}"),
        )
        started = time.perf_counter()
        ours.call(command, cores=cores)
        seconds = time.perf_counter() - started
        rows.append({"members": members, "cores": len(cores), "seconds": seconds})
        print(f"{members:>8} members on {len(cores)} cores {seconds:>8.1f} s", flush=True)
    return rows


def fit_line(rows: list[dict], key: str) -> dict:
    """Fit a line by least squares; return it and its largest relative residual."""
    x, y = (np.array([row[name] for row in rows], float) for name in (key, "seconds"))
    slope, intercept = np.polyfit(x, y, 1)
    residual = float(np.abs((slope * x + intercept) / y - 1).max())
    print(f"{intercept:.1f} s + {slope:.4g} s for each of the {key}, off by at most {residual:.0%}")
    return {"intercept_s": float(intercept), "slope_s": float(slope), "max_residual": residual}


def draw(images: list[dict], members: list[list[dict]], path: Path) -> None:
    """Draw both as lines, in the style of the other figures."""
    from tenfold.report.figures import save
    from tenfold.report.figures.style import AMBER, BLUE, drawing

    title = "Training time against images, and against members"
    note = (
        "Two epochs each. Left: one network on all cores. Right: 5,000 images, the whole command."
    )
    with drawing(9, 4, title, note) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(
            *zip(*((r["images"], r["seconds"]) for r in images), strict=True), "o-", color=BLUE
        )
        left.set(xlabel="images", ylabel="seconds of training", ylim=(0, None), xlim=(0, None))
        ticks = range(0, IMAGES[-1] + 1, 10_000)
        left.set_xticks(ticks, [f"{count:,}" for count in ticks])
        for rows, color in zip(members, (AMBER, BLUE), strict=False):
            points = [(row["members"], row["seconds"]) for row in rows]
            right.plot(*zip(*points, strict=True), "o-", color=color)
            cores = rows[0]["cores"]
            right.annotate(
                f"{cores} core{'s' if cores > 1 else ''}",
                points[-1],
                textcoords="offset points",
                xytext=(-6, 8),
                ha="right",
                color=color,
            )
        right.set(xlabel="members", ylabel="seconds", ylim=(0, None), xlim=(0, None))
        right.set_xticks(MEMBERS)
    save(figure, path)
    print(f"saved {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Training time against images and members.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv")
    parser.add_argument("--recipe", default="quick", help="name or file (default quick)")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="for the images (default 3)"
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw both as PNG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    source = options.data / "train.csv"
    if not source.exists():
        parser.error(f"{source} is missing: tenfold data mnist --kaggle DIR")

    here = machine.describe()
    machine.print_machine(here)
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = time_images(source, options.recipe, folder, options.rounds)
        by_images = fit_line(images, "images")
        members, by_members = [], []
        for used in [cores[:1], cores][: len(cores)]:
            members.append(time_members(source, options.recipe, folder, used))
            by_members.append(fit_line(members[-1], "members"))
    if options.figure:
        draw(images, members, options.figure)
    if options.json:
        record = {"machine": here, "images": images, "members": members}
        record |= {"lines": {"images": by_images, "members": by_members}}
        ours.save_json(record, options.json)


if __name__ == "__main__":
    main()
