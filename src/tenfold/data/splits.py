"""Hold out some labelled images, stratified by class: once, or fold by fold."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError
from tenfold.formatting import pluralize

if TYPE_CHECKING:
    from tenfold.config import DataConfig  # pydantic is slow to import

KAGGLE_TRAIN_FRACTION = 0.6  # 42,000 of 70,000


def split(dataset: Dataset, validation: float = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return a training and a validation part; the arguments are those of `split_rows`."""
    train, valid = split_rows(dataset, validation, seed)
    return (
        dataset.select(train, f"{dataset.name} (training part)"),
        dataset.select(valid, f"{dataset.name} (validation part)"),
    )


def split_rows(
    dataset: Dataset, validation: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the training and of the validation part, both int64 and ascending.

    The same arguments give the same rows, and each class has the same fraction of both parts.

    Args:
        dataset: labelled images.
        validation: the fraction held out, above 0 and below 1; the number of images is rounded up.
        seed: from 0 to 2³²-1; decides which images are held out.

    Raises:
        DataError: there are no images or no labels, the fraction or the seed is out of range, or a
            part is too small to hold every class.
    """
    labels = _require_labelled_images(dataset)
    if not 0 < validation < 1:
        raise DataError(
            f"{dataset.name}: validation is {validation}, expected a fraction above 0 and below 1"
        )
    if not 0 <= seed < 2**32:
        raise DataError(f"{dataset.name}: the seed is {seed}, expected 0 to {2**32 - 1}")
    per_class = np.bincount(labels, minlength=len(dataset.classes))
    single = np.flatnonzero(per_class == 1)
    if len(single):
        raise DataError(
            f"{dataset.name}: class {dataset.classes[single[0]]!r} has 1 image, expected at least "
            "2 to split: add images of it or leave it out"
        )
    n_classes = np.count_nonzero(per_class)
    n_valid = math.ceil(validation * len(dataset))
    smaller = min(n_valid, len(dataset) - n_valid)
    if smaller < n_classes:
        raise DataError(
            f"{dataset.name}: validation {validation} of {len(dataset)} images leaves a part with "
            f"{smaller}, expected at least one for each of {n_classes} classes: "
            "change the fraction or add images"
        )
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - slow to import

    parts = train_test_split(
        np.arange(len(dataset)), test_size=n_valid, stratify=labels, random_state=seed
    )
    train, valid = (np.sort(part) for part in parts)
    return train, valid


def fold_rows(
    dataset: Dataset, folds: int, index: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the training and the validation rows of one fold, both int64 and ascending.

    Over `index` from 0 to `folds` - 1 every row is held out once, and each class has the same
    fraction of every fold.

    Args:
        dataset: labelled images.
        folds: the number of folds, at least 2.
        index: the fold that is held out.
        seed: decides which images share a fold.

    Raises:
        DataError: there are no images or no labels, or a class has fewer images than there are
            folds.
    """
    labels = _require_labelled_images(dataset)
    present = {name: n for name, n in dataset.class_counts().items() if n}
    rarest = min(present, key=lambda name: present[name])
    if present[rarest] < folds:
        raise DataError(
            f"{dataset.name}: class {rarest!r} has {pluralize(present[rarest], 'image')}, expected "
            f"at least {folds} to hold some out in each of {folds} folds: "
            "add images of it or leave it out"
        )
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415 - slow to import

    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    train, valid = list(splitter.split(labels, labels))[index]
    return train, valid


def train_valid_rows(
    dataset: Dataset, data: "DataConfig", seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the training and the validation rows of a recipe, both int64 and ascending.

    Args:
        dataset: labelled images.
        data: the recipe's section that says what is held out.
        seed: the recipe's; `data.split_seed` takes precedence.

    Returns:
        All rows and None if `data.validation` is None; those of `fold_rows` if `data.fold` is
        given, else those of `split_rows`.

    Raises:
        DataError: as `fold_rows` or `split_rows`.
    """
    if data.validation is None or data.folds is None:
        return np.arange(len(dataset)), None
    split_seed = seed if data.split_seed is None else data.split_seed
    if data.fold is None:
        return split_rows(dataset, data.validation, split_seed)
    return fold_rows(dataset, data.folds, data.fold, split_seed)


def kaggle_split(train: Dataset, test: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Return all images of two labelled datasets, shuffled and split as in the competition.

    Of MNIST, these are 42,000 images to train on and 28,000 to predict. The second part keeps its
    labels, which are for scoring alone.

    Raises:
        DataError: labels are missing, or the two differ in classes or image size.
    """
    both = train.concat(test)
    order = np.random.default_rng(seed).permutation(len(both))
    n_train = round(KAGGLE_TRAIN_FRACTION * len(both))
    return both.select(order[:n_train], "train.csv"), both.select(order[n_train:], "test.csv")


def _require_labelled_images(dataset: Dataset) -> NDArray[np.int64]:
    if not len(dataset):
        raise DataError(f"{dataset.name}: has no images, expected some to split")
    return dataset.require_labels()
