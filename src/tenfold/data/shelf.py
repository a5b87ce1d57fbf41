"""Labelled images laid down for other processes, and taken up again unchanged.

A job's description names them by a reference: their file, and the fingerprint of what is in it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError
from tenfold.tensors import load_tensors, save_tensors

FORMAT = "tenfold-dataset-1"


def lay(dataset: Dataset, path: Path) -> dict[str, str]:
    """Write labelled images to `path` and return the reference: "file" and "sha256".

    Raises:
        DataError: there are no labels.
        OutputError: the disk does not take the file.
    """
    tensors = {
        "images": torch.from_numpy(np.ascontiguousarray(dataset.images)),
        "labels": torch.from_numpy(dataset.known_labels()),
    }
    save_tensors(path, tensors, FORMAT, {"classes": dataset.classes, "name": dataset.name})
    return {"file": path.name, "sha256": dataset.fingerprint()}


def take(folder: Path, reference: Mapping[str, str]) -> Dataset:
    """Read what `lay` wrote into `folder`.

    Raises:
        DataError: these are other images than the `reference` is of.
        RecognizerError: the file is missing or damaged.
    """
    path = folder / reference["file"]
    tensors, about = load_tensors(path, FORMAT)
    images, labels = tensors["images"].numpy(), tensors["labels"].numpy()
    dataset = Dataset(images, labels, tuple(about["classes"]), about["name"])
    if dataset.fingerprint() != reference["sha256"]:
        raise DataError(f"{path}: holds other images than the job is about")
    return dataset
