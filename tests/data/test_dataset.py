import re

import numpy as np
import pytest

from tenfold.data import DIGITS, Dataset
from tenfold.data.dataset import load_dataset, save_dataset
from tenfold.errors import DataError, TenfoldError


def small(labels: list[int] | None = None, name: str = "small.csv") -> Dataset:
    """Four images of 2 × 2 pixels; image i has the value i throughout."""
    images = np.repeat(np.arange(4, dtype=np.uint8), 4).reshape(4, 2, 2)
    if labels is None:
        return Dataset(images, name=name)
    return Dataset(images, np.array(labels), ("a", "b", "c"), name)


def image_values(dataset: Dataset) -> list[int]:
    """The value of each image of `small`."""
    return dataset.images[:, 0, 0].tolist()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 2, 2)), None, "images are float64 [4, 2, 2], expected uint8 [N, S, S]"),
        (np.zeros((4, 4), np.uint8), None, "images are uint8 [4, 4], expected uint8 [N, S, S]"),
        (np.zeros((4, 2, 3), np.uint8), None, "images are 2 × 3 pixels, expected square ones"),
        (np.zeros((4, 2, 2), np.uint8), np.zeros(3, np.int64), "labels are int64 [3], expected"),
        (np.zeros((4, 2, 2), np.uint8), np.zeros(4), "labels are float64 [4], expected int64 [4]"),
        (np.zeros((4, 2, 2), np.uint8), np.full(4, 3), "labels run from 3 to 3, expected indices"),
        (np.zeros((4, 2, 2), np.uint8), np.full(4, -1), "labels run from -1 to -1, expected"),
    ],
)
def test_invalid_arrays_error_message(images, labels, message):
    with pytest.raises(DataError, match=re.escape(f"small.csv: {message}")):
        Dataset(images, labels, ("a", "b", "c"), "small.csv")


def test_data_error_is_a_value_error():
    with pytest.raises(ValueError, match="expected uint8") as caught:
        Dataset(np.zeros((4, 2, 2)))
    assert isinstance(caught.value, TenfoldError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -2), [3, 1]),
        (slice(9, None), []),
        (2, [2]),
        (-1, [3]),
        (np.array([3, 0, 0]), [3, 0, 0]),
        (np.array([True, False, False, True]), [0, 3]),
    ],
)
def test_getitem_selects_rows(rows, expected):
    found = small([0, 1, 2, 0])[rows]
    assert isinstance(found, Dataset)
    assert image_values(found) == expected
    assert found.require_labels().tolist() == [[0, 1, 2, 0][row] for row in expected]
    assert (found.classes, found.name) == (("a", "b", "c"), "small.csv")
    unlabelled = small()[rows]
    assert image_values(unlabelled) == expected
    assert unlabelled.labels is None


@pytest.mark.parametrize("rows", [4, -5, np.array([0, 4]), np.array([True, False])])
def test_getitem_out_of_range_is_an_index_error(rows):
    with pytest.raises(IndexError):
        small()[rows]


def test_iterating_yields_one_image_datasets():
    assert [image_values(one) for one in small()] == [[0], [1], [2], [3]]


def test_select_can_rename():
    assert small().select(np.array([1]), "part").name == "part"
    assert small().select(np.array([1])).name == "small.csv"


def test_repr_shows_size_and_classes():
    assert repr(small([0, 1, 2, 0])) == "Dataset('small.csv': 4 images of 2 × 2, 3 classes)"
    assert repr(small()[0]) == "Dataset('small.csv': 1 image of 2 × 2, unlabelled)"


def test_label_names_and_class_counts():
    dataset = small([2, 0, 0, 2])
    assert dataset.label_names().tolist() == ["c", "a", "a", "c"]
    assert dataset.class_counts() == {"a": 2, "b": 0, "c": 2}


@pytest.mark.parametrize("method", ["require_labels", "label_names", "class_counts"])
def test_missing_labels_error_message(method):
    with pytest.raises(
        DataError, match=r"small\.csv: has no labels, expected a column called 'label'"
    ):
        getattr(small(), method)()


def test_pixel_statistics(digits):
    assert digits.pixel_counts().sum() == digits.images.size
    assert digits.pixel_counts()[255] == (digits.images == 255).sum()
    mean, std = digits.pixel_mean_and_std()
    assert mean == pytest.approx(digits.images.mean())
    assert std == pytest.approx(digits.images.std())


def test_with_labels_encodes_names():
    found = small().with_labels(np.array(["c", "a", "a", "c"]), ("a", "b", "c"))
    assert found.require_labels().tolist() == [2, 0, 0, 2]
    assert found.classes == ("a", "b", "c")
    assert found.without_labels().labels is None
    with pytest.raises(DataError, match=r"labels are int64 \[1\], expected int64 \[4\]"):
        small().with_labels(np.array(["a"]), ("a",))


def test_with_classes_keeps_the_names():
    dataset = small([2, 0, 0, 2])
    found = dataset.with_classes(("c", "x", "a"))
    assert found.require_labels().tolist() == [0, 2, 2, 0]
    assert found.label_names().tolist() == dataset.label_names().tolist()
    assert dataset.with_classes(("a", "b", "c")) is dataset


def test_with_classes_unknown_name_error_message():
    with pytest.raises(DataError, match=r"small\.csv: has the label 'c', expected one of a, b"):
        small([2, 0, 0, 2]).with_classes(("a", "b"))


def test_concat_appends():
    both = small([0, 1, 2, 0], "one").concat(small([1, 1, 1, 1], "two"))
    assert image_values(both) == [0, 1, 2, 3, 0, 1, 2, 3]
    assert both.require_labels().tolist() == [0, 1, 2, 0, 1, 1, 1, 1]
    assert both.name == "one and two"


def test_concat_mismatch_error_message():
    one = small([0, 1, 2, 0], "one")
    other_classes = Dataset(one.images, one.labels, ("a", "b", "d"), "two")
    with pytest.raises(DataError, match="two: has the classes a, b, d, expected a, b, c as in one"):
        one.concat(other_classes)
    larger = Dataset(np.zeros((1, 3, 3), np.uint8), np.array([0]), one.classes, "two")
    with pytest.raises(DataError, match="two: images are 3 × 3 pixels, expected 2 × 2 as in one"):
        one.concat(larger)
    with pytest.raises(DataError, match="two: has no labels"):
        one.concat(Dataset(one.images, None, one.classes, "two"))


def test_content_hash_depends_on_the_content_alone():
    dataset = small([0, 1, 2, 0])
    assert dataset.content_hash() == small([0, 1, 2, 0], "another name").content_hash()
    others = [
        small(),
        small([0, 1, 2, 1]),
        dataset[::-1],
        dataset[:2],
        Dataset(dataset.images, dataset.labels, ("a", "b", "d")),
    ]
    assert len({each.content_hash() for each in (dataset, *others)}) == 6


def test_saved_dataset_is_loaded_back(digits, tmp_path):
    reference = save_dataset(digits[::2], tmp_path / "data.safetensors")
    assert reference["file"] == "data.safetensors"
    found = load_dataset(tmp_path, reference)
    assert found.content_hash() == digits[::2].content_hash() == reference["sha256"]
    assert (found.classes, found.name) == (DIGITS, "digits")


def test_another_saved_dataset_is_refused(digits, tmp_path):
    reference = save_dataset(digits[:20], tmp_path / "data.safetensors")
    save_dataset(digits[20:40], tmp_path / "data.safetensors")
    with pytest.raises(DataError, match=r"data\.safetensors: holds other images than the job"):
        load_dataset(tmp_path, reference)


def test_unlabelled_datasets_are_not_saved(digits, tmp_path):
    with pytest.raises(DataError, match="has no labels"):
        save_dataset(digits.without_labels(), tmp_path / "data.safetensors")
    assert list(tmp_path.iterdir()) == []
