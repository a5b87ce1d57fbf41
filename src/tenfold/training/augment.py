"""Augmentation: new images from old ones, a whole batch at once.

Strokes are made thicker or thinner pixel by pixel (`stroke_width_jitter`). Rotation, shear, zoom, shift and
elastic distortion are one sampling grid (`warp`): one affine map per image, and a smooth random
displacement (Simard, Steinkraus and Platt, 'Best practices for convolutional neural networks
applied to visual document analysis', ICDAR 2003). The grid goes to `Preprocessing.__call__`,
which samples each image once. Last, another image may be laid over each (`mixed`). A mirrored 2
is no digit: nothing flips.
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

    Every other image is written anew (`_dilate_or_erode`), the rest is scanned anew (`_blur_threshold`); a
    batch comes in random order, so its places are as good as coins. Each image is changed by its
    own part of `stroke_pixels`, drawn evenly.

    Args:
        augmentation: its `stroke_pixels` is the largest part.
        images: uint8 [N, S, S], bright strokes on dark paper.
        generator: draws everything; its device is where the images are.

    Returns:
        uint8 [N, S, S]; the images themselves if nothing is to change.
    """
    if not augmentation.stroke_pixels:
        return images
    drawn = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device)
    part = (2 * drawn - 1) * augmentation.stroke_pixels
    ink = images[:, None] / 255
    ink[::2] = _dilate_or_erode(ink[::2], part[::2])
    ink[1::2] = _blur_threshold(ink[1::2], part[1::2])
    return (255 * ink[:, 0]).round().to(torch.uint8)


def _dilate_or_erode(ink: Tensor, part: Tensor) -> Tensor:
    """Move each pixel a part of the way to the brightest of its eight neighbours, or the darkest.

    Grey dilation where `part` is above 0, erosion where it is below.

    Args:
        ink: float32 [N, 1, S, S] in 0 … 1.
        part: float32 [N, 1, 1, 1] in -1 … 1.
    """
    thick = F.max_pool2d(ink, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-ink, 3, stride=1, padding=1)
    return torch.lerp(ink, torch.where(part > 0, thick, thin), part.abs())


def _blur_threshold(ink: Tensor, part: Tensor) -> Tensor:
    """Blur a little, then make dark what is under a level and bright what is over it.

    The edge stays soft: what is a quarter under the level is paper, a quarter over it full ink.
    The level is 0.5 where `part` is 0; 1 lowers it to 0.05 (thick strokes), -1 lifts it to 0.95.
    Shapes as for `_dilate_or_erode`.
    """
    line = torch.tensor([0.25, 0.5, 0.25], device=ink.device)
    soft = F.conv2d(ink, torch.outer(line, line)[None, None], padding=1)
    level = 0.5 - 0.45 * part
    paper, full = (level - 0.25).clamp(min=0), (level + 0.25).clamp(max=1)
    return ((soft - paper) / (full - paper)).clamp(0, 1)


def mixed(
    augmentation: AugmentationConfig,
    images: Tensor,
    labels: Tensor,
    classes: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Lay the next image of the batch faintly over each, and ask for both answers alike.

    H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, 'mixup: beyond empirical risk
    minimization', arXiv 1710.09412; the share is drawn evenly here, and the smaller one is always
    the other's.

    Args:
        augmentation: its `mixup` is the other image's largest share.
        images: float32 [N, 1, S, S].
        labels: int64 [N].
        classes: how many there are.
        generator: draws everything; its device is where the images are.

    Returns:
        float32 [N, 1, S, S] and probabilities, float32 [N, classes].
    """
    drawn = torch.rand(len(images), 1, generator=generator, device=generator.device)
    share = drawn * augmentation.mixup
    wanted = F.one_hot(labels, classes).float()
    return (
        torch.lerp(images, images.roll(1, 0), share[:, :, None, None]),
        torch.lerp(wanted, wanted.roll(1, 0), share),
    )


def warp(
    augmentation: AugmentationConfig,
    count: int,
    size: int,
    generator: torch.Generator,
    *,
    seen_size: int | None = None,
) -> Tensor | None:
    """Draw where each pixel that the network will see is sampled from.

    Args:
        augmentation: largest changes.
        count: number of images.
        size: their height and width in pixels, the unit of `augmentation` where nothing zooms:
            preprocessing's zoom, which comes after, makes its changes smaller by that factor.
        generator: draws everything; its device is where the grid is made.
        seen_size: height and width of what the network will see; None is `size`.

    Returns:
        float32 [count, seen_size, seen_size, 2] for `torch.nn.functional.grid_sample`, or None if
        nothing is to change.
    """
    if not any(augmentation.model_dump(exclude={"stroke_pixels", "mixup", "fade"}).values()):
        return None
    seen_size = seen_size or size
    affine = _affine(augmentation, count, size, generator)
    grid = F.affine_grid(affine, [count, 1, seen_size, seen_size], align_corners=False)
    if augmentation.elastic_pixels:
        bend = _displacement(count, seen_size, generator)
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
