import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from tenfold.data import Dataset, check


def edited(
    digits: Dataset, edit: Callable[[NDArray[np.uint8], NDArray[np.int64]], None]
) -> Dataset:
    """A copy of `digits`, called train.csv, after `edit` has changed its images and labels."""
    images, labels = digits.images.copy(), digits.require_labels().copy()
    edit(images, labels)
    return Dataset(images, labels, digits.classes, "train.csv")


def test_mnist_has_no_problems(mnist):
    report = check(*mnist)
    assert report.problems == report.notes == ()
    assert report.overlap == ()
    assert report.test is not None
    assert (report.train.rows, report.test.rows) == (60_000, 10_000)
    assert report.train.class_counts["1"] == 6742
    assert sum(report.train.class_counts.values()) == 60_000
    assert (report.train.pixel_min, report.train.pixel_max) == (0, 255)
    assert report.train.pixel_mean == pytest.approx(mnist[0].images.mean())
    assert report.train.pixel_std == pytest.approx(mnist[0].images.std())
    assert report.train.ink_fraction == pytest.approx((mnist[0].images > 0).mean())
    assert report.train.duplicates == report.test.duplicates == ()
    assert report.train.chi_square_p is not None
    assert report.train.chi_square_p < 1e-6


def test_json_and_text_output(digits):
    report = check(digits, digits.select(np.arange(5), "test.csv"))
    found = json.loads(json.dumps(report.to_json()))
    assert found["missing_values"] == 0
    assert found["train"]["class_counts"] == report.train.class_counts
    assert len(found["overlap"]) == 5
    lines = report.lines()
    assert lines[0].startswith("problem: test.csv: 5 images also in digits")
    assert any("5 of 5 images are also in digits" in line for line in lines)
    assert "digits: images per class: 0: 191, 1: 220," in " ".join(lines)
    assert "missing values: none (blank cells are rejected)" in lines
    assert all("\n" not in line for line in lines)


def test_blank_and_constant_images(digits):
    def edit(images, _):
        images[3], images[8] = 0, 77

    report = check(edited(digits, edit))
    assert report.train.blank == (3,)
    assert report.train.constant == (8,)
    assert report.problems == ()
    assert "train.csv: 1 blank image (3)" in report.notes


def test_duplicates_and_conflicts(digits):
    assert check(digits).train.duplicates == ()

    def edit(images, labels):
        images[[10, 900]], labels[[10, 900]] = images[4], labels[4]
        images[1500], labels[1500] = images[2], (labels[2] + 1) % 10

    report = check(edited(digits, edit))
    assert report.train.duplicates == ((2, 1500), (4, 10, 900))
    assert report.train.conflicts == ((2, 1500),)
    assert len(report.problems) == 1
    assert (
        "1 group of identical images with different labels (images 2, 1500), expected"
        in report.problems[0]
    )
    assert any(
        "2 groups of identical images (images 2, 1500; 1 more group)" in note
        for note in report.notes
    )


def test_overlap_gives_both_indices(digits):
    train = digits.select(np.arange(1000), "train.csv")
    test = digits.select(np.array([1500, 7, 1600, 999]), "test.csv")
    report = check(train, test)
    assert report.overlap == ((7, 1), (999, 3))
    assert "2 images also in train.csv (train = test: 7 = 1, 999 = 3)" in report.problems[0]


def test_inverted_images_are_a_problem(digits):
    def edit(images, _):
        images[:] = 255 - images

    report = check(edited(digits, edit))
    assert report.train.inverted
    assert "--invert inverts the pixels" in report.problems[0]
    assert not check(digits).train.inverted


def test_different_image_sizes_are_a_problem(digits):
    small = Dataset(digits.images[:50, 4:24, 4:24], name="test.csv")
    report = check(digits, small)
    assert report.overlap == ()
    assert "test.csv: images are 20 × 20 pixels, expected 28 × 28" in report.problems[0]


def test_single_class_is_a_problem_and_rare_classes_are_noted(digits):
    ones = digits.select(np.flatnonzero(digits.labels == 1))
    assert any("all labels are the same" in problem for problem in check(ones).problems)
    few = [note for note in check(ones).notes if "too few to train on" in note]
    assert few == [
        "digits: 9 classes have fewer than 10 images ('0', '2', '3', '4', '5' and 4 more), "
        "too few to train on"
    ]
    rare = digits.select(np.flatnonzero((digits.labels != 3) | (np.arange(2000) < 50)))
    assert sum("class '3' has" in note for note in check(rare).notes) == 1


def test_ten_for_zero_is_a_problem(digits):
    names = digits.label_names()
    names[names == "0"] = "10"
    classes = tuple(map(str, range(1, 11)))
    report = check(digits.with_labels(names, classes))
    assert report.problems == (
        "digits: labels run to 10 and none is 0, expected 0 to 9: 10 is perhaps the digit 0, as in "
        "MATLAB, and would be predicted as 10",
    )
    assert check(digits).problems == ()


def test_four_values_of_a_pixel_are_a_problem(digits):
    wide = digits.images.reshape(2000, -1).repeat(4, axis=1).reshape(2000, 56, 56)
    report = check(Dataset(wide, digits.labels, digits.classes, "train.csv"))
    assert "seem to be colour images of 28 × 28 pixels" in report.problems[0]
    large = digits.images.repeat(2, axis=1).repeat(2, axis=2)
    assert check(Dataset(large, digits.labels, digits.classes, "train.csv")).problems == ()


def test_ids_as_labels_are_a_problem_in_one_line(digits):
    ids = Dataset(digits.images, np.arange(2000), tuple(map(str, range(2000))), "train.csv")
    report = check(ids)
    assert "2,000 images have 2,000 different labels" in report.problems[0]
    assert len(report.notes) == 1


def test_some_inverted_images_are_noted(digits):
    def edit(images, _):
        images[::4] = 255 - images[::4]

    report = check(edited(digits, edit))
    assert any("500 images with ink as bright as the paper" in note for note in report.notes)
    assert report.problems == ()


def test_images_on_another_scale_are_noted(digits):
    faint = Dataset(digits.images // 16, digits.labels, digits.classes, "train.csv")
    assert any("no pixel is above 15, expected up to 255" in note for note in check(faint).notes)


@pytest.mark.parametrize("counts", [(5, 7, 9), (10, 10), (1, 900), range(1, 101), (3, 4) * 500])
def test_chi_square_is_scipys(counts):
    images = np.zeros((sum(counts), 4, 4), np.uint8)
    labels = np.repeat(np.arange(len(counts)), counts)
    stats = check(Dataset(images, labels, tuple(map(str, range(len(counts)))))).train
    expected = chisquare(list(counts))
    assert stats.chi_square == pytest.approx(expected.statistic)
    assert stats.chi_square_p == pytest.approx(expected.pvalue, rel=1e-9)


def test_chi_square_of_balanced_classes(digits):
    first = [np.flatnonzero(digits.labels == label)[:50] for label in range(10)]
    report = check(digits.select(np.concatenate(first)))
    assert report.train.chi_square == 0
    assert report.train.chi_square_p == 1


def test_unlabelled_and_empty_datasets(digits):
    report = check(Dataset(digits.images))
    assert (report.train.class_counts, report.train.chi_square) == ({}, None)
    empty = Dataset(np.zeros((0, 28, 28), np.uint8), name="none.csv")
    assert check(empty, digits).problems == ("none.csv: has no images, expected at least one",)
