"""Setting some labelled images aside, class by class: once, or in turn."""

import math

import numpy as np
from numpy.typing import NDArray

from tenfold.config import DataConfig
from tenfold.data.dataset import Dataset
from tenfold.errors import DataError
from tenfold.formatting import pluralize


def split(dataset: Dataset, validation: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return a training and a validation part; the rows are those of `split_rows`."""
    train, valid = split_rows(dataset, validation, seed)
    return (
        dataset.select(train, f"{dataset.name} (training part)"),
        dataset.select(valid, f"{dataset.name} (validation part)"),
    )


def split_rows(
    dataset: Dataset, validation: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to learn from and the rows held out, each int64 and ascending.

    The same arguments give the same rows, and each class has the same share of both parts.

    Args:
        dataset: labelled images.
        validation: the fraction set aside, above 0 and below 1; its count is rounded up.
        seed: any whole number from 0 to 2³²-1; it alone decides which images go where.

    Raises:
        DataError: there are no images or no labels, the fraction or seed is out of range, or a part
            cannot hold every class.
    """
    labels = _labels(dataset)
    if not 0 < validation < 1:
        raise DataError(
            f"{dataset.name}: validation is {validation}, expected a fraction above 0 and below 1"
        )
    if not 0 <= seed < 2**32:
        raise DataError(f"{dataset.name}: the seed is {seed}, expected 0 to {2**32 - 1}")
    counts = np.bincount(labels, minlength=len(dataset.classes))
    present = counts > 0
    rare = np.flatnonzero(counts == 1)
    if len(rare):
        raise DataError(
            f"{dataset.name}: class {dataset.classes[rare[0]]!r} has 1 image, expected at least 2 "
            "to split: add images of it or leave it out"
        )
    classes = int(present.sum())
    held_out = math.ceil(validation * len(dataset))
    smaller = min(held_out, len(dataset) - held_out)
    if smaller < classes:
        raise DataError(
            f"{dataset.name}: validation {validation} of {len(dataset)} images leaves a part with "
            f"{smaller}, expected at least one for each of {classes} classes: "
            "change the fraction or add images"
        )
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - slow to import

    parts = train_test_split(
        np.arange(len(dataset)), test_size=held_out, stratify=labels, random_state=seed
    )
    train, valid = (np.sort(part) for part in parts)
    return train, valid


def fold(
    dataset: Dataset, folds: int, index: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to learn from and the rows held out, each int64 and ascending.

    Over `index` from 0 to `folds` - 1 every row is held out once; each class has the same share
    of every fold.

    Args:
        dataset: labelled images.
        folds: how many parts, from 2.
        index: which part is held out.
        seed: decides which images share a fold.

    Raises:
        DataError: there are no images or no labels, or a class has fewer images than there are
            folds.
    """
    labels = _labels(dataset)
    counts = dataset.class_counts()
    rarest, count = min((pair for pair in counts.items() if pair[1]), key=lambda pair: pair[1])
    if count < folds:
        raise DataError(
            f"{dataset.name}: class {rarest!r} has {pluralize(count, 'image')}, expected at least "
            f"{folds} to hold some out in each of {folds} folds: add images of it or leave it out"
        )
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415 - slow to import

    division = StratifiedKFold(folds, shuffle=True, random_state=seed)
    train, valid = list(division.split(labels, labels))[index]
    return train, valid


def train_valid_rows(
    dataset: Dataset, data: "DataConfig", seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the training and the validation rows of a recipe, both int64 and ascending."""
    if data.validation is None or data.folds is None:
        return np.arange(len(dataset)), None
    split_seed = seed if data.split_seed is None else data.split_seed
    if data.fold is None:
        return split_rows(dataset, data.validation, split_seed)
    return fold(dataset, data.folds, data.fold, split_seed)


def _labels(dataset: Dataset) -> NDArray[np.int64]:
    if not len(dataset):
        raise DataError(f"{dataset.name}: has no images, expected some to divide")
    return dataset.require_labels()
