"""Claim: killed with SIGKILL at ten random moments and resumed, a training ends the same.

One training runs undisturbed. A second one, of the same recipe and seed, is killed with its whole
process group, restarted with --resume, killed again, and after the last kill left to finish. Then
the weights of both must agree bit for bit, and their metrics in everything that is not a time.
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
    """One training as a command: what is the same for the undisturbed and the killed run."""

    table: Path
    recipe: str
    settings: list[str]
    seed: int

    def start(self, out: Path, *, resume: bool) -> subprocess.Popen:
        """Start it in a process group of its own; what it says goes into a file beside `out`."""
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
    """True when it has finished, False when the time was up and it has been killed."""
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
        said = log_of(out).read_text(errors="replace")[-2000:]
        raise SystemExit(f"tenfold train ended with {status}:\n{said}")
    return True


@dataclass(frozen=True)
class Calm:
    """The undisturbed run: its wall time and the clock at the end of each epoch, in seconds."""

    wall_s: float
    clock_s: list[float]

    def remaining_s(self, epochs: int) -> float:
        """Time that a run needs which has come this far."""
        return self.wall_s - ([0.0, *self.clock_s][: epochs + 1][-1])


def run_undisturbed(training: Training, out: Path) -> Calm:
    began = time.perf_counter()
    wait(training.start(out, resume=False), out)
    wall_s = time.perf_counter() - began
    return Calm(wall_s, [row["elapsed_s"] for row in ours.read_metrics(out)])


def next_moment_s(remaining_s: float, kills_left: int, rng: random.Random) -> float:
    """Seconds until the next kill.

    The kills still to come are uniform over the time that remains; this draws the earliest.
    """
    return remaining_s * (1 - rng.random() ** (1 / kills_left))


def run_with_kills(training: Training, out: Path, kills: int, calm: Calm) -> int:
    """Kill and resume until that many kills have happened, then let it finish; how many did."""
    rng = random.Random(training.seed)
    for done in range(kills):
        remaining_s = calm.remaining_s(len(ours.read_metrics(out)))
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
    """Every way in which two runs differ, clock readings aside; empty when they agree."""
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
    """Make both runs in a folder and print the verdict: whether the claim holds."""
    calm = run_undisturbed(training, folder / "calm")
    print(f"undisturbed: {calm.wall_s:.1f} s, {len(calm.clock_s)} epochs", flush=True)
    happened = run_with_kills(training, folder / "killed", kills, calm)
    found = differences(folder / "calm", folder / "killed")
    for difference in found[:20]:
        print(difference)
    print(
        f"after {happened} kills: "
        + (f"{len(found)} differences" if found else "same weights bit for bit, same metrics")
    )
    if happened < kills:
        print(f"it finished before kill {happened + 1} of {kills}: choose a longer training")
    return not found and happened == kills


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill -9 at random moments, then resume.")
    parser.add_argument("train", type=Path, help="Kaggle's train.csv")
    parser.add_argument("--recipe", default="quick", help="name or file (default quick)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="handed to tenfold train"
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
