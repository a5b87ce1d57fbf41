"""The loader: the batches of a run, augmented, from images that all stay on the device.

Everything is a function of the recipe's seed and the step, so that a resumed run sees what the
uninterrupted one would have seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.config import AugmentationConfig
from tenfold.data.dataset import DIGITS, Dataset
from tenfold.device import Device
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.training import augment
from tenfold.training.corrupt import corrupt
from tenfold.training.distributed import ProcessGroup
from tenfold.training.outliers import draw_outliers, outlier_rows
from tenfold.training.styles import vary_writing_style

# Streams of random numbers that must not overlap.
ORDER, AUGMENTATION, DROPOUT, STROKES, MIXING, STYLES, OUTLIERS, CORRUPTION = range(8)


def derive_seed(*parts: int) -> int:
    """Mix a recipe's seed, a stream and a counter into one 64-bit seed."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Batch:
    """What one step learns from: this process's shard of the batch.

    Attributes:
        inputs: as the network sees them, float32 [n, 1, s, s].
        targets: labels, int64 [n], or probabilities, float32 [n, classes], with mixup or outliers.
        images: before preprocessing, uint8 [n, S, S], changed but for the grid; for a teacher.
        grid: draws the batch's sampling grid again, for another size of input.
        is_outlier: which images show no digit, bool [n]; None if all of them do.
    """

    inputs: Tensor
    targets: Tensor
    images: Tensor
    grid: Callable[[int | None], Tensor | None]
    is_outlier: Tensor | None = None

    @property
    def labels(self) -> Tensor:
        """The labels, int64 [n]; of a mixture, that of the larger part; of an outlier, any."""
        return self.targets if self.targets.ndim == 1 else self.targets.argmax(dim=1)


class DeviceLoader:
    """The batches of a run.

    Args:
        train_set: labelled images; all of them are kept on the device.
        recipe: of one network.
        device: where to compute.
        group: the processes that share each batch.

    Attributes:
        preprocessing: of the network, with mean and standard deviation of `train_set`.
        batch_size: of the recipe, or all images if there are fewer.
        steps_per_epoch, total_steps: images that do not fill a batch wait for the next epoch.
    """

    def __init__(
        self, train_set: Dataset, recipe: Recipe, device: Device, group: ProcessGroup
    ) -> None:
        self.preprocessing = _preprocessing(recipe, train_set)
        self.batch_size = min(recipe.training.batch_size, len(train_set))
        self.steps_per_epoch = len(train_set) // self.batch_size
        self.total_steps = self.steps_per_epoch * recipe.training.max_epochs
        self._images = device.from_numpy(train_set.images)
        self._labels = device.from_numpy(train_set.require_labels())
        self._n_classes = len(train_set.classes)
        digits = [int(name) if name in DIGITS else -1 for name in train_set.classes]
        self._digits = torch.tensor(digits, device=device.torch_device)
        self._is_outlier: Tensor | None = None
        if fraction := recipe.training.outlier_fraction:
            rows = outlier_rows(self.batch_size, fraction)
            self._is_outlier = rows.to(device.torch_device)
        self._recipe, self._group, self._device = recipe, group, device.torch_device
        self._generator = torch.Generator(device.torch_device)

    def epoch(self, epoch: int, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch in a new order, less the first `skip`."""
        self._seed(ORDER, epoch)
        order = torch.randperm(len(self._images), generator=self._generator, device=self._device)
        batches = torch.split(order, self.batch_size)[: self.steps_per_epoch]
        for index, indices in enumerate(batches[skip:], start=skip):
            yield self.batch(indices, epoch * self.steps_per_epoch + index)

    def first_batch(self) -> Batch:
        """Return the first images of the training set as the first step would see them."""
        return self.batch(torch.arange(self.batch_size, device=self._device), step=0)

    def batch(self, indices: Tensor, step: int) -> Batch:
        """Augment and preprocess the images at `indices`.

        Args:
            indices: int64 [batch_size], rows of the images.
            step: decides on augmentation and, early in a run, on a smaller size.
        """
        augmentation = self._recipe.augmentation.at(step / self.total_steps)
        mixes = self._recipe.augmentation.mixup > 0
        shard = self._group.shard(len(indices))
        part = slice(None) if mixes else shard  # an image may be mixed with one of another shard

        def grid(size: int | None) -> Tensor | None:
            self._seed(AUGMENTATION, step)
            count, image_size = len(indices), self._images.shape[-1]
            drawn = augment.sampling_grid(
                augmentation, count, image_size, self._generator, output_size=size
            )
            return None if drawn is None else drawn[part]

        images = self._pictures(augmentation, indices, step)[part]
        preprocessing = replace(self.preprocessing, size=self._input_size(step))
        inputs, targets = (
            preprocessing(images, grid(preprocessing.size)),
            self._labels[indices[part]],
        )
        if mixes:
            self._seed(MIXING, step)
            inputs, targets = augment.mixup(
                augmentation, inputs, targets, self._n_classes, self._generator
            )
            inputs, targets, images = inputs[shard], targets[shard], images[shard]
        if self._is_outlier is None:
            return Batch(inputs, targets, images, grid)
        is_outlier = self._is_outlier[shard]
        uniform = torch.full((self._n_classes,), 1 / self._n_classes, device=self._device)
        targets = F.one_hot(targets, self._n_classes).float()
        targets = torch.where(is_outlier[:, None], uniform, targets)
        return Batch(inputs, targets, images, grid, is_outlier)

    def _pictures(self, augmentation: AugmentationConfig, indices: Tensor, step: int) -> Tensor:
        """Return the images at `indices`, uint8 [batch_size, S, S], changed but for the grid."""
        self._seed(STYLES, step)
        images, digits = self._images[indices], self._digits[self._labels[indices]]
        images = vary_writing_style(augmentation, images, digits, self._generator)
        if self._is_outlier is not None:
            self._seed(OUTLIERS, step)
            images[self._is_outlier] = draw_outliers(images[self._is_outlier], self._generator)
        self._seed(STROKES, step)
        images = augment.stroke_width_jitter(augmentation, images, self._generator)
        self._seed(CORRUPTION, step)
        return corrupt(augmentation, images, self._generator)

    def _input_size(self, step: int) -> int | None:
        """Return the size that the network sees at `step`; small ones come first."""
        training = self._recipe.training
        sizes = training.progressive_sizes
        stage = int(len(sizes) * step / self.total_steps / training.progressive_fraction)
        return sizes[stage] if stage < len(sizes) else self.preprocessing.size

    def _seed(self, stream: int, counter: int) -> None:
        self._generator.manual_seed(derive_seed(self._recipe.seed, stream, counter))


def _preprocessing(recipe: Recipe, train_set: Dataset) -> Preprocessing:
    config = recipe.preprocessing
    plain = Preprocessing(zoom=config.zoom, size=config.size, alignment=config.alignment)
    if not config.standardize:
        return plain
    mean, std = train_set.pixel_mean_and_std()
    return replace(plain, mean=mean / 255, std=std / 255 or 1.0)
