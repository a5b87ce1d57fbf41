"""Claim: a search whose driver and workers are killed with SIGKILL gives the same table.

One search runs uninterrupted. A second one with the same seed loses, at random moments, either its
driver, which is then started again, or one of the processes that train, which the driver starts
again. After each kill every finished job must still be finished, and not have been started again;
at the end both tables must be equal in everything that is not a time.
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
    """One search as a command, its finished jobs, and what went wrong with them."""

    arguments: list[str]
    out: Path
    process: subprocess.Popen | None = None
    finished: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

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
        """Return the processes that train for the driver now."""
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

    def check_jobs(self) -> None:
        """Record which jobs are finished, and whether one of them was started again."""
        for manifest in self.out.glob("jobs/*/manifest.json"):
            started = manifest.with_name("job.json")
            times = (manifest.stat().st_mtime_ns, started.stat().st_mtime_ns)
            if self.finished.setdefault(manifest, times) != times:
                self.problems.append(f"{manifest.parent.name} was repeated")
        self.problems += [f"{path} is gone" for path in self.finished if not path.exists()]


def wait(search: Search, seconds: float | None = None) -> bool:
    """Watch the search for some seconds, or to its end; return whether it has ended."""
    assert search.process is not None
    deadline = None if seconds is None else time.monotonic() + seconds
    while search.process.poll() is None:
        search.check_jobs()
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    search.check_jobs()
    if search.process.returncode:
        output = search.out.with_suffix(".log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"tenfold search ended with {search.process.returncode}:\n{output}")
    return True


def run_with_kills(search: Search, kills: int, every_s: float, rng: random.Random) -> int:
    """Kill the driver or a worker `kills` times; return how many kills there were."""
    search.start()
    done = 0
    while done < kills:
        moment_s = rng.uniform(0.2, 1.8) * every_s
        if wait(search, moment_s):
            return done
        workers = search.workers()
        victim = "worker" if workers and rng.random() < 0.5 else "driver"
        if victim == "worker":
            try:
                rng.choice(workers).kill()
            except psutil.NoSuchProcess:  # it ended by itself: not a kill
                continue
        else:
            search.process.send_signal(signal.SIGKILL)
            search.process.wait()
            search.start()
        done += 1
        print(
            f"kill {done:>2}: {victim} after {moment_s:4.1f} s, {len(search.finished)} jobs done",
            flush=True,
        )
    wait(search)
    return kills


def measure(arguments: list[str], folder: Path, kills: int, seed: int) -> bool:
    """Make both searches, print and return whether the claim holds."""
    reference, killed = (Search(arguments, folder / name) for name in ("uninterrupted", "killed"))
    began = time.perf_counter()
    reference.start()
    wait(reference)
    elapsed_s = time.perf_counter() - began
    print(f"uninterrupted: {elapsed_s:.1f} s, {len(reference.finished)} jobs", flush=True)
    # A job takes seconds to start: with kills closer than that no job would ever finish.
    n_kills = run_with_kills(killed, kills, max(8.0, elapsed_s / kills), random.Random(seed))
    same = ours.search_table(reference.out) == ours.search_table(killed.out)
    for sentence in sorted(set(killed.problems)):
        print(sentence)
    print(
        f"after {n_kills} kills: {len(set(killed.problems))} finished jobs lost or repeated, "
        f"{'the same' if same else 'a DIFFERENT'} table"
    )
    return same and not killed.problems and n_kills == kills


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill -9 at random moments of a search.")
    parser.add_argument("train", type=Path, help="Kaggle's train.csv")
    parser.add_argument("--recipe", default="lenet5", help="the baseline of the search")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="passed to tenfold search"
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
