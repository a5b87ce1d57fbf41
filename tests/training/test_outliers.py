import pytest
import torch

from tenfold.training.outliers import (
    OUTLIERS,
    draw_outliers,
    fit_like_mnist,
    letter_images,
    outlier_rows,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.images[:60])


@pytest.mark.parametrize(("count", "fraction"), [(128, 0.15), (128, 0.5), (10, 0.1), (3, 0.1)])
def test_outliers_are_spread_evenly_over_a_batch(count, fraction):
    is_outlier = outlier_rows(count, fraction)
    assert is_outlier.sum() == int(count * fraction)
    rows = is_outlier.nonzero()[:, 0]
    if len(rows) > 1:
        gaps = rows.diff()
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("outliers", dict.fromkeys(OUTLIERS), ids=lambda each: each.__name__)
def test_each_kind_draws_as_many_as_it_was_given_digits(outliers, images):
    for some in (images, images[:1]):
        drawn = outliers(some / 255, generator())
        assert drawn.shape == some.shape
        assert drawn.isfinite().all()
        assert 0 <= drawn.min() <= drawn.max() <= 1


def test_no_outlier_is_the_digit_that_it_replaces(images):
    drawn = draw_outliers(images, generator())
    assert (drawn.shape, drawn.dtype) == (images.shape, torch.uint8)
    assert (drawn != images).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("count", [1, 5, 60])
def test_the_same_seed_draws_the_same(images, count):
    one, same, other = (draw_outliers(images[:count], generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_letters_come_in_many_fonts_and_fill_the_box_of_mnist():
    letters = letter_images(28)
    assert len(letters) > 1000
    for letter in letters:
        rows, columns = (letter > 25).nonzero().T
        assert 18 <= max(rows.max() - rows.min(), columns.max() - columns.min()) + 1 <= 22
    assert letter_images(14).shape == (len(letters), 14, 14)


def test_mnists_own_digits_fit_already(images):
    """But for the half pixel by which MNIST rounded the centre of mass."""
    fitted = fit_like_mnist(images / 255)
    pixels = torch.arange(28.0)
    for ink, tolerance in ((fitted, 0.05), (images / 255, 0.51)):
        for axis in (1, 2):
            centre = (ink.sum(dim=axis) * pixels).sum(dim=1) / ink.sum(dim=(1, 2))
            assert (centre - 14).abs().max() < tolerance
    heights = [(ink > 0.4).any(dim=2).sum(dim=1) for ink in (fitted, images / 255)]
    assert (heights[0] - heights[1]).abs().max() <= 1


def test_a_small_shape_in_a_corner_is_scaled_and_centred():
    image = torch.zeros(1, 28, 28)
    image[0, 2:12, 1:6] = 1  # ten pixels high
    fitted = fit_like_mnist(image)[0]
    rows, columns = (fitted > 0.75).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 23, 10, 18)
    assert fit_like_mnist(torch.zeros(2, 28, 28)).max() == 0
