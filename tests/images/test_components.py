import numpy as np
import pytest
from scipy import ndimage

from tenfold.images.components import connected_components


@pytest.mark.parametrize("share", [0.02, 0.3, 0.45, 0.7])
def test_labels_areas_and_boxes_are_those_of_scipy(share):
    mask = np.random.default_rng(7).random((60, 83)) < share
    expected, n = ndimage.label(mask, np.ones((3, 3)))
    found = connected_components(mask)
    assert len(found) == n
    assert np.array_equal(found.labels, expected)
    assert np.array_equal(found.areas, np.bincount(expected.ravel())[1:])
    boxes = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(expected)]
    assert found.boxes.tolist() == [list(box) for box in boxes]


def test_a_spiral_is_one_component():
    angle = np.linspace(0, 40, 8000)
    mask = np.zeros((200, 200), bool)
    mask[(100 + 2.2 * angle * np.sin(angle)).astype(int), (100 + 2.2 * angle * np.cos(angle)).astype(int)] = True  # fmt: skip  # noqa: E501
    assert len(connected_components(mask)) == 1


def test_runs_at_the_ends_of_rows_do_not_meet():
    mask = np.zeros((3, 4), bool)
    mask[0, 3] = mask[1, 0] = True
    assert len(connected_components(mask)) == 2


def test_an_empty_mask_has_no_components():
    found = connected_components(np.zeros((5, 4), bool))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert not found.labels.any()
