import pytest
import torch

from tenfold.config import AugmentationConfig
from tenfold.training.styles import STYLES, vary_writing_style

ALWAYS = AugmentationConfig(writing_styles=1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def written(digits):
    return torch.from_numpy(digits.images), torch.from_numpy(digits.labels)


def test_strokes_are_added_and_none_is_taken_away(written):
    images, labels = written
    changed = vary_writing_style(ALWAYS, images, labels, generator())
    assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)
    assert (changed >= images).all()
    is_new = (changed > images).flatten(1).any(dim=1)
    for digit in (3, 4, 5, 6, 7):
        assert is_new[labels == digit].float().mean() > 0.95
    assert 0.25 < is_new[labels == 0].float().mean() < 0.55  # a slash is rare
    assert is_new[labels == 1].float().mean() > 0.8  # a flag, a base, both or neither


def test_digits_without_another_style_stay(written):
    images, labels = written
    changed = vary_writing_style(ALWAYS, images, labels, generator())
    others = ~torch.isin(labels, torch.tensor(list(STYLES)))
    assert set(labels[others].tolist()) == {2, 8, 9}
    assert torch.equal(changed[others], images[others])
    unknown = torch.full_like(labels, -1)  # what classes that are no digits are
    assert torch.equal(vary_writing_style(ALWAYS, images, unknown, generator()), images)


def test_as_many_are_changed_as_was_asked(written):
    images, labels = written
    sevens = images[labels == 7].repeat(5, 1, 1)
    augmentation = AugmentationConfig(writing_styles=0.3)
    changed = vary_writing_style(augmentation, sevens, torch.full((len(sevens),), 7), generator())
    share = (changed != sevens).flatten(1).any(dim=1).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.06)


def test_a_seven_is_crossed_where_its_stem_is():
    """A stem of two pixels, leaning to the right: the bar's middle follows it."""
    image = torch.zeros(200, 28, 28, dtype=torch.uint8)
    image[:100, 4:24, 8:10] = 255
    image[100:, 4:24, 18:20] = 255
    changed = vary_writing_style(ALWAYS, image, torch.full((200,), 7), generator())
    added = (changed.float() - image).clamp(min=0)
    rows, columns = torch.arange(28.0), torch.arange(28.0)
    assert (added[:, :10].sum() + added[:, 19:].sum()) == 0
    for part, stem in ((added[:100], 8.5), (added[100:], 18.5)):
        mass = part.sum()
        assert ((part.sum(dim=(0, 1)) * columns).sum() / mass).item() == pytest.approx(stem, abs=1)
        assert 12 < ((part.sum(dim=(0, 2)) * rows).sum() / mass).item() < 16


def test_a_one_stands_on_its_base_and_its_flag_falls_to_the_left():
    image = torch.zeros(300, 28, 28, dtype=torch.uint8)
    image[:, 4:24, 13:15] = 255
    changed = vary_writing_style(ALWAYS, image, torch.ones(300, dtype=torch.int64), generator())
    added = (changed.float() - image).clamp(min=0)
    assert added[:, :20, 16:].max() == 0  # nothing is at the right but for the base
    assert added[:, 21:].amax(dim=(1, 2)).gt(0).float().mean() == pytest.approx(0.6, abs=0.1)
    assert added[:, :10, :13].amax(dim=(1, 2)).gt(0).float().mean() == pytest.approx(0.75, abs=0.1)


def test_the_pen_is_as_wide_as_the_digits_own():
    thin, thick = (torch.zeros(200, 28, 28, dtype=torch.uint8) for _ in range(2))
    thin[:, 4:24, 13:15] = 255
    thick[:, 4:24, 12:16] = 255
    sevens = torch.full((200,), 7)
    heights = [
        (vary_writing_style(ALWAYS, image, sevens, generator())[:, :, 11] > 127).sum(dim=1)
        for image in (thin, thick)
    ]
    assert 1 <= heights[0].float().mean() < 2.6
    assert heights[1].float().mean() > heights[0].float().mean() + 1


def test_blank_images_and_nothing_chosen_do_no_harm(written):
    images, labels = written
    assert vary_writing_style(AugmentationConfig(), images, labels, generator()) is images
    blank = torch.zeros(70, 28, 28, dtype=torch.uint8)
    vary_writing_style(ALWAYS, blank, torch.arange(10).repeat(7), generator())


def test_the_same_seed_draws_the_same(written):
    images, labels = written
    one, same, other = (
        vary_writing_style(ALWAYS, images, labels, generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
