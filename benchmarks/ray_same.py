"""Claim: ensembles and searches give on a Ray cluster what they give locally, even if a node dies.

Two nodes of one core each are started on this machine (`two_nodes.py`). An ensemble and a search
run locally, then on the nodes; weights must be equal bit for bit, and tables in everything that is
not a time. Then the ensemble runs on the nodes again and one of them is killed: all members must
finish.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import ours
from safetensors.numpy import load_file

HERE = Path(__file__).parent


class Nodes:
    """Two nodes, which run until their stdin is closed."""

    def __init__(self) -> None:
        os.environ |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",  # one thread for each job, in both places
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "two_nodes.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self.process.stdout.readline().strip()

    def kill_one(self) -> None:
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


def same_weights(one: Path, other: Path) -> bool:
    weights, others = (load_file(run / "recognizer.safetensors") for run in (one, other))
    return weights.keys() == others.keys() and all(
        weights[name].tobytes() == others[name].tobytes() for name in weights
    )


def timed(arguments: list[str]) -> float:
    started = time.perf_counter()
    ours.call(arguments)
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description="The same results on two Ray nodes.")
    parser.add_argument("train", type=Path, help="Kaggle's train.csv")
    parser.add_argument("--recipe", default="lenet5", help="default lenet5")
    parser.add_argument("--members", type=int, default=4, help="default 4")
    parser.add_argument("--trials", type=int, default=9, help="default 9")
    options = parser.parse_args()

    machine.print_machine(machine.describe())
    ensemble = ours.command(
        *("train", options.train, "--recipe", options.recipe),
        *("--set", f"ensemble.members={options.members}"),
    )
    search = ours.command(
        *("search", options.train, "--recipe", options.recipe),
        *("--trials", options.trials, "--seeds", 1),
    )
    nodes = Nodes()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, command in (("ensemble", ensemble), ("search", search)):
            local, ray = (folder / f"{kind}-{executor}" for executor in ("local", "ray"))
            local_s = timed([*command, "--out", str(local)])
            ray_s = timed([*command, "--out", str(ray), "--executor", nodes.address])
            same = (
                same_weights(local, ray)
                if kind == "ensemble"
                else ours.search_table(local) == ours.search_table(ray)
            )
            good &= same
            found = "the same" if same else "A DIFFERENT RESULT"
            print(f"{kind}: {local_s:.1f} s local, {ray_s:.1f} s on two nodes: {found}", flush=True)
        out = folder / "lost"
        process = subprocess.Popen(
            [*ensemble, "--out", str(out), "--executor", nodes.address], stdout=subprocess.DEVNULL
        )
        while not list(out.glob("members/*/manifest.json")) and process.poll() is None:
            time.sleep(0.5)
        nodes.kill_one()
        done_before = len(list(out.glob("members/*/manifest.json")))
        ended = process.wait()
        same = ended == 0 and same_weights(folder / "ensemble-local", out)
        good &= same
        print(
            f"a node killed after {done_before} of {options.members} members: "
            + ("all complete, the same weights" if same else f"ENDED WITH {ended}")
        )
    nodes.process.communicate()
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
