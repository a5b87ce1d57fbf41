import numpy as np
import pytest

from tenfold.errors import RecognizerError
from tenfold.predictions import MAX_HARDEST, Predictions


@pytest.fixture
def probabilities(digits):
    """Nearly sure of the truth, but for three images."""
    sure = np.full((len(digits), 10), 0.01, np.float32)
    sure[np.arange(len(digits)), digits.labels] = 0.91
    for row, right in ((7, 0.2), (40, 0.1), (3, 0.3)):
        sure[row] = (1 - right) / 9
        sure[row, digits.labels[row]] = right
    return sure


def test_the_hardest_images_are_kept_hardest_first(digits, probabilities):
    answers = Predictions.from_probabilities(digits, probabilities)
    assert answers.hardest[:3].tolist() == [40, 7, 3]
    assert len(answers.images) == MAX_HARDEST < len(answers) == 2000
    np.testing.assert_array_equal(answers.images[1], digits.images[7])


def test_without_truth_the_least_sure_are_the_hardest(digits, probabilities):
    probabilities[11] = 0.1
    answers = Predictions.from_probabilities(
        digits.without_labels(), probabilities, classes=digits.classes
    )
    assert answers.labels is None
    assert answers.hardest[0] == 11
    assert answers.predicted[5] == digits.labels[5]
    assert answers.confidence[11] == np.float32(0.1)


def test_they_come_back_from_disk_as_they_were(digits, probabilities, tmp_path):
    votes = np.stack([digits.labels, digits.labels])
    answers = Predictions.from_probabilities(
        digits, probabilities, votes=votes, rows=np.arange(2000) + 5, data="abc"
    )
    answers.save(tmp_path / "answers.safetensors")
    again = Predictions.load(tmp_path / "answers.safetensors")
    for name in ("probabilities", "rows", "labels", "shown", "images", "votes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(answers, name))
    assert (again.name, again.data, again.classes) == ("digits", "abc", digits.classes)


def test_a_damaged_file_is_a_sentence(digits, probabilities, tmp_path):
    path = tmp_path / "answers.safetensors"
    Predictions.from_probabilities(digits, probabilities).save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecognizerError, match="checksum"):
        Predictions.load(path)
