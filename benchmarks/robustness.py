"""Claim: how a recognizer holds on images unlike those that it was trained on.

    python benchmarks/robustness.py MODEL [MODEL ...] --usps zip.test --chars74k char74k.json \
        --notmnist t10k-images-idx3-ubyte.gz

It has three parts: the 10,000 test digits of MNIST under fifteen corruptions (MNIST-C); digits of
other origin, read as pictures; and images that are no digits, which the confidence should tell.
A model must not have been trained on those 10,000:

    tenfold data mnist --kaggle DIR --canonical
    tenfold train DIR/train.csv --recipe quick --out RUN

Confidence is the largest probability. AUROC is the chance that a digit of MNIST has a higher one
than an image that is no digit; beside it, the same for low entropy; `kept` is the share of such
images that a threshold keeps which rejects one digit in twenty.

Where a file is not given, its rows are left out and a sentence says where it can be had.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import machine
import numpy as np
import ours
import outliers
import pictures
import strokes
from corruptions import CORRUPTIONS, corrupt
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sources import SOURCES

from tenfold.data import DIGITS, Dataset, mnist
from tenfold.metrics import Score, score
from tenfold.models import load

REJECTED = 0.05  # share of MNIST's digits that the threshold of the last column rejects
IMAGE_LIBRARIES = ("scipy", "scikit-image", "scikit-learn", "pillow")
SHOWN = 16  # images of each set in the figure

Files = dict[str, Path | None]  # those that `SOURCES` names, None for one that is not there
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # [N, 28, 28] to [N, 10]


def corrupted(test_set: Dataset, seed: int) -> Iterator[Dataset]:
    """Yield the test digits as they are, and under each corruption."""
    yield Dataset(test_set.images, test_set.labels, DIGITS, "as they are")
    for name in CORRUPTIONS:
        yield Dataset(corrupt(name, test_set.images, seed), test_set.labels, DIGITS, name)


def other_digits(files: Files) -> Iterator[Dataset]:
    """Yield digits that others collected, read as pictures."""
    images, labels = pictures.sklearn_digits()
    yield Dataset(pictures.normalize_all(images), labels, DIGITS, "scikit-learn's, 8 by 8")
    if path := files["usps"]:
        images, labels = pictures.read_usps(path)
        yield Dataset(pictures.normalize_all(images), labels, DIGITS, "USPS test, 16 by 16")
    if path := files["chars74k"]:
        writers = strokes.read_chars74k(path)
        images = pictures.normalize_all(strokes.draw(each) for d in DIGITS for each in writers[d])
        labels = np.repeat(np.arange(10), [len(writers[digit]) for digit in DIGITS])
        yield Dataset(images, labels, DIGITS, "Chars74K, pen strokes")


def no_digits(files: Files, seed: int) -> Iterator[Dataset]:
    """Yield images that are no digits."""
    if path := files["chars74k"]:
        yield from outliers.letters(strokes.read_chars74k(path))
    if path := files["notmnist"]:
        yield Dataset(SOURCES["notmnist"].read_images(path), name="notMNIST, printed A to J")
    if path := files["fashion"]:
        yield Dataset(SOURCES["fashion"].read_images(path), name="Fashion-MNIST")
    yield from outliers.synthetic(np.random.default_rng(seed))


def recognized(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict:
    """Return the score of predictions, and their mean confidence."""
    found = score(probabilities.argmax(axis=1), labels).to_json()
    return found | {"confidence": float(outliers.max_probability(probabilities).mean())}


def rejected(digits: NDArray[np.float32], others: NDArray[np.float32]) -> dict:
    """Return how well confidence tells MNIST's digits from other images, by probabilities [N, 10].

    `kept` is the share of the others that a threshold keeps which rejects one digit in twenty.
    """
    row: dict = {"n": len(others)}
    for name, measure in (
        ("auroc", outliers.max_probability),
        ("auroc_entropy", outliers.negative_entropy),
    ):
        row[name], row[f"{name}_interval"] = outliers.auroc(measure(digits), measure(others))
    threshold = np.quantile(outliers.max_probability(digits), REJECTED)
    kept = Score(int((outliers.max_probability(others) >= threshold).sum()), len(others))
    return row | {"kept": kept.accuracy, "kept_interval": kept.interval}


def print_head(title: str, models: Iterable[str], columns: str) -> None:
    print(f"\n{title}\n{'':<29}{'n':>6}" + "".join(f"  {name:<34}" for name in models))
    print(" " * 35 + f"  {columns:<34}" * len(list(models)), flush=True)


def print_row(name: str, rows: Sequence[dict]) -> None:
    cells = ""
    for row in rows:
        if "accuracy" in row:
            low, high = row["interval"]
            cells += (
                f"  {row['accuracy']:.4f} ({low:.4f}–{high:.4f})   {row['confidence']:.4f}     "
            )
        else:
            low, high = row["auroc_interval"]
            cells += f"  {row['auroc']:.4f} ({low:.4f}–{high:.4f})   {row['auroc_entropy']:.4f}"
            cells += f" {row['kept']:>4.0%}"
    print(f"{name:<29}{rows[0]['n']:>6,}{cells}", flush=True)


def print_mean(rows: Sequence[dict], models: Sequence[str]) -> dict[str, float]:
    """Print and return each model's mean accuracy over the corruptions, clean digits left out."""
    means = {
        model: statistics.fmean(row[model]["accuracy"] for row in rows[1:]) for model in models
    }
    print(f"{'mean of the fifteen':<35}" + "".join(f"  {mean:<34.4f}" for mean in means.values()))
    return means


class Measurement:
    """The rows of some models, printed as they come, and some images of every set.

    Args:
        models: what predicts, by its name.
        digits: uint8 [N, 28, 28], those that no digits are told from.
    """

    def __init__(self, models: dict[str, Predict], digits: NDArray[np.uint8]) -> None:
        self.models = models
        self.of_digits = {name: predict(digits) for name, predict in models.items()}
        self.shown: dict[str, NDArray[np.uint8]] = {}

    def measure(self, datasets: Iterable[Dataset]) -> list[dict]:
        """Return a row for each set: its name, and what each model reached."""
        rows = []
        for dataset in datasets:
            step = np.linspace(0, len(dataset) - 1, SHOWN).astype(int)
            self.shown[dataset.name] = dataset.images[step]
            row = {"name": dataset.name}
            for name, predict in self.models.items():
                probabilities = predict(dataset.images)
                if dataset.labels is None:
                    row[name] = rejected(self.of_digits[name], probabilities)
                else:
                    row[name] = recognized(probabilities, dataset.labels)
            print_row(dataset.name, [row[name] for name in self.models])
            rows.append(row)
        return rows

    def draw(self, path: Path) -> None:
        """Draw some images of every set, a row a set."""
        side, left = 30, 190
        sheet = Image.new("L", (left + side * SHOWN, side * len(self.shown)), 255)
        text = ImageDraw.Draw(sheet)
        for row, (name, images) in enumerate(self.shown.items()):
            text.text((4, side * row + 8), name, fill=0)
            for column, image in enumerate(images):
                sheet.paste(Image.fromarray(image), (left + side * column, side * row))
        sheet.save(path)
        print(f"saved {path}")


def name_models(paths: Sequence[Path]) -> list[str]:
    """Name each model by the end of its path, or by all of it where two ends are equal."""
    ends = [path.name for path in paths]
    return ends if len(set(ends)) == len(ends) else [str(path) for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description="Images unlike the training data.")
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL", help="run, recognizer or .onnx"
    )
    for name, source in SOURCES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=source.where)
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/robustness"), help="default: %(default)s"
    )
    options = parser.parse_args()
    files = {name: getattr(options, name) or source.found() for name, source in SOURCES.items()}
    for name, path in files.items():
        if path is None:
            print(f"--{name} is not given, its rows are left out: {SOURCES[name].where}")

    here = machine.describe()
    here["versions"] |= {name: metadata.version(name) for name in IMAGE_LIBRARIES}
    machine.print_machine(here)
    names = name_models(options.models)
    _, test_set = mnist()
    models = {
        name: load(path).predict_proba for name, path in zip(names, options.models, strict=True)
    }
    measurement = Measurement(models, test_set.images)
    print_head("MNIST's test digits, corrupted", names, "accuracy (95% interval)   confidence")
    corruptions = measurement.measure(corrupted(test_set, options.seed))
    means = print_mean(corruptions, names)
    print_head("other digits", names, "accuracy (95% interval)   confidence")
    digits = measurement.measure(other_digits(files))
    print_head("no digits", names, "AUROC (95% interval)  entropy  kept")
    others = measurement.measure(no_digits(files, options.seed))

    options.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": here, "models": [str(path) for path in options.models]}
    record |= {"seed": options.seed, "corruptions": corruptions, "mean_corruption": means}
    record |= {"other_digits": digits, "no_digits": others}
    measurement.draw(options.out / "robustness.png")
    ours.save_json(record, options.out / "robustness.json")


if __name__ == "__main__":
    main()
