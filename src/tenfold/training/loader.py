"""Batches: which images a step learns from, and how they look to the network.

All of it is a function of the recipe's seed and the step, so that a resumed run sees what the
uninterrupted one would have seen.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tenfold.data.dataset import Dataset
from tenfold.device import Device
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.training import augment

# Streams of random numbers that must not touch.
ORDER, AUGMENTATION, DROPOUT, STROKES, MIXING = range(5)


def derive_seed(*parts: int) -> int:
    """Mix a recipe's seed, a stream and a counter into one 64-bit seed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


class DeviceLoader:
    """The batches of a run.

    Args:
        train: labelled images; they stay on the machine's device, all of them.
        recipe: of one network.
        machine: where to compute.
    """

    def __init__(self, train: Dataset, recipe: Recipe, device: Device) -> None:
        self.images = device.from_numpy(train.images)
        self.preprocessing = _preprocessing(recipe, train)
        self.size = min(recipe.training.batch_size, len(train))
        self.steps_per_epoch = len(train) // self.size  # the rest waits for the next order
        self.total_steps = self.steps_per_epoch * recipe.training.max_epochs
        self._labels = device.from_numpy(train.require_labels())
        self._classes = len(train.classes)
        self._recipe, self._device = recipe, device.torch_device
        self._generator = torch.Generator(device.torch_device)

    def of_epoch(self, epoch: int) -> tuple[Tensor, ...]:
        """Return the rows of each batch of an epoch, in a new order: int64 [size] each."""
        self._generator.manual_seed(derive_seed(self._recipe.seed, ORDER, epoch))
        order = torch.randperm(len(self.images), generator=self._generator, device=self._device)
        return torch.split(order, self.size)[: self.steps_per_epoch]

    def seen(self, chosen: Tensor, step: int, mine: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return what the network sees of `mine` of the images at `chosen`, and what to answer.

        Args:
            chosen: int64 [size], rows of the images.
            step: decides on augmentation and, early in a run, on a smaller size.
            mine: the share of the batch that is wanted.

        Returns:
            float32 [n, 1, s, s]; labels, int64 [n], or probabilities, float32 [n, classes], where
            `augmentation.mixup` lays one image over another.
        """
        sizes, until = (
            self._recipe.training.progressive_sizes,
            self._recipe.training.progressive_fraction,
        )
        preprocessing = self.preprocessing
        if (stage := int(len(sizes) * step / self.total_steps / until)) < len(sizes):
            preprocessing = replace(preprocessing, size=sizes[stage])
        mixing = self._recipe.augmentation.mixup > 0
        part = slice(None) if mixing else mine  # an image may be mixed with one of another share
        warp = self.warp(len(chosen), step, preprocessing.size, part)
        images = preprocessing(self.stroke_width_jitter(chosen, step, part), warp)
        labels = self._labels[chosen[part]]
        if not mixing:
            return images, labels
        self._generator.manual_seed(derive_seed(self._recipe.seed, MIXING, step))
        augmentation = self._recipe.augmentation.at(step / self.total_steps)
        images, wanted = augment.mixed(augmentation, images, labels, self._classes, self._generator)
        return images[mine], wanted[mine]

    def stroke_width_jitter(self, chosen: Tensor, step: int, mine: slice = slice(None)) -> Tensor:
        """Return `mine` of the images at `chosen`, their strokes changed: uint8 [n, S, S]."""
        self._generator.manual_seed(derive_seed(self._recipe.seed, STROKES, step))
        augmentation = self._recipe.augmentation.at(step / self.total_steps)
        return augment.stroke_width_jitter(augmentation, self.images[chosen], self._generator)[mine]

    def warp(
        self, count: int, step: int, seen_size: int | None, mine: slice = slice(None)
    ) -> Tensor | None:
        """Draw a step's augmentation for `count` images, and return that of `mine`.

        It is the same for whatever size is to be seen.
        """
        self._generator.manual_seed(derive_seed(self._recipe.seed, AUGMENTATION, step))
        augmentation = self._recipe.augmentation.at(step / self.total_steps)
        size = self.images.shape[-1]
        warp = augment.warp(augmentation, count, size, self._generator, seen_size=seen_size)
        return None if warp is None else warp[mine]


def _preprocessing(recipe: Recipe, train: Dataset) -> Preprocessing:
    choices = recipe.preprocessing
    plain = Preprocessing(zoom=choices.zoom, size=choices.size, alignment=choices.alignment)
    if not choices.standardize:
        return plain
    mean, std = train.pixel_mean_and_std()
    return replace(plain, mean=mean / 255, std=std / 255 or 1.0)
