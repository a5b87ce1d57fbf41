"""Claim: `tenfold --help` is immediate; beside it, the time that Python alone takes to start."""

import argparse
import statistics
import sys
import time
from pathlib import Path

import machine
import ours


def wall_seconds(arguments: list[str], n: int) -> list[float]:
    """Return the wall times of n runs of a command, after one that is not counted."""
    ours.call(arguments)
    seconds = []
    for _ in range(n):
        began = time.perf_counter()
        ours.call(arguments)
        seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Wall time of tenfold --help.")
    parser.add_argument("-n", type=int, default=20, help="runs of each command (default 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    if options.n < 1:
        parser.error(f"-n {options.n}: expected 1 or more")

    here = machine.describe()
    machine.print_machine(here)
    print(f"{'command':<18}{'min, s':>9}{'median, s':>11}{'max, s':>9}   n={options.n}")
    measured = {}
    for name, arguments in (
        ("tenfold --help", ours.command("--help")),
        ("python -c pass", [sys.executable, "-c", "pass"]),
    ):
        seconds = wall_seconds(arguments, options.n)
        median = statistics.median(seconds)
        print(f"{name:<18}{min(seconds):>9.3f}{median:>11.3f}{max(seconds):>9.3f}", flush=True)
        measured[name] = seconds
    if options.json:
        ours.save_json({"machine": here, "seconds": measured}, options.json)


if __name__ == "__main__":
    main()
