import numpy as np
import pytest
import torch

from tenfold.config import AugmentationConfig
from tenfold.preprocessing import Preprocessing
from tenfold.training.augment import mixup, sampling_grid, stroke_width_jitter


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sampled(augmentation, images, seed=0, preprocessing=None):
    images = torch.from_numpy(images)
    grid = sampling_grid(augmentation, len(images), images.shape[-1], generator(seed))
    return (preprocessing or Preprocessing())(images, grid)[:, 0].numpy()


def centre(image):
    rows, columns = np.indices(image.shape)
    return np.array([(rows * image).sum(), (columns * image).sum()]) / image.sum()


def tilt(image):
    """Angle of the ink's main axis to the vertical, in degrees."""
    rows, columns = np.indices(image.shape)
    middle = centre(image)
    y, x = rows - middle[0], columns - middle[1]
    xx, yy, xy = ((a * b * image).sum() for a, b in ((x, x), (y, y), (x, y)))
    return np.degrees(0.5 * np.arctan2(2 * xy, yy - xx))


@pytest.fixture
def bar():
    """An upright bar, the simplest one: [1, 28, 28]."""
    image = np.zeros((28, 28), dtype=np.uint8)
    image[6:22, 13:15] = 255
    return image[None]


def test_nothing_chosen_is_nothing_done():
    assert sampling_grid(AugmentationConfig(), 4, 28, generator()) is None


def test_the_same_seed_draws_the_same(digits):
    augmentation = AugmentationConfig(rotation_degrees=10, elastic_pixels=1)
    images = digits.images[:20]
    one, same, other = (sampled(augmentation, images, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_each_image_is_changed_in_its_own_way(bar):
    many = sampled(AugmentationConfig(rotation_degrees=20), np.repeat(bar, 50, axis=0))
    assert len({image.tobytes() for image in many}) == 50


def test_shift_moves_the_ink_and_no_further_than_asked(bar):
    many = sampled(AugmentationConfig(shift_pixels=3), np.repeat(bar, 400, axis=0))
    moves = np.array([centre(image) for image in many]) - centre(bar[0])
    assert np.abs(moves).max() <= 3.01
    assert np.abs(moves).max() > 2.7
    assert np.abs(moves.mean(axis=0)).max() < 0.3


def test_rotation_turns_the_ink_and_no_further_than_asked(bar):
    many = sampled(AugmentationConfig(rotation_degrees=15), np.repeat(bar, 400, axis=0))
    angles = np.array([tilt(image) for image in many])
    assert np.abs(angles).max() == pytest.approx(15, abs=0.7)
    assert abs(angles.mean()) < 1


def test_zoom_stretches_each_axis_by_its_own_factor():
    square = np.zeros((400, 28, 28), dtype=np.uint8)
    square[:, 9:19, 9:19] = 255
    many = sampled(AugmentationConfig(zoom=0.2), square)
    heights, widths = many.max(axis=2).sum(axis=1), many.max(axis=1).sum(axis=1)
    for sides in (heights, widths):
        assert 7.5 < sides.min() < 8.8
        assert 11.2 < sides.max() < 12.5
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.2


def test_shear_slants_without_changing_the_height(bar):
    many = sampled(AugmentationConfig(shear_degrees=20), np.repeat(bar, 200, axis=0))
    rows = (many > 0.5).any(axis=2).sum(axis=1)
    assert np.abs(rows - 16).max() <= 1
    assert max(abs(tilt(image)) for image in many) == pytest.approx(20, abs=1.5)


def test_strokes_grow_and_shrink_and_no_further_than_asked(bar):
    """A bar two pixels wide and 16 high; one pixel a side makes it 4 × 18, or nothing."""
    bars = torch.from_numpy(np.repeat(bar, 1000, axis=0))
    for most, widest, thinnest in ((1.0, 4.0, 0.0), (0.5, 3.0, 1.0)):
        changed = stroke_width_jitter(AugmentationConfig(stroke_pixels=most), bars, generator())
        assert (changed.shape, changed.dtype) == (bars.shape, torch.uint8)
        widths = changed[:, 14].float().sum(dim=1) / 255
        written, scanned = widths[::2], widths[1::2]
        assert written.max() == pytest.approx(widest, abs=0.05)
        assert written.min() == pytest.approx(thinnest, abs=0.05)
        assert thinnest - 0.05 < scanned.min() < 1.5
        assert 2.5 < scanned.max() < widest + 0.05
        for half in (written, scanned):
            assert half.mean() == pytest.approx(2, abs=0.15)


def test_paper_stays_paper_and_wide_strokes_keep_their_full_ink():
    image = torch.zeros(1000, 28, 28, dtype=torch.uint8)
    image[:, 8:20, 8:20] = 255
    changed = stroke_width_jitter(AugmentationConfig(stroke_pixels=1), image, generator())
    assert changed[:, :6].max() == 0
    assert changed[:, 11:17, 11:17].min() == 255


def test_thicker_strokes_stay_in_the_image():
    corner = torch.zeros(500, 28, 28, dtype=torch.uint8)
    corner[:, 0, 0] = 255
    changed = stroke_width_jitter(AugmentationConfig(stroke_pixels=1), corner, generator())
    assert changed[:, 2:].max() == changed[:, :, 2:].max() == 0
    assert changed[:, 1, 1].max() > 240


def test_without_strokes_to_change_the_images_are_as_they_were(digits):
    images = torch.from_numpy(digits.images[:10])
    assert (
        stroke_width_jitter(AugmentationConfig(rotation_degrees=10), images, generator()) is images
    )
    assert sampling_grid(AugmentationConfig(stroke_pixels=1), 10, 28, generator()) is None


def test_a_mixture_asks_for_both_digits_by_what_it_shows_of_them():
    """Image k is bright in row k alone, so a mixture's rows tell its parts."""
    images = torch.eye(10).repeat(30, 1)[:, None, :, None].expand(-1, -1, -1, 10)
    labels = torch.arange(10).repeat(30)
    shown, targets = mixup(AugmentationConfig(mixup=0.4), images, labels, 10, generator())
    assert torch.equal(shown[:, 0, :, 0], targets)
    assert torch.equal(targets.argmax(dim=1), labels)
    assert torch.allclose(targets.sum(dim=1), torch.ones(300))
    other = targets[torch.arange(300), labels - 1]
    assert 0 <= other.min() < 0.02
    assert 0.38 < other.max() <= 0.4
    assert other.mean().item() == pytest.approx(0.2, abs=0.02)


def test_elastic_bends_smoothly_by_about_what_was_asked():
    grid = sampling_grid(AugmentationConfig(elastic_pixels=1), 500, 28, generator())
    plain = sampling_grid(AugmentationConfig(shift_pixels=1e-9), 500, 28, generator())
    assert grid is not None
    assert plain is not None
    pixels = (grid - plain) * 14
    assert pixels.std().item() == pytest.approx(1, abs=0.35)
    assert (pixels[:, 1:] - pixels[:, :-1]).abs().mean().item() < 0.25


def test_real_digits_keep_their_ink(digits):
    augmentation = AugmentationConfig(
        rotation_degrees=10, shift_pixels=1.5, zoom=0.1, shear_degrees=10, elastic_pixels=0.6
    )
    images = digits.images[:500]
    ink = sampled(augmentation, images).sum(axis=(1, 2)) / (images / 255).sum(axis=(1, 2))
    assert 0.65 < ink.min() < ink.max() < 1.45


def orientation(augmentation):
    """Determinant of the map's derivative at each pixel: positive where nothing is mirrored."""
    grid = sampling_grid(augmentation, 300, 28, generator())
    assert grid is not None
    across, down = grid[:, 1:, 1:] - grid[:, 1:, :-1], grid[:, 1:, 1:] - grid[:, :-1, 1:]
    return across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]


def test_no_digit_is_mirrored():
    affine = AugmentationConfig(rotation_degrees=45, shift_pixels=5, zoom=0.4, shear_degrees=30)
    assert orientation(affine).min() > 0


def test_elastic_hardly_ever_folds_an_image_over():
    assert (orientation(AugmentationConfig(elastic_pixels=0.6)) > 0).float().mean() > 0.9999


def test_zoomed_preprocessing_and_warp_are_one_sampling(digits):
    """A shift of a few pixels is a shift of the zoomed image by that many of its pixels."""
    image = digits.images[:1]
    zoomed = Preprocessing(zoom=1.2)(torch.from_numpy(image))[0, 0].numpy()
    moved = sampled(AugmentationConfig(shift_pixels=2), image, 3, Preprocessing(zoom=1.2))[0]
    distance = np.abs(centre(moved) - centre(zoomed))
    assert 0 < distance.max() <= 2.1


def test_a_smaller_view_shows_the_same_change(digits):
    """The amounts are in pixels of the image, whatever the network sees of it."""
    augmentation = AugmentationConfig(rotation_degrees=20, shift_pixels=3, elastic_pixels=1)
    images = torch.from_numpy(digits.images[:50])
    whole = sampling_grid(augmentation, 50, 28, generator())
    half = sampling_grid(augmentation, 50, 28, generator(), output_size=14)
    large, small = Preprocessing()(images, whole), Preprocessing()(images, half)
    assert small.shape == (50, 1, 14, 14)
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    assert (small - shrunk).abs().mean() < 0.04 < (small - shrunk.roll(1, 0)).abs().mean()


def test_it_fades_evenly_over_the_steps():
    augmentation = AugmentationConfig(rotation_degrees=10, elastic_pixels=0.8, strength_decay=0.5)
    assert augmentation.at(0).rotation_degrees == 10
    assert augmentation.at(0.5).rotation_degrees == 7.5
    assert augmentation.at(1).elastic_pixels == 0.4
    steady = AugmentationConfig(rotation_degrees=10)
    assert steady.at(1) == steady
