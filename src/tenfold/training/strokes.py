"""Strokes: curves drawn with a round pen, a whole batch at once.

Writing styles, occlusions and outliers are drawn with them. Coordinates are pixels, x to the right
and y down from the image's upper left corner, where the first pixel's centre is (0.5, 0.5).
"""

import math

import torch
from torch import Tensor

CURVE_POINTS = 24  # across 28 pixels, that is a dot a pixel and a bit


def draw(points: Tensor, radius: Tensor, size: int) -> Tensor:
    """Draw dots, so close together that they are a stroke.

    Args:
        points: their centres, float32 [N, P, 2].
        radius: of each image's pen in pixels, float32 [N]; at -0.5 or below, nothing is drawn.
        size: height and width of the images in pixels.

    Returns:
        Ink from 0 to 1, soft over one pixel at the edge: float32 [N, size, size].
    """
    centres = torch.arange(size, device=points.device) + 0.5
    across = (centres - points[:, :, :1]).square()
    down = (centres - points[:, :, 1:]).square()
    distance = (down[:, :, :, None] + across[:, :, None, :]).amin(dim=1).sqrt()
    return (radius[:, None, None] - distance + 0.5).clamp(0, 1)


def bezier(control: Tensor, count: int = CURVE_POINTS) -> Tensor:
    """Return points along Bézier curves: float32 [N, count, 2].

    Args:
        control: float32 [N, degree + 1, 2]; two control points make a straight line.
        count: how many points, evenly spaced in the curve's parameter.
    """
    degree = control.shape[1] - 1
    t = torch.linspace(0, 1, count, device=control.device)[:, None]
    k = torch.arange(degree + 1, device=control.device)
    binomial = torch.tensor([math.comb(degree, i) for i in range(degree + 1)], device=t.device)
    weights = binomial * t**k * (1 - t) ** (degree - k)  # Bernstein polynomials
    return weights @ control


def uniform(
    low: float, high: float, shape: int | tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Draw numbers from `low` to `high`: float32 of that shape, on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)
