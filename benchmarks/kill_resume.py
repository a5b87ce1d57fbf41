"""Claim: killed with SIGKILL at ten random moments and resumed, a training ends the same.

One training runs uninterrupted. A second one, of the same recipe and seed, is killed with its whole
process group, restarted with --resume, killed again, and finishes after the last kill. Then the
weights of both must be equal bit for bit, and their metrics in everything that is not a time.
"""

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import ours
from safetensors.numpy import load_file


@dataclass(frozen=True)
class Training:
    """One training as a command: what the uninterrupted and the killed run have in common."""

    table: Path
    recipe: str
    settings: list[str]
    seed: int

    def start(self, out: Path, *, resume: bool) -> subprocess.Popen:
        """Start it in a process group of its own; its output goes into a file beside `out`."""
        arguments = ours.command(
            *("train", self.table, "--recipe", self.recipe, "--seed", self.seed, "--out", out),
            *(part for setting in self.settings for part in ("--set", setting)),
            *(["--resume"] if resume else []),
        )
        with log_of(out).open("ab") as log:
            return subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True)


def log_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.log")


def wait(process: subprocess.Popen, out: Path, timeout_s: float | None = None) -> bool:
    """Return whether it finished; False if it was killed after `timeout_s`."""
    try:
        status = process.wait(timeout_s)
    except BaseException as interruption:  # Ctrl-C as well: its group is not ours
        os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if not isinstance(interruption, subprocess.TimeoutExpired):
            raise
        if status == -signal.SIGKILL:
            return False
    if status:
        output = log_of(out).read_text(errors="replace")[-2000:]
        raise SystemExit(f"tenfold train ended with {status}:\n{output}")
    return True


@dataclass(frozen=True)
class Uninterrupted:
    """The uninterrupted run: its wall time, and the elapsed time after each epoch, in seconds."""

    wall_s: float
    elapsed_s: list[float]

    def remaining_s(self, epochs: int) -> float:
        """Return the seconds that a run with so many epochs still needs."""
        return self.wall_s - ([0.0, *self.elapsed_s][: epochs + 1][-1])


def run_uninterrupted(training: Training, out: Path) -> Uninterrupted:
    began = time.perf_counter()
    wait(training.start(out, resume=False), out)
    wall_s = time.perf_counter() - began
    return Uninterrupted(wall_s, [row["elapsed_s"] for row in ours.read_metrics(out)])


def next_moment_s(remaining_s: float, kills_left: int, rng: random.Random) -> float:
    """Seconds until the next kill.

    The kills still to come are uniform over the time that remains; this draws the earliest.
    """
    return remaining_s * (1 - rng.random() ** (1 / kills_left))


def run_with_kills(training: Training, out: Path, kills: int, reference: Uninterrupted) -> int:
    """Kill and resume `kills` times, then let it finish; return how many kills there were."""
    rng = random.Random(training.seed)
    for done in range(kills):
        remaining_s = reference.remaining_s(len(ours.read_metrics(out)))
        moment_s = next_moment_s(remaining_s, kills - done, rng)
        if wait(training.start(out, resume=done > 0), out, moment_s):
            return done
        epochs = len(ours.read_metrics(out))
        print(
            f"kill {done + 1:>2}: {moment_s:6.1f} s after its start, {epochs} epochs done",
            flush=True,
        )
    wait(training.start(out, resume=True), out)
    return kills


def differences(one: Path, other: Path) -> list[str]:
    """Return every way in which two runs differ, clock readings aside; empty if they are equal."""
    found = []
    weights, others = (load_file(run / "recognizer.safetensors") for run in (one, other))
    for name in sorted(weights.keys() ^ others.keys()):
        found.append(f"tensor {name} is in one of them only")
    for name in sorted(weights.keys() & others.keys()):
        a, b = weights[name], others[name]
        if (a.dtype, a.shape) != (b.dtype, b.shape) or a.tobytes() != b.tobytes():
            found.append(f"tensor {name} differs")
    rows, other_rows = ours.read_metrics(one), ours.read_metrics(other)
    if len(rows) != len(other_rows):
        found.append(f"metrics.jsonl has {len(rows)} rows and {len(other_rows)} rows")
    for row, other_row in zip(rows, other_rows, strict=False):
        if ours.without_times(row) != ours.without_times(other_row):
            found.append(f"metrics of epoch {row.get('epoch')} differ")
    return found


def measure(training: Training, folder: Path, kills: int) -> bool:
    """Make both runs in a folder, print and return whether the claim holds."""
    reference = run_uninterrupted(training, folder / "uninterrupted")
    epochs = len(reference.elapsed_s)
    print(f"uninterrupted: {reference.wall_s:.1f} s, {epochs} epochs", flush=True)
    n_kills = run_with_kills(training, folder / "killed", kills, reference)
    found = differences(folder / "uninterrupted", folder / "killed")
    for difference in found[:20]:
        print(difference)
    print(
        f"after {n_kills} kills: "
        + (f"{len(found)} differences" if found else "same weights bit for bit, same metrics")
    )
    if n_kills < kills:
        print(f"it finished before kill {n_kills + 1} of {kills}: choose a longer training")
    return not found and n_kills == kills


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill -9 at random moments, then resume.")
    parser.add_argument("train", type=Path, help="Kaggle's train.csv")
    parser.add_argument("--recipe", default="quick", help="name or file (default quick)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="passed to tenfold train"
    )
    parser.add_argument("--kills", type=int, default=10, help="default 10")
    parser.add_argument("--seed", type=int, default=0, help="of the training and of the moments")
    parser.add_argument("--out", type=Path, help="keep both runs here (a new folder)")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error(f"--kills {options.kills}: expected 1 or more")

    machine.print_machine(machine.describe())
    training = Training(options.train, options.recipe, options.set, options.seed)
    if options.out:
        options.out.mkdir(parents=True)
        return 0 if measure(training, options.out, options.kills) else 1
    with tempfile.TemporaryDirectory() as folder:
        return 0 if measure(training, Path(folder), options.kills) else 1


if __name__ == "__main__":
    raise SystemExit(main())
