import numpy as np
import pytest

from tenfold.config import DataConfig
from tenfold.data import (
    Dataset,
    fold_rows,
    kaggle_split,
    split,
    split_rows,
    train_valid_rows,
)
from tenfold.errors import DataError


def with_class_counts(*counts: int) -> Dataset:
    """Images of which counts[i] have the label i."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 2, 2), np.uint8)
    return Dataset(images, labels, tuple("abcdef"[: len(counts)]), "few.csv")


def keys(dataset: Dataset) -> list[bytes]:
    return [image.tobytes() for image in dataset.images]


def test_split_keeps_every_image_in_order(digits):
    train, valid = split(digits, 0.2, seed=0)
    assert (len(train), len(valid)) == (1600, 400)
    position = {key: index for index, key in enumerate(keys(digits))}
    rows = [[position[key] for key in keys(part)] for part in (train, valid)]
    assert all(each == sorted(each) for each in rows)
    assert sorted(rows[0] + rows[1]) == list(range(2000))
    for part, each in zip((train, valid), rows, strict=True):
        assert np.array_equal(part.require_labels(), digits.labels[each])
        assert part.classes == digits.classes


def test_split_is_stratified(digits):
    _, valid = split(digits, 0.1, seed=5)
    counts = np.bincount(valid.require_labels(), minlength=10)
    assert np.abs(counts - 0.1 * np.bincount(digits.labels)).max() <= 1


def test_split_depends_on_the_seed(digits):
    first, again, other = (split(digits, 0.2, seed)[1] for seed in (1, 1, 2))
    assert first.content_hash() == again.content_hash()
    assert first.content_hash() != other.content_hash()


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_invalid_fraction_error_message(digits, fraction):
    with pytest.raises(DataError, match="expected a fraction above 0 and below 1"):
        split(digits, fraction, seed=0)


def test_seed_out_of_range_error_message(digits):
    with pytest.raises(DataError, match="the seed is -1"):
        split(digits, 0.1, seed=-1)


def test_no_labels(digits):
    with pytest.raises(DataError, match="has no labels"):
        split(Dataset(digits.images), 0.1, seed=0)


def test_a_class_with_one_image():
    with pytest.raises(DataError, match=r"few\.csv: class 'b' has 1 image, expected at least 2"):
        split(with_class_counts(20, 1, 20), 0.2, seed=0)


@pytest.mark.parametrize("fraction", [0.05, 0.95])
def test_too_few_images_for_every_class_error_message(fraction):
    with pytest.raises(DataError, match=r"leaves a part with [12], expected .* 3 classes"):
        split(with_class_counts(10, 10, 10), fraction, seed=0)


def test_a_class_without_images_is_allowed():
    train, valid = split(with_class_counts(10, 0, 10), 0.2, seed=0)
    assert (len(train), len(valid)) == (16, 4)


def test_folds_hold_out_every_image_once(digits):
    parts = [fold_rows(digits, 10, index, seed=3) for index in range(10)]
    held_out = np.concatenate([valid for _, valid in parts])
    assert sorted(held_out) == list(range(2000))
    for train, valid in parts:
        assert not set(train) & set(valid)
        assert len(train) + len(valid) == 2000
        per_class = np.bincount(digits.labels[valid], minlength=10)
        assert np.abs(per_class - np.bincount(digits.labels) / 10).max() <= 1


def test_folds_depend_on_the_seed(digits):
    first, again, other = (fold_rows(digits, 5, 0, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_class_too_rare_for_the_folds_error_message():
    with pytest.raises(DataError, match=r"few\.csv: class 'b' has 3 images, expected at least 5"):
        fold_rows(with_class_counts(20, 3, 0, 20), 5, 0, seed=0)


def test_no_images_error_message(digits):
    empty = digits.select(np.arange(0), "empty.csv")
    with pytest.raises(DataError, match=r"empty\.csv: has no images"):
        split(empty, 0.1, seed=0)
    with pytest.raises(DataError, match=r"empty\.csv: has no images"):
        fold_rows(empty, 5, 0, seed=0)


def test_split_defaults(digits):
    default, explicit = split(digits), split(digits, validation=0.1, seed=0)
    for found, expected in zip(default, explicit, strict=True):
        assert found.content_hash() == expected.content_hash()


def assert_same_rows(found, expected):
    for rows, expected_rows in zip(found, expected, strict=True):
        assert rows.dtype == np.int64
        assert np.array_equal(rows, expected_rows)


def test_train_valid_rows_of_a_recipe(digits):
    data = DataConfig(validation=0.2)
    assert_same_rows(train_valid_rows(digits, data, seed=3), split_rows(digits, 0.2, 3))
    one_fold = DataConfig(validation=0.2, fold=4)
    assert_same_rows(train_valid_rows(digits, one_fold, seed=3), fold_rows(digits, 5, 4, 3))


def test_train_valid_rows_prefer_the_split_seed(digits):
    data = DataConfig(validation=0.2, split_seed=7)
    assert_same_rows(train_valid_rows(digits, data, seed=3), split_rows(digits, 0.2, 7))


def test_train_valid_rows_without_validation(digits):
    train, valid = train_valid_rows(digits, DataConfig(validation=None), seed=3)
    assert np.array_equal(train, np.arange(2000))
    assert valid is None


def test_kaggle_split_of_mnist(mnist):
    train, test = kaggle_split(mnist[0], mnist[1], seed=1)
    assert (len(train), len(test)) == (42_000, 28_000)
    labels = np.concatenate([part.labels for part in mnist])
    both = np.concatenate([train.labels, test.labels])
    assert np.array_equal(np.bincount(both), np.bincount(labels))
    assert kaggle_split(mnist[0], mnist[1], seed=1)[0].content_hash() == train.content_hash()
    assert kaggle_split(mnist[0], mnist[1], seed=2)[0].content_hash() != train.content_hash()
    found = set(keys(train)) | set(keys(test))
    assert len(found) == 70_000
    assert found >= set(keys(mnist[0][:500])) | set(keys(mnist[1][:500]))


def test_kaggle_split_requires_labels(digits):
    with pytest.raises(DataError, match="digits: has no labels"):
        kaggle_split(digits, Dataset(digits.images, None, digits.classes, "digits"), seed=0)
