import numpy as np
import pytest

from tenfold.data import Dataset, fold, split
from tenfold.errors import DataError


def of_counts(*counts: int) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 2, 2), np.uint8)
    return Dataset(images, labels, tuple("abcdef"[: len(counts)]), "few.csv")


def keys(dataset: Dataset) -> list[bytes]:
    return [image.tobytes() for image in dataset.images]


def test_every_image_goes_to_one_part_in_order(digits):
    train, valid = split(digits, 0.2, seed=0)
    assert (len(train), len(valid)) == (1600, 400)
    position = {key: index for index, key in enumerate(keys(digits))}
    places = [[position[key] for key in keys(part)] for part in (train, valid)]
    assert all(place == sorted(place) for place in places)
    assert sorted(places[0] + places[1]) == list(range(2000))
    for part, place in zip((train, valid), places, strict=True):
        assert np.array_equal(part.require_labels(), digits.labels[place])
        assert part.classes == digits.classes


def test_classes_keep_their_shares(digits):
    _, valid = split(digits, 0.1, seed=5)
    counts = np.bincount(valid.require_labels(), minlength=10)
    assert np.abs(counts - 0.1 * np.bincount(digits.labels)).max() <= 1


def test_the_seed_decides(digits):
    first, again, other = (split(digits, 0.2, seed)[1] for seed in (1, 1, 2))
    assert first.content_hash() == again.content_hash()
    assert first.content_hash() != other.content_hash()


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_fractions_that_are_none(digits, fraction):
    with pytest.raises(DataError, match="expected a fraction above 0 and below 1"):
        split(digits, fraction, seed=0)


def test_seed_out_of_range(digits):
    with pytest.raises(DataError, match="the seed is -1"):
        split(digits, 0.1, seed=-1)


def test_no_labels(digits):
    with pytest.raises(DataError, match="has no labels"):
        split(Dataset(digits.images), 0.1, seed=0)


def test_a_class_with_one_image():
    with pytest.raises(DataError, match=r"few\.csv: class 'b' has 1 image, expected at least 2"):
        split(of_counts(20, 1, 20), 0.2, seed=0)


@pytest.mark.parametrize("fraction", [0.05, 0.95])
def test_a_part_too_small_for_every_class(fraction):
    with pytest.raises(DataError, match=r"leaves a part with [12], expected .* 3 classes"):
        split(of_counts(10, 10, 10), fraction, seed=0)


def test_a_class_without_images_is_no_obstacle():
    train, valid = split(of_counts(10, 0, 10), 0.2, seed=0)
    assert (len(train), len(valid)) == (16, 4)


def test_over_all_folds_every_image_is_held_out_once(digits):
    parts = [fold(digits, 10, index, seed=3) for index in range(10)]
    held_out = np.concatenate([valid for _, valid in parts])
    assert sorted(held_out) == list(range(2000))
    for train, valid in parts:
        assert not set(train) & set(valid)
        assert len(train) + len(valid) == 2000
        shares = np.bincount(digits.labels[valid], minlength=10)
        assert np.abs(shares - np.bincount(digits.labels) / 10).max() <= 1


def test_the_seed_decides_who_shares_a_fold(digits):
    first, again, other = (fold(digits, 5, 0, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_class_too_rare_for_the_folds():
    with pytest.raises(DataError, match=r"few\.csv: class 'b' has 3 images, expected at least 5"):
        fold(of_counts(20, 3, 0, 20), 5, 0, seed=0)


def test_nothing_cannot_be_divided(digits):
    nothing = digits.select(np.arange(0), "empty.csv")
    with pytest.raises(DataError, match=r"empty\.csv: has no images"):
        split(nothing, 0.1, seed=0)
    with pytest.raises(DataError, match=r"empty\.csv: has no images"):
        fold(nothing, 5, 0, seed=0)
