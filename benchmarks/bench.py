"""The comparison with Keras in a quick form: `make bench`. About a quarter of an hour on two cores.

One whole run of recipe `quick` on MNIST in the competition's shape; then, on the very same files,
the seconds per epoch of the published Keras systems and their rate of prediction. An epoch's
seconds times the epochs of a training is the time of the whole. Prints a table and leaves it in the
folder with a figure and everything measured as JSON.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import epoch_time
import machine
import ours

from tenfold.run_folder import RunFolder

# Epochs of a whole training, and the score that the author reports for one network. Deotte trained
# 45; 30 is what our recipe has, and favours Keras.
PUBLISHED = {"deotte": (30, None), "surma": (100, 0.995)}


def run_quick(folder: Path, seed: int) -> dict:
    """One whole run of `quick` on the files in `folder`: accuracy and seconds."""
    out = folder / "quick"
    ours.call(
        ours.command(
            *("run", folder / "train.csv", folder / "test.csv"),
            *("--recipe", "quick", "--seed", seed, "--out", out),
        )
    )
    run = RunFolder(out)
    files = (run.submission, folder / "truth.csv")
    score = json.loads(ours.call(ours.command("score", *files, "--json")))
    summary = json.loads(run.summary.read_text())
    return {"accuracy": score["accuracy"], "n": score["n"], "train_s": summary["train_s"]}


def compare(python: Path, network: str, folder: Path, epochs: int, quick_s: float) -> dict:
    """Time both sides of one published network, and how many times faster `quick` is."""
    keras = epoch_time.time_keras(python, network, folder, epochs, seed=0)
    own = epoch_time.time_ours(network, folder, epochs, seed=0)
    keras_s = ours.median_epoch_seconds(keras["epoch_seconds"])
    planned, reported = PUBLISHED[network]
    return {
        "keras_epoch_s": keras_s,
        "our_epoch_s": ours.median_epoch_seconds(own["epoch_seconds"]),
        "epochs": planned,
        "reported": reported,
        "keras_whole_s": keras_s * planned,
        "speedup": keras_s * planned / quick_s,
        "keras_predicts_per_s": keras["summary"]["predict_images_per_second"],
    }


def table(quick: dict, peers: dict[str, dict]) -> str:
    """Format what was measured as Markdown."""
    lines = [
        f"`quick`: accuracy {quick['accuracy']:.5f} on {quick['n']:,} images, trained in "
        f"{quick['train_s']:.0f} s.",
        "",
        "| network, in Keras | s/epoch | same in tenfold | its whole training | `quick` |",
        "|---|---|---|---|---|",
    ]
    for name, found in peers.items():
        lines.append(
            f"| {name} | {found['keras_epoch_s']:.1f} | {found['our_epoch_s']:.1f} "
            f"| {found['epochs']} epochs: {found['keras_whole_s'] / 60:.0f} min "
            f"| {found['speedup']:.0f} × as fast |"
        )
    return "\n".join(lines) + "\n"


def draw(quick: dict, peers: dict[str, dict], path: Path) -> None:
    """Draw whole trainings as bars of minutes."""
    from tenfold.report.figures.style import AMBER, BLUE, drawing, save

    minutes = {"quick": quick["train_s"] / 60} | {
        f"{name}, in Keras": found["keras_whole_s"] / 60 for name, found in peers.items()
    }
    title = f"One whole training on {len(os.sched_getaffinity(0))} cores"
    epochs = ", ".join(f"{found['epochs']} of {name}" for name, found in peers.items())
    note = f"Keras: seconds of an epoch, measured, times the epochs: {epochs}."
    with drawing(9, 1.3 + 0.5 * len(minutes), title, note) as figure:
        axes = figure.subplots()
        colours = [BLUE] + [AMBER] * len(peers)
        bars = axes.barh(list(minutes), list(minutes.values()), color=colours, height=0.6)
        labels = [f"{m:.0f} min" if m >= 2 else f"{60 * m:.0f} s" for m in minutes.values()]
        axes.bar_label(bars, labels, padding=4)
        axes.set(xlabel="minutes", ylim=(len(minutes) - 0.5, -0.5))
        axes.margins(x=0.15)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="default: runs/bench")
    parser.add_argument("--networks", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--epochs", type=int, default=2, help="per network and side (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of `quick`")
    parser.add_argument("--peer-python", type=Path, help="use this environment for Keras")
    options = parser.parse_args()
    folder: Path = options.out
    if (folder / "quick").exists():
        parser.error(f"{folder / 'quick'} exists already: remove it, or choose another --out")

    python = options.peer_python or epoch_time.peer_python()
    here = machine.describe()
    machine.print_machine(here)
    print("writing MNIST in the competition's shape", flush=True)
    ours.call(ours.command("data", "mnist", "--kaggle", folder, "--seed", options.seed))
    print("training quick", flush=True)
    quick = run_quick(folder, options.seed)
    peers = {}
    for network in options.networks:
        print(f"timing {network}, in Keras and in tenfold", flush=True)
        peers[network] = compare(python, network, folder, options.epochs, quick["train_s"])

    text = table(quick, peers)
    (folder / "bench.md").write_text(text)
    draw(quick, peers, folder / "bench.png")
    ours.save_json({"machine": here, "quick": quick, "peers": peers}, folder / "bench.json")
    sys.stdout.write(f"\n{text}")


if __name__ == "__main__":
    main()
