import json

import numpy as np
import pytest

from tenfold.errors import RecognizerError
from tenfold.files import load_arrays, save_arrays
from tenfold.predictions import FORMAT, MAX_HARDEST, Predictions


@pytest.fixture
def probabilities(digits):
    """Confident of the label, but for three images."""
    confident = np.full((len(digits), 10), 0.01, np.float32)
    confident[np.arange(len(digits)), digits.labels] = 0.91
    for row, probability in ((7, 0.2), (40, 0.1), (3, 0.3)):
        confident[row] = (1 - probability) / 9
        confident[row, digits.labels[row]] = probability
    return confident


def test_the_hardest_images_are_kept_hardest_first(digits, probabilities):
    predictions = Predictions.from_probabilities(digits, probabilities)
    assert predictions.hardest[:3].tolist() == [40, 7, 3]
    assert len(predictions.images) == MAX_HARDEST < len(predictions) == 2000
    np.testing.assert_array_equal(predictions.images[1], digits.images[7])


def test_without_labels_the_least_confident_are_the_hardest(digits, probabilities):
    probabilities[11] = 0.1
    predictions = Predictions.from_probabilities(
        digits.without_labels(), probabilities, classes=digits.classes
    )
    assert predictions.labels is None
    assert predictions.hardest[0] == 11
    assert predictions.predicted[5] == digits.labels[5]
    assert predictions.confidence[11] == np.float32(0.1)


def test_they_come_back_from_disk_as_they_were(digits, probabilities, tmp_path):
    member_predictions = np.stack([digits.labels, digits.labels])
    predictions = Predictions.from_probabilities(
        digits,
        probabilities,
        member_predictions=member_predictions,
        indices=np.arange(2000) + 5,
        dataset_sha256="abc",
    )
    predictions.save(tmp_path / "predictions.safetensors")
    again = Predictions.load(tmp_path / "predictions.safetensors")
    for name in (
        "probabilities", "indices", "labels", "hardest", "images", "member_predictions", "sampled",
        "sampled_images",
    ):  # fmt: skip
        np.testing.assert_array_equal(getattr(again, name), getattr(predictions, name))
    assert (again.name, again.dataset_sha256, again.classes) == ("digits", "abc", digits.classes)


def test_a_damaged_file_error_message(digits, probabilities, tmp_path):
    path = tmp_path / "predictions.safetensors"
    Predictions.from_probabilities(digits, probabilities).save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecognizerError, match="checksum"):
        Predictions.load(path)


def test_the_repr_is_short(digits, probabilities):
    known = Predictions.from_probabilities(digits, probabilities)
    assert repr(known) == "Predictions('digits': 2,000 images, labels known)"


def test_without_labels_some_images_of_each_predicted_class_are_kept(digits, probabilities):
    unlabelled = digits.without_labels()
    predictions = Predictions.from_probabilities(unlabelled, probabilities, classes=digits.classes)
    counts = np.bincount(predictions.predicted[predictions.sampled], minlength=10)
    assert counts.tolist() == [12] * 10
    np.testing.assert_array_equal(predictions.sampled_images, digits.images[predictions.sampled])
    assert len(Predictions.from_probabilities(digits, probabilities).sampled) == 0


def test_predictions_of_before_the_samples_can_be_read(digits, probabilities, tmp_path):
    path = tmp_path / "predictions.safetensors"
    Predictions.from_probabilities(digits, probabilities).save(path)
    arrays, description = load_arrays(path, FORMAT)
    for name in ("sampled", "sampled_images"):
        del arrays[name]
    save_arrays(path, arrays, FORMAT, json.loads(description))
    assert len(Predictions.load(path).sampled) == 0
