"""Augmentation: new images from old ones, a whole batch at once.

Strokes are made thicker or thinner pixel by pixel (`stroke_width_jitter`). Rotation, shear, zoom,
shift and elastic distortion are one sampling grid (`sampling_grid`): one affine map per image, and
a smooth random displacement (Simard, Steinkraus and Platt, 'Best practices for convolutional
neural networks applied to visual document analysis', ICDAR 2003). The grid goes to
`Preprocessing.__call__`, which interpolates each image once. Last, images may be mixed (`mixup`).
A mirrored 2 is no digit: nothing flips. Writing styles and corruptions have modules of their own,
`tenfold.training.styles` and `tenfold.training.corrupt`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.config import AugmentationConfig

# The displacement is drawn on this many points a side and interpolated: at 28 pixels that is as
# smooth as Simard's Gaussian of about 4 pixels, for a hundredth of the random numbers.
ELASTIC_POINTS = 5


def stroke_width_jitter(
    augmentation: AugmentationConfig, images: Tensor, generator: torch.Generator
) -> Tensor:
    """Make the strokes of each image thicker or thinner: by another pen, or by another scanner.

    Every other image is dilated or eroded (another pen), the rest is blurred and thresholded
    (another scanner); a batch comes in random order, so this is as good as a coin for each image.
    Each is changed by its own uniform amount of up to `stroke_pixels`.

    Args:
        augmentation: its `stroke_pixels` is the largest amount.
        images: uint8 [N, S, S], bright strokes on dark paper.
        generator: draws everything; its device is where the images are.

    Returns:
        uint8 [N, S, S]; the images themselves if `stroke_pixels` is 0.
    """
    if not augmentation.stroke_pixels:
        return images
    drawn = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device)
    amount = (2 * drawn - 1) * augmentation.stroke_pixels
    ink = images[:, None] / 255
    ink[::2] = _dilate_or_erode(ink[::2], amount[::2])
    ink[1::2] = _blur_threshold(ink[1::2], amount[1::2])
    return (255 * ink[:, 0]).round().to(torch.uint8)


def _dilate_or_erode(ink: Tensor, amount: Tensor) -> Tensor:
    """Move each pixel some of the way to the brightest of its eight neighbours, or the darkest.

    Grey dilation where `amount` is above 0, erosion where it is below.

    Args:
        ink: float32 [N, 1, S, S] in 0 … 1.
        amount: float32 [N, 1, 1, 1] in -1 … 1.
    """
    thick = F.max_pool2d(ink, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-ink, 3, stride=1, padding=1)
    return torch.lerp(ink, torch.where(amount > 0, thick, thin), amount.abs())


def _blur_threshold(ink: Tensor, amount: Tensor) -> Tensor:
    """Blur a little, then threshold softly at a level.

    What is a quarter under the level is paper, what is a quarter over it full ink.
    The level is 0.5 where `amount` is 0; 1 lowers it to 0.05 (thick strokes), -1 lifts it to 0.95.
    Shapes as for `_dilate_or_erode`.
    """
    line = torch.tensor([0.25, 0.5, 0.25], device=ink.device)
    soft = F.conv2d(ink, torch.outer(line, line)[None, None], padding=1)
    level = 0.5 - 0.45 * amount
    paper, full = (level - 0.25).clamp(min=0), (level + 0.25).clamp(max=1)
    return ((soft - paper) / (full - paper)).clamp(0, 1)


def mixup(
    augmentation: AugmentationConfig,
    images: Tensor,
    labels: Tensor,
    n_classes: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Mix each image and its label with the next one of the batch.

    H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, 'mixup: beyond empirical risk
    minimization', arXiv 1710.09412; here the other image's weight is uniform from 0 to
    `augmentation.mixup`, at most a half.

    Args:
        augmentation: its `mixup` is the other image's largest weight.
        images: float32 [N, 1, S, S].
        labels: int64 [N].
        n_classes: how many classes there are.
        generator: draws everything; its device is where the images are.

    Returns:
        float32 [N, 1, S, S] and probabilities, float32 [N, n_classes].
    """
    drawn = torch.rand(len(images), 1, generator=generator, device=generator.device)
    weight = drawn * augmentation.mixup
    targets = F.one_hot(labels, n_classes).float()
    return (
        torch.lerp(images, images.roll(1, 0), weight[:, :, None, None]),
        torch.lerp(targets, targets.roll(1, 0), weight),
    )


def sampling_grid(
    augmentation: AugmentationConfig,
    count: int,
    size: int,
    generator: torch.Generator,
    *,
    output_size: int | None = None,
) -> Tensor | None:
    """Draw where each pixel of the network's input is sampled from.

    Args:
        augmentation: largest changes.
        count: number of images.
        size: their height and width in pixels, the unit of `augmentation` where nothing zooms:
            preprocessing's zoom, which comes after, makes its changes smaller by that factor.
        generator: draws everything; its device is where the grid is made.
        output_size: height and width of the network's input; None is `size`.

    Returns:
        float32 [count, output_size, output_size, 2] for `torch.nn.functional.grid_sample`, or None
        if nothing is to change.
    """
    not_spatial = {"stroke_pixels", "mixup", "writing_styles", "corruption", "strength_decay"}
    if not any(augmentation.model_dump(exclude=not_spatial).values()):
        return None
    output_size = output_size or size
    affine = _affine(augmentation, count, size, generator)
    grid = F.affine_grid(affine, [count, 1, output_size, output_size], align_corners=False)
    if augmentation.elastic_pixels:
        bend = _displacement(count, output_size, generator)
        grid = grid + bend * (augmentation.elastic_pixels * 2 / size)
    return grid


def _affine(
    augmentation: AugmentationConfig, count: int, size: int, generator: torch.Generator
) -> Tensor:
    """Draw maps from output to input coordinates: float32 [count, 2, 3]."""

    def draw(limit: float) -> Tensor:
        uniform = torch.rand(count, generator=generator, device=generator.device)
        return (2 * uniform - 1) * limit

    angle = draw(math.radians(augmentation.rotation_degrees))
    slant = draw(math.radians(augmentation.shear_degrees)).tan()
    # Sampling further apart shrinks the digit, so the factors are those of the input's step.
    wide = 1 / (1 + draw(augmentation.zoom))
    high = 1 / (1 + draw(augmentation.zoom))
    pixel = 2 / size  # grid coordinates run from -1 to 1
    right = draw(augmentation.shift_pixels * pixel)
    down = draw(augmentation.shift_pixels * pixel)

    cos, sin = angle.cos(), angle.sin()
    top = torch.stack([cos * wide, (cos * slant - sin) * high, right], dim=1)
    bottom = torch.stack([sin * wide, (sin * slant + cos) * high, down], dim=1)
    return torch.stack([top, bottom], dim=1)


def _displacement(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw smooth fields of standard deviation about 0.8: float32 [count, size, size, 2]."""
    shape = (count, 2, ELASTIC_POINTS, ELASTIC_POINTS)
    coarse = torch.randn(shape, generator=generator, device=generator.device)
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)
