"""Call tenfold as a user does, through its command line, and read what it leaves."""

import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TIME_ENDINGS = ("_s", "_seconds")  # of the names of clock readings and of rates
NO_EARLY_STOP = ("--set", "training.patience_epochs=none")


def command(*arguments: object) -> list[str]:
    """Return the `tenfold` installed beside this Python, with its arguments as text."""
    beside = Path(sys.executable).with_name("tenfold")
    found = str(beside) if beside.exists() else shutil.which("tenfold")
    if found is None:
        raise SystemExit("tenfold is not installed here: pip install -e . in the repository")
    return [found, *map(str, arguments)]


def call(
    arguments: Sequence[str], env: dict[str, str] | None = None, cores: Sequence[int] | None = None
) -> str:
    """Run a command to its end, on some cores alone, and return its stdout.

    If it fails, the script ends with what it printed.
    """
    before = None if cores is None else lambda: os.sched_setaffinity(0, cores)
    done = subprocess.run(
        arguments, capture_output=True, text=True, env=env, check=False, preexec_fn=before
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(arguments)}\nended with {done.returncode}:\n{done.stderr[-2000:]}"
        )
    return done.stdout


def search_table(out: Path) -> list[dict[str, str]]:
    """Return the rows of search.csv, without times."""
    with (out / "search.csv").open() as file:
        return [without_times(row) for row in csv.DictReader(file)]


def rate_in_memory(model: Path, test: Path, repeats: int) -> float:
    """Return the images/s of a recognizer on images that are in memory, median of some passes."""
    from tenfold.data import read
    from tenfold.recognizer import Recognizer

    predictor, images = Recognizer.load(model).predictor(), read(test, labels=False)
    predictor.predict_proba(images[:1000])
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        predictor.predict_proba(images)
        times.append(time.perf_counter() - started)
    return len(images) / statistics.median(times)


def read_metrics(run: Path) -> list[dict]:
    """Return the rows of a run's metrics.jsonl, one an epoch; a torn last line is left out."""
    path = run / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def epoch_seconds(rows: Sequence[dict]) -> list[float]:
    """Return the seconds of every epoch, validation included."""
    return [row["train_s"] + row["valid_s"] for row in rows]


def without_times(row: dict) -> dict:
    """Return what must be equal in two runs of one recipe: everything but clock readings."""
    return {key: value for key, value in row.items() if not key.endswith(TIME_ENDINGS)}


def median_epoch_seconds(seconds: Sequence[float]) -> float:
    """Return the median over epochs without the first, which warms up; of one alone, that."""
    return statistics.median(seconds[1:] or seconds)


def save_json(record: object, path: Path) -> None:
    """Write everything measured to `path`."""
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"saved {path}")
