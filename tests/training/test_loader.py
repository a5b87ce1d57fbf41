"""What a step learns from: a function of seed and step, whichever process asks."""

import numpy as np
import pytest
import torch

from tenfold.data import Dataset
from tenfold.device import Device
from tenfold.preprocessing import identity_grid
from tenfold.recipe import Recipe
from tenfold.training.distributed import ProcessGroup
from tenfold.training.loader import DeviceLoader

RECIPE = Recipe.load(
    "quick",
    overrides=[
        "training.batch_size=64",
        "training.max_epochs=2",
        "augmentation.stroke_pixels=0.5",
    ],
)


CPU = Device(torch.device("cpu"), "fp32")
FIRST = torch.arange(64)
ALONE = ProcessGroup()


def loader_of(digits, recipe=RECIPE, group=ALONE):
    return DeviceLoader(digits, recipe, CPU, group)


@pytest.fixture
def loader(digits):
    return loader_of(digits)


def test_an_epoch_shows_every_image_once_and_each_another_order(digits):
    """Without augmentation, and with each image's own number as its label."""
    numbered = Dataset(
        digits.images, np.arange(len(digits)), tuple(map(str, range(len(digits)))), "numbered"
    )
    loader = loader_of(numbered)
    first, second = (torch.cat([batch.labels for batch in loader.epoch(epoch)]) for epoch in (0, 1))
    assert len(first) == len(first.unique()) == loader.steps_per_epoch * 64 == 1984
    assert not torch.equal(first, second)
    again = [batch.labels for batch in loader_of(numbered).epoch(1)]
    assert torch.equal(torch.cat(again), second)


def test_an_epoch_can_be_resumed_in_the_middle(loader, digits):
    whole = list(loader.epoch(1))[20:]
    rest = list(loader_of(digits).epoch(1, skip=20))
    assert len(rest) == len(whole) == 11
    for one, other in zip(whole, rest, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_a_shard_is_that_part_of_the_batch(loader, digits):
    whole = loader.batch(FIRST, 5)
    shard = loader_of(digits, group=ProcessGroup(1, 2)).batch(FIRST, 5)
    assert torch.equal(shard.inputs, whole.inputs[32:])
    assert torch.equal(shard.targets, whole.targets[32:])
    assert torch.equal(shard.images, whole.images[32:])
    assert torch.equal(shard.grid(24), whole.grid(24)[32:])


def test_a_shard_of_mixed_images_is_that_part_of_the_batch_too(digits):
    recipe = RECIPE.with_overrides({"augmentation": {"mixup": 0.5}})
    loader = loader_of(digits, recipe)
    whole = loader.batch(FIRST, 5)
    shard = loader_of(digits, recipe, ProcessGroup(1, 2)).batch(FIRST, 5)
    assert torch.equal(shard.inputs, whole.inputs[32:])
    assert torch.equal(shard.targets, whole.targets[32:])
    assert not torch.equal(whole.targets, loader.batch(FIRST, 6).targets)
    last = loader.batch(FIRST, loader.total_steps).targets
    left = 0.5 * (1 - RECIPE.augmentation.strength_decay)
    assert 0.8 * left < 1 - last.amax(dim=1).min() < 1.01 * left


def test_the_label_of_a_mixture_is_that_of_the_larger_part(digits):
    recipe = RECIPE.with_overrides({"augmentation": {"mixup": 0.5}})
    mixed, plain = (loader_of(digits, each).batch(FIRST, 0) for each in (recipe, RECIPE))
    assert torch.equal(mixed.labels, plain.labels)


def test_images_are_small_at_first(loader):
    half = loader.total_steps // 2
    sizes = [loader.batch(FIRST, step).inputs.shape[-1] for step in (0, half - 1, half + 1)]
    assert sizes == [20, 20, 24]


def test_augmentation_decays(loader):
    def strength(step):
        grid = loader.batch(torch.arange(1000), step).grid(None)
        return float((grid - identity_grid(28, grid.device)).abs().mean())

    left = 1 - RECIPE.augmentation.strength_decay
    assert strength(loader.total_steps) / strength(0) == pytest.approx(left, rel=0.15)


def test_strokes_change_anew_at_each_step_and_less_towards_the_end(loader, digits):
    rows = torch.arange(1000)
    first, again, next_ = (loader.batch(rows, step).images for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, next_)
    plain = torch.from_numpy(digits.images[:1000]).float()

    def change(step):
        difference = (loader.batch(rows, step).images.float() - plain).abs()
        return difference[::2].mean(), difference[1::2].mean()

    (dilated, blurred), (dilated_last, blurred_last) = change(0), change(loader.total_steps)
    left = 1 - RECIPE.augmentation.strength_decay
    assert dilated_last / dilated == pytest.approx(left, rel=0.15)
    assert blurred_last / blurred < left + 0.25  # the blur and the soft edge stay


def test_pixels_are_standardized_by_the_training_images(digits):
    plain = Recipe.load("surma", overrides=["preprocessing.standardize=true"])
    found = loader_of(digits, plain).preprocessing
    assert found.mean == pytest.approx(digits.images.mean() / 255)
    assert found.std == pytest.approx(digits.images.std() / 255)
    flat = type(digits)(np.zeros((4, 8, 8), np.uint8), np.arange(4), digits.classes, "flat")
    assert loader_of(flat, plain).preprocessing.std == 1


ROBUST = Recipe.load("robust", overrides=["training.batch_size=64", "training.max_epochs=2"])


def test_outliers_have_no_label_and_the_same_probability_for_every_class(digits):
    batch = loader_of(digits, ROBUST).batch(FIRST, 5)
    assert batch.is_outlier.sum() == int(64 * ROBUST.training.outlier_fraction)
    assert torch.allclose(batch.targets[batch.is_outlier], torch.tensor(0.1))
    labels = torch.from_numpy(digits.labels[:64])
    assert torch.equal(batch.labels[~batch.is_outlier], labels[~batch.is_outlier])
    assert batch.targets[~batch.is_outlier].amax(dim=1).min() == 1


def test_a_shard_with_outliers_is_that_part_of_the_batch_too(digits):
    whole = loader_of(digits, ROBUST).batch(FIRST, 5)
    shard = loader_of(digits, ROBUST, ProcessGroup(1, 2)).batch(FIRST, 5)
    for name in ("inputs", "targets", "images", "is_outlier"):
        assert torch.equal(getattr(shard, name), getattr(whole, name)[32:])


def test_styles_and_corruptions_are_drawn_from_seed_and_step(digits):
    loader = loader_of(digits, ROBUST)
    one, same, other = (loader.batch(FIRST, step).images for step in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(
        loader.batch(FIRST, 5).images, loader_of(digits, ROBUST).batch(FIRST, 5).images
    )


def test_letters_have_no_writing_styles_of_digits(digits):
    """Class 7 called "h" is not crossed."""
    letters = Dataset(digits.images, digits.labels, tuple("abcdefghij"), "letters")
    recipe = RECIPE.with_overrides({"augmentation": {"writing_styles": 1.0, "stroke_pixels": 0.0}})
    assert torch.equal(
        loader_of(letters, recipe).batch(FIRST, 0).images, torch.from_numpy(digits.images[:64])
    )
    assert not torch.equal(
        loader_of(digits, recipe).batch(FIRST, 0).images, torch.from_numpy(digits.images[:64])
    )
