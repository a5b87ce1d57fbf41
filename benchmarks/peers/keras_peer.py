"""Two published Keras digit recognizers, trained as published on Kaggle's files; and one of ours.

It stands alone: it runs in the peers' own environment (requirements.txt beside it), not in
tenfold's. Architectures and training settings are facts taken from

- surma: G. Surma, "Digit Recognizer – Introduction to Kaggle Competitions with Image
  Classification Task (0.995)", github.com/gsurma/digit_recognizer
- deotte: C. Deotte, "25 Million Images! [0.99757] MNIST",
  kaggle.com/cdeotte/25-million-images-0-99757-mnist, github.com/cdeotte/MNIST-CNN-99.75
- tiny: the network of tenfold's recipe `tiny`, built in Keras, so that `predict` can be timed on
  it. Nobody published it, and how it is trained here says nothing.

and every line here is our own. Differences from the notebooks, and why:

- The notebooks ask for `steps_per_epoch = images // batch`. In Keras 3 the few images left over
  then make up every second epoch alone (and it warns), so here an epoch is one full pass.
- Surma's notebook rescales pixels in its augmentation only, and so validates and predicts on
  0…255 after training on 0…1. Here all three see 0…1, which favours it.
- Surma's repository holds several versions of the notebook; this is the one marked 0.995, with
  dropout 0.5 everywhere. Its RMSprop decay of 1e-5 a step, 7% over 100 epochs, is left out.
- One network is trained, not Deotte's fifteen; for fifteen, multiply.
- The split and all random numbers follow a seed; the notebooks set none.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers

ImageDataGenerator = tf.keras.preprocessing.image.ImageDataGenerator  # removed from `keras` itself

CLASSES = 10
VALID_FRACTION = 0.1
VERSIONS_OF = ("tensorflow", "keras", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class Peer:
    """One published system: its network and everything about how it was trained."""

    network: Callable[[], keras.Sequential]
    optimizer: Callable[[], keras.optimizers.Optimizer]
    schedule: Callable[[], keras.callbacks.Callback]
    batch_size: int
    augmentation: dict[str, float]


def surma_network() -> keras.Sequential:
    """5×5 and 3×3 convolutions in two pooled pairs, then two very wide dense layers."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.MaxPool2D(2),
            layers.Dropout(0.5),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPool2D(2, strides=2),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(8192, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(2048, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def deotte_network() -> keras.Sequential:
    """Batch-normalised convolutions that learn to pool: two stages of 3×3, 3×3, strided 5×5."""
    network = keras.Sequential([keras.Input((28, 28, 1))])
    for width in (32, 64):
        for convolution in (
            layers.Conv2D(width, 3, activation="relu"),
            layers.Conv2D(width, 3, activation="relu"),
            layers.Conv2D(width, 5, strides=2, padding="same", activation="relu"),
        ):
            network.add(convolution)
            network.add(layers.BatchNormalization())
        network.add(layers.Dropout(0.4))
    network.add(layers.Conv2D(128, 4, activation="relu"))
    network.add(layers.BatchNormalization())
    network.add(layers.Flatten())
    network.add(layers.Dropout(0.4))
    network.add(layers.Dense(CLASSES, activation="softmax"))
    return network


def tiny_network() -> keras.Sequential:
    """Five convolutions, two of which halve the image, and a global maximum; 44,362 weights."""
    network = keras.Sequential([keras.Input((28, 28, 1))])
    width = 14
    for filters, kernel, stride in (
        (width, 4, 2),
        (3 * width // 2, 3, 1),
        (3 * width, 2, 2),
        (3 * width, 3, 1),
        (4 * width, 3, 1),
    ):
        network.add(layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False))
        network.add(layers.BatchNormalization())
        network.add(layers.ReLU())
    network.add(layers.GlobalMaxPooling2D())
    network.add(layers.Dense(CLASSES, activation="softmax"))
    return network


PEERS = {
    "surma": Peer(
        network=surma_network,
        optimizer=lambda: keras.optimizers.RMSprop(1e-4, rho=0.9, epsilon=1e-8),
        schedule=lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 1e-4),
        batch_size=512,
        augmentation={
            "rotation_range": 1,
            "zoom_range": 0.1,
            "width_shift_range": 0.05,
            "height_shift_range": 0.05,
        },
    ),
    "deotte": Peer(
        network=deotte_network,
        optimizer=lambda: keras.optimizers.Adam(1e-3),
        schedule=lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3 * 0.95**epoch),
        batch_size=64,
        augmentation={
            "rotation_range": 10,
            "zoom_range": 0.1,
            "width_shift_range": 0.1,
            "height_shift_range": 0.1,
        },
    ),
    "tiny": Peer(
        network=tiny_network,
        optimizer=lambda: keras.optimizers.Adam(1e-3),
        schedule=lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3),
        batch_size=128,
        augmentation={},
    ),
}


class EpochTimer(keras.callbacks.Callback):
    """Print every epoch as it ends, with its seconds, validation included."""

    def __init__(self, write: Callable[[dict], None]) -> None:
        super().__init__()
        self.write = write
        self.seconds: list[float] = []
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._started)
        self.write(
            {
                "epoch": epoch + 1,
                "seconds": round(self.seconds[-1], 3),
                "train_accuracy": float(logs["accuracy"]),
                "valid_accuracy": float(logs["val_accuracy"]),
            }
        )


def read_images(table: pd.DataFrame) -> np.ndarray:
    """Return the pixel columns as float32 [N, 28, 28, 1] in 0…255."""
    return table.to_numpy(dtype=np.float32).reshape(-1, 28, 28, 1)


def train(
    peer: Peer, path: Path, epochs: int, seed: int, write: Callable[[dict], None]
) -> tuple[keras.Sequential, dict]:
    """Train on a Kaggle train.csv; return the network and facts about the training."""
    table = pd.read_csv(path)
    images = read_images(table.drop(columns="label"))
    targets = keras.utils.to_categorical(table["label"], CLASSES)
    order = np.random.default_rng(seed).permutation(len(images))
    valid, rest = np.split(order, [round(VALID_FRACTION * len(order))])

    network = peer.network()
    network.compile(
        optimizer=peer.optimizer(), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    augment = ImageDataGenerator(rescale=1 / 255, **peer.augmentation)
    batches = augment.flow(images[rest], targets[rest], batch_size=peer.batch_size)
    timer = EpochTimer(write)
    network.fit(
        batches,
        epochs=epochs,
        validation_data=(images[valid] / 255, targets[valid]),
        callbacks=[peer.schedule(), timer],
        verbose=0,
    )
    steady = timer.seconds[1:] or timer.seconds  # the first epoch also builds the graph
    return network, {
        "parameters": network.count_params(),
        "train_images": len(rest),
        "valid_images": len(valid),
        "steps_per_epoch": len(batches),
        "batch_size": peer.batch_size,
        "epochs": epochs,
        "median_epoch_seconds": round(statistics.median(steady), 3),
    }


def predict(network: keras.Sequential, path: Path) -> tuple[np.ndarray, float]:
    """Predict a Kaggle test.csv; return digits and images per second at Keras's own batch size.

    Reading the file and building the graph are not counted; the median of five passes.
    """
    images = read_images(pd.read_csv(path)) / 255
    network.predict(images[:64], verbose=0)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        probabilities = network.predict(images, verbose=0)
        times.append(time.perf_counter() - started)
    return probabilities.argmax(axis=1), len(images) / statistics.median(times)


def score(digits: np.ndarray, path: Path) -> dict:
    """Return accuracy against the true labels, with n and a 95% Wilson interval."""
    labels = pd.read_csv(path).iloc[:, -1].to_numpy()
    if len(labels) != len(digits):
        raise SystemExit(f"{path}: {len(labels)} labels for {len(digits)} predictions")
    n, correct, z = len(labels), int((digits == labels).sum()), 1.959964
    p = correct / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half_width = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    interval = [center - half_width, center + half_width]
    return {"accuracy": p, "correct": correct, "n": n, "interval": interval}


def threads() -> dict[str, int]:
    """Return TensorFlow's thread settings, left at their default; 0 means one per core."""
    return {
        "intra_op": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op": tf.config.threading.get_inter_op_parallelism_threads(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in VERSIONS_OF
    }


def write_json(record: dict) -> None:
    print(json.dumps(record), flush=True)


def write_line(record: dict) -> None:
    print("  ".join(f"{key} {value}" for key, value in record.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a published Keras digit recognizer.")
    parser.add_argument("--train", type=Path, required=True, help="Kaggle's train.csv")
    parser.add_argument("--test", type=Path, required=True, help="Kaggle's test.csv")
    parser.add_argument("--truth", type=Path, help="labels of test.csv, to score once at the end")
    parser.add_argument("--network", choices=PEERS, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error(f"--epochs {options.epochs}: expected 1 or more")
    write = write_json if options.json else write_line

    keras.utils.set_random_seed(options.seed)
    network, training = train(
        PEERS[options.network], options.train, options.epochs, options.seed, write
    )
    digits, images_per_second = predict(network, options.test)
    summary = {"network": options.network, "seed": options.seed} | training
    summary |= {"predict_images_per_second": round(images_per_second, 1)}
    if options.truth:
        summary["score"] = score(digits, options.truth)
    write(summary | {"threads": threads(), "versions": versions()})


if __name__ == "__main__":
    main()
