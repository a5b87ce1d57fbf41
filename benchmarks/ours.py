"""Calling tenfold as a user does, through its command line, and reading what it leaves."""

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TIME_ENDINGS = ("_s", "_seconds")  # of the names of clock readings and of rates
NO_EARLY_STOP = ("--set", "training.patience_epochs=none")


def command(*arguments: object) -> list[str]:
    """The `tenfold` that is installed beside this Python, with its arguments as text."""
    beside = Path(sys.executable).with_name("tenfold")
    found = str(beside) if beside.exists() else shutil.which("tenfold")
    if found is None:
        raise SystemExit("tenfold is not installed here: pip install -e . in the repository")
    return [found, *map(str, arguments)]


def call(arguments: Sequence[str], env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return its stdout; say what it said if it fails."""
    done = subprocess.run(arguments, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(arguments)}\nended with {done.returncode}:\n{done.stderr[-2000:]}"
        )
    return done.stdout


def read_metrics(run: Path) -> list[dict]:
    """The rows of a run's metrics.jsonl, one an epoch; a torn or missing end is left out."""
    path = run / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def epoch_seconds(rows: Sequence[dict]) -> list[float]:
    """What every epoch took, validation included."""
    return [row["train_s"] + row["valid_s"] for row in rows]


def without_times(row: dict) -> dict:
    """What must be equal when the same run is made twice: everything but clock readings."""
    return {key: value for key, value in row.items() if not key.endswith(TIME_ENDINGS)}


def median_epoch_seconds(seconds: Sequence[float]) -> float:
    """Median over epochs without the first, which also builds and warms up; over all if one."""
    return statistics.median(seconds[1:] or seconds)


def save_json(record: object, path: Path) -> None:
    """Write a result where the caller asked for it."""
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"saved {path}")
