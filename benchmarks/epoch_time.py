"""Claim: seconds per epoch of a published network, ours against its Keras original.

Both train the same network with the same batch size on the same train.csv, validation included,
in separate processes that take turns (ours, Keras, ours, Keras, ...) so that a busy minute of the
machine affects both. Per process: the median over its epochs without the first one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import ours

PEERS = Path(__file__).parent / "peers"
PEER_ENVIRONMENT = Path(__file__).parent / ".keras-env"


def peer_python() -> Path:
    """Return the Python of the peers' own environment, made if it is missing or outdated."""
    python = PEER_ENVIRONMENT / "bin" / "python"
    requirements = PEERS / "requirements.txt"
    stamp = PEER_ENVIRONMENT / "requirements.txt"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return python
    print(f"making {PEER_ENVIRONMENT.name} (a few minutes, once)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", PEER_ENVIRONMENT], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    stamp.write_text(requirements.read_text())  # last: it marks a finished environment
    return python


def time_ours(network: str, data: Path, epochs: int, seed: int) -> dict:
    """Train with our recipe of that name; return the seconds of every epoch."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        ours.call(
            ours.command(
                *("train", data / "train.csv", "--recipe", network, "--seed", seed),
                *("--set", f"training.max_epochs={epochs}", *ours.NO_EARLY_STOP, "--out", run),
            )
        )
        rows = ours.read_metrics(run)
    if len(rows) != epochs:
        raise SystemExit(f"tenfold train left {len(rows)} epochs in metrics.jsonl, not {epochs}")
    return {"epoch_seconds": ours.epoch_seconds(rows)}


def time_keras(python: Path, network: str, data: Path, epochs: int, seed: int) -> dict:
    """Train the Keras original; return the seconds of every epoch, and its own summary."""
    output = ours.call(
        [
            *(str(python), str(PEERS / "keras_peer.py"), "--json", "--network", network),
            *("--train", str(data / "train.csv"), "--test", str(data / "test.csv")),
            *("--truth", str(data / "truth.csv"), "--epochs", str(epochs), "--seed", str(seed)),
        ],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    *epochs_seen, summary = [json.loads(line) for line in output.splitlines()]
    return {"epoch_seconds": [row["seconds"] for row in epochs_seen], "summary": summary}


def compare(python: Path, network: str, data: Path, epochs: int, rounds: int) -> list[dict]:
    """Take turns for some rounds, seeded by the round, and print a line after each."""
    print(f"{'round':>6}{'ours, s/epoch':>16}{'Keras, s/epoch':>16}{'ratio':>9}", flush=True)
    results = []
    for turn in range(rounds):
        our_run = time_ours(network, data, epochs, seed=turn)
        keras_run = time_keras(python, network, data, epochs, seed=turn)
        our_s = ours.median_epoch_seconds(our_run["epoch_seconds"])
        keras_s = ours.median_epoch_seconds(keras_run["epoch_seconds"])
        ratio = keras_s / our_s
        print(f"{turn + 1:>6}{our_s:>16.2f}{keras_s:>16.2f}{ratio:>8.2f}×", flush=True)
        results.append({"ours_s": our_s, "keras_s": keras_s, "ratio": ratio})
        results[-1] |= {"ours": our_run, "keras": keras_run}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds per epoch: tenfold against Keras.")
    parser.add_argument("network", choices=("surma", "deotte"))
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that `tenfold data mnist --kaggle` made"
    )
    parser.add_argument("--epochs", type=int, default=3, help="per process (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="turns for each side (default 3)")
    parser.add_argument("--peer-python", type=Path, help="use this environment for Keras")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    if min(options.epochs, options.rounds) < 1:
        parser.error("--epochs and --rounds: expected 1 or more")
    for name in ("train.csv", "test.csv", "truth.csv"):
        if not (options.data / name).exists():
            parser.error(f"{options.data / name} is missing: tenfold data mnist --kaggle DIR")

    python = options.peer_python or peer_python()
    here = machine.describe()
    machine.print_machine(here)
    results = compare(python, options.network, options.data, options.epochs, options.rounds)

    peer = results[0]["keras"]["summary"]
    ratios = [result["ratio"] for result in results]
    print(
        f"{options.network}, {options.epochs} epochs, n={options.rounds}: Keras takes "
        f"{statistics.median(ratios):.2f}× our time per epoch "
        f"(min {min(ratios):.2f}×, max {max(ratios):.2f}×)"
    )
    print("Keras side: " + ", ".join(f"{k} {v}" for k, v in peer["versions"].items()))
    if options.json:
        settings = {"network": options.network, "epochs": options.epochs}
        ours.save_json({"machine": here, **settings, "rounds": results}, options.json)


if __name__ == "__main__":
    main()
