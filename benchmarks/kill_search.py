"""Claim: a search whose driver and workers are killed with SIGKILL ends as if nothing had been.

One search runs undisturbed. A second one with the same seed loses, at random moments, either its
driver, which is then started again, or one of the processes that train, which the driver starts
again. After each kill every finished job must still be finished, and not have been begun again; at
the end both tables must agree in everything that is not a time.
"""

import argparse
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import machine
import ours
import psutil


@dataclass
class Search:
    """One search as a command, and what was seen of its jobs."""

    arguments: list[str]
    out: Path
    process: subprocess.Popen | None = None
    finished: dict[Path, tuple[int, int]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start the driver, or start it again."""
        with self.out.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.arguments, "--out", str(self.out)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def workers(self) -> list[psutil.Process]:
        """The processes that train for the driver now."""
        assert self.process is not None
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [
                child
                for child in children
                if any("tenfold.jobs" in part for part in child.cmdline())
            ]
        except psutil.Error:
            return []

    def look(self) -> None:
        """Note which jobs are finished, and whether one of them was touched again."""
        for manifest in self.out.glob("jobs/*/manifest.json"):
            begun = manifest.with_name("job.json")
            times = (manifest.stat().st_mtime_ns, begun.stat().st_mtime_ns)
            if self.finished.setdefault(manifest, times) != times:
                self.broken.append(f"{manifest.parent.name} was done again")
        self.broken += [f"{path} is gone" for path in self.finished if not path.exists()]


def wait(search: Search, seconds: float | None = None) -> bool:
    """Watch the search for some seconds, or to its end; True if it has ended."""
    assert search.process is not None
    deadline = None if seconds is None else time.monotonic() + seconds
    while search.process.poll() is None:
        search.look()
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    search.look()
    if search.process.returncode:
        said = search.out.with_suffix(".log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"tenfold search ended with {search.process.returncode}:\n{said}")
    return True


def run_with_kills(search: Search, kills: int, every_s: float, rng: random.Random) -> int:
    """Kill the driver or a worker until so many kills have happened; how many did."""
    search.start()
    done = 0
    while done < kills:
        moment_s = rng.uniform(0.2, 1.8) * every_s
        if wait(search, moment_s):
            return done
        workers = search.workers()
        whom = "worker" if workers and rng.random() < 0.5 else "driver"
        if whom == "worker":
            try:
                rng.choice(workers).kill()
            except psutil.NoSuchProcess:  # it ended by itself, so nothing was killed
                continue
        else:
            search.process.send_signal(signal.SIGKILL)
            search.process.wait()
            search.start()
        done += 1
        print(
            f"kill {done:>2}: {whom} after {moment_s:4.1f} s, {len(search.finished)} jobs done",
            flush=True,
        )
    wait(search)
    return kills


def measure(arguments: list[str], folder: Path, kills: int, seed: int) -> bool:
    """Make both searches and print the verdict: whether the claim holds."""
    calm, killed = (Search(arguments, folder / name) for name in ("calm", "killed"))
    began = time.perf_counter()
    calm.start()
    wait(calm)
    calm_s = time.perf_counter() - began
    print(f"undisturbed: {calm_s:.1f} s, {len(calm.finished)} jobs", flush=True)
    # A job takes seconds to begin, so kills closer than that would let none of them end.
    happened = run_with_kills(killed, kills, max(8.0, calm_s / kills), random.Random(seed))
    same = ours.search_table(calm.out) == ours.search_table(killed.out)
    for sentence in sorted(set(killed.broken)):
        print(sentence)
    print(
        f"after {happened} kills: {len(set(killed.broken))} finished jobs lost or repeated, "
        f"{'the same' if same else 'ANOTHER'} table"
    )
    return same and not killed.broken and happened == kills


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill -9 at random moments of a search.")
    parser.add_argument("train", type=Path, help="Kaggle's train.csv")
    parser.add_argument("--recipe", default="lenet5", help="where the search starts")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="handed to tenfold search"
    )
    parser.add_argument("--trials", type=int, default=18, help="default 18")
    parser.add_argument("--kills", type=int, default=20, help="default 20")
    parser.add_argument("--seed", type=int, default=0, help="of the search and of the moments")
    options = parser.parse_args()

    machine.print_machine(machine.describe())
    arguments = ours.command(
        *("search", options.train, "--recipe", options.recipe, "--trials", options.trials),
        *("--seed", options.seed, "--seeds", 1),
        *(part for setting in options.set for part in ("--set", setting)),
    )
    with tempfile.TemporaryDirectory() as folder:
        return 0 if measure(arguments, Path(folder), options.kills, options.seed) else 1


if __name__ == "__main__":
    raise SystemExit(main())
