import pytest
import torch

from tenfold.config import AugmentationConfig
from tenfold.training import corrupt as corruptions
from tenfold.training.corrupt import CORRUPTIONS, corrupt


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits):
    return torch.from_numpy(digits.images[:600])


@pytest.mark.parametrize("change", CORRUPTIONS, ids=lambda change: change.__name__)
def test_each_family_changes_most_images_and_leaves_the_digit_to_be_seen(change, images):
    pixels = images / 255
    changed = change(pixels.clone(), generator()).clamp(0, 1)
    assert changed.shape == pixels.shape
    assert changed.isfinite().all()
    assert (changed != pixels).flatten(1).any(dim=1).float().mean() > 0.9
    both = torch.stack([pixels.flatten(1), changed.flatten(1)])
    centred = both - both.mean(dim=2, keepdim=True)
    alike = (centred[0] * centred[1]).sum(dim=1) / centred.norm(dim=2).prod(dim=0).clamp(min=1e-6)
    assert alike.mean() > 0.6


def test_as_many_are_corrupted_as_was_asked(images):
    changed = corrupt(AugmentationConfig(corruption=0.5), images.repeat(5, 1, 1), generator())
    assert (changed.shape, changed.dtype) == ((3000, 28, 28), torch.uint8)
    is_changed = (changed != images.repeat(5, 1, 1)).flatten(1).any(dim=1).float().mean().item()
    at_least_one = 1 - (1 - corruptions.EACH) ** len(CORRUPTIONS)
    assert is_changed == pytest.approx(0.5 * at_least_one, abs=0.04)


def test_nothing_chosen_is_nothing_done(images):
    assert corrupt(AugmentationConfig(), images, generator()) is images


def test_the_same_seed_draws_the_same(images):
    always = AugmentationConfig(corruption=1)
    one, same, other = (corrupt(always, images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_blur_keeps_the_ink_and_moves_none_of_it(images):
    pixels = images / 255
    blurred = corruptions.blur(pixels, generator())
    assert torch.allclose(blurred.sum(dim=(1, 2)), pixels.sum(dim=(1, 2)), rtol=0.03)
    columns = torch.arange(28.0)
    centres = [
        (each.sum(dim=1) * columns).sum(dim=1) / each.sum(dim=(1, 2)) for each in (pixels, blurred)
    ]
    assert torch.allclose(*centres, atol=0.15)


def test_ink_stays_brighter_than_its_paper(images):
    pixels = images / 255
    changed = corruptions.change_contrast(pixels, generator())
    means = [
        (changed * part).sum(dim=(1, 2)) / part.sum(dim=(1, 2)) for part in (pixels, 1 - pixels)
    ]
    assert (means[0] > means[1]).all()
    assert means[1].max() < 0.7


def test_some_filters_leave_an_outline():
    """Of a filled square the edges are left, and its middle is as dark as the paper."""
    square = torch.zeros(200, 28, 28)
    square[:, 8:20, 8:20] = 1
    changed = corruptions.random_filter(square, generator())
    inside, edge = (
        changed[:, 11:17, 11:17].mean(dim=(1, 2)),
        changed[:, 7:9, 10:18].mean(dim=(1, 2)),
    )
    assert (inside < 0.3).any()
    assert (edge > inside + 0.3).any()
