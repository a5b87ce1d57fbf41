"""What a step learns from: a function of seed and step, whoever asks for which part."""

import numpy as np
import pytest
import torch

from tenfold.device import Device
from tenfold.preprocessing import identity_grid
from tenfold.recipe import Recipe
from tenfold.training.loader import DeviceLoader

RECIPE = Recipe.load(
    "quick",
    overrides=[
        "training.batch_size=64",
        "training.max_epochs=2",
        "augmentation.stroke_pixels=0.5",
    ],
)


@pytest.fixture
def batches(digits):
    return DeviceLoader(digits, RECIPE, Device(torch.device("cpu"), "fp32"))


def test_an_epoch_shows_every_image_once_and_each_another_order(batches, digits):
    first, second = (torch.cat(batches.of_epoch(epoch)) for epoch in (0, 1))
    assert len(first) == len(first.unique()) == batches.steps_per_epoch * 64 == 1984
    assert not torch.equal(first, second)
    again = DeviceLoader(digits, RECIPE, Device(torch.device("cpu"), "fp32"))
    assert torch.equal(torch.cat(again.of_epoch(1)), second)


def test_a_share_is_that_part_of_the_batch(batches):
    chosen = batches.of_epoch(0)[0]
    images, labels = batches.seen(chosen, 5)
    mine, its = batches.seen(chosen, 5, slice(32, 64))
    assert torch.equal(mine, images[32:])
    assert torch.equal(its, labels[32:])


def test_a_share_of_mixed_images_is_that_part_of_the_batch_too(digits):
    recipe = RECIPE.with_overrides({"augmentation": {"mixup": 0.5}})
    batches = DeviceLoader(digits, recipe, Device(torch.device("cpu"), "fp32"))
    chosen = batches.of_epoch(0)[0]
    images, wanted = batches.seen(chosen, 5)
    mine, its = batches.seen(chosen, 5, slice(32, 64))
    assert torch.equal(mine, images[32:])
    assert torch.equal(its, wanted[32:])
    _, next_ = batches.seen(chosen, 6)
    assert not torch.equal(wanted, next_)
    _, last = batches.seen(chosen, batches.total_steps)
    faded = 0.5 * (1 - RECIPE.augmentation.strength_decay)
    assert 0.8 * faded < 1 - last.amax(dim=1).min() < 1.01 * faded


def test_images_are_small_at_first(batches):
    chosen = batches.of_epoch(0)[0]
    half = batches.total_steps // 2
    sizes = [batches.seen(chosen, step)[0].shape[-1] for step in (0, half - 1, half + 1)]
    assert sizes == [20, 20, 24]


def test_augmentation_fades(batches):
    def strength(step):
        warp = batches.warp(1000, step, None)
        return float((warp - identity_grid(28, warp.device)).abs().mean())

    fade = RECIPE.augmentation.strength_decay
    last = strength(batches.total_steps)
    assert last / strength(0) == pytest.approx(1 - fade, rel=0.15)


def test_strokes_change_anew_at_each_step_and_less_towards_the_end(batches):
    chosen = torch.arange(1000)
    first, again, next_ = (batches.stroke_width_jitter(chosen, step) for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, next_)

    def change(step):
        apart = (batches.stroke_width_jitter(chosen, step).float() - batches.images[:1000]).abs()
        return apart[::2].mean(), apart[1::2].mean()

    (written, scanned), (written_last, scanned_last) = change(0), change(batches.total_steps)
    left = 1 - RECIPE.augmentation.strength_decay
    assert written_last / written == pytest.approx(left, rel=0.15)
    assert scanned_last / scanned < left + 0.25  # its blur and its edge stay


def test_pixels_are_standardized_by_the_images_learned(digits):
    plain = Recipe.load("surma", overrides=["preprocessing.standardize=true"])
    found = DeviceLoader(digits, plain, Device(torch.device("cpu"), "fp32")).preprocessing
    assert found.mean == pytest.approx(digits.images.mean() / 255)
    assert found.std == pytest.approx(digits.images.std() / 255)
    flat = type(digits)(np.zeros((4, 8, 8), np.uint8), np.arange(4), digits.classes, "flat")
    assert DeviceLoader(flat, plain, Device(torch.device("cpu"), "fp32")).preprocessing.std == 1
