"""Augmentation: new images from old ones, as one sampling grid for a whole batch.

Rotation, shear, zoom and shift make one affine map per image; elastic distortion adds a smooth
random displacement (Simard, Steinkraus and Platt, 'Best practices for convolutional neural
networks applied to visual document analysis', ICDAR 2003). The grid goes to
`Preprocessing.__call__`, which samples each image once. A mirrored 2 is no digit: nothing flips.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.choices import Augmentation

# The displacement is drawn on this many points a side and interpolated: at 28 pixels that is as
# smooth as Simard's Gaussian of about 4 pixels, for a hundredth of the random numbers.
ELASTIC_POINTS = 5


def warp(
    augmentation: Augmentation,
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
    if not any(augmentation.model_dump(exclude={"fade"}).values()):
        return None
    seen_size = seen_size or size
    affine = _affine(augmentation, count, size, generator)
    grid = F.affine_grid(affine, [count, 1, seen_size, seen_size], align_corners=False)
    if augmentation.elastic_pixels:
        bend = _displacement(count, seen_size, generator)
        grid = grid + bend * (augmentation.elastic_pixels * 2 / size)
    return grid


def _affine(
    augmentation: Augmentation, count: int, size: int, generator: torch.Generator
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
    """Draw smooth fields of standard deviation near 1: float32 [count, size, size, 2]."""
    shape = (count, 2, ELASTIC_POINTS, ELASTIC_POINTS)
    coarse = torch.randn(shape, generator=generator, device=generator.device)
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)
