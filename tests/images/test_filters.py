"""Filters on grey images."""

import numpy as np
import pytest

from tenfold.images.filters import grow


@pytest.mark.parametrize("radius", [0, 0.7, 1, 1.5, 2, 3.7, 9, 20])
def test_grow_is_the_maximum_over_a_disc(digits, radius):
    grey = digits.images[0].astype(np.float32) / 255
    rows, columns = np.indices(grey.shape)
    for row, column in [(0, 0), (3, 20), (14, 14), (27, 27)]:
        is_near = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        assert grow(grey, radius)[row, column] == grey[is_near].max()
