import numpy as np
import pytest

from tenfold.images import decode, explain, segment

from .pages import ink_on_paper, row_of, to_pixels


def test_each_digit_is_shown_enlarged_with_its_probability(digits):
    found = segment(decode(to_pixels(ink_on_paper(row_of(digits.images[:3], gap=30)))))
    probabilities = np.full((3, 10), 0.01, np.float32)
    probabilities[:, 4] = 0.91
    plain, answered = explain(found), explain(found, probabilities)
    assert plain.size == answered.size
    assert np.any(np.asarray(plain) != np.asarray(answered))
    page = np.asarray(plain.convert("L")).astype(int)
    enlarged = found.images[0].repeat(4, axis=0).repeat(4, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(page, enlarged.shape)
    rows, _ = np.nonzero((windows[:, :, ::7, ::7] == enlarged[::7, ::7]).all(axis=(2, 3)))
    assert len(rows) == 1


@pytest.mark.parametrize("shape", [(1, 1), (50, 60), (2000, 30)])
def test_a_blank_page_is_explained_too(shape):
    page = explain(segment(decode(np.full(shape, 255, np.uint8))))
    assert page.mode == "RGB"


def test_many_digits_take_several_rows(digits):
    page = np.vstack([row_of(digits.images[start : start + 6], 60, 12) for start in (0, 6)])
    found = segment(decode(to_pixels(ink_on_paper(page))))
    assert len(found.digits) > 10
    few = segment(decode(to_pixels(ink_on_paper(page[:, :180]))))
    assert explain(found).height > explain(few).height
