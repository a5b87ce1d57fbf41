"""Corruption: pictures of digits as bad cameras, scanners and forms leave them, a batch at once.

Five families, drawn anew for every image: a random filter, a blur, spots, curves and bands over the
digit, a grey and uneven background, and noise. Some of the benchmark MNIST-C's corruptions are of
the same kinds (N. Mu and J. Gilmer, arXiv 1906.02337), but none is copied from it: it shall tell
how a network takes to what it was not trained on.
"""

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from tenfold.config import AugmentationConfig
from tenfold.training.strokes import CURVE_POINTS, bezier, draw, uniform

EACH: Final = 0.35  # the probability of each family, for an image that is to be corrupted
BLUR_STD = (0.3, 1.5)  # pixels
NOISE_STD = (0.02, 0.25)  # of the range from paper to ink
MAX_PAPER = 0.6  # the level to which dark paper is lifted, at most
MAX_OCCLUDERS = 3


def corrupt(augmentation: AugmentationConfig, images: Tensor, generator: torch.Generator) -> Tensor:
    """Corrupt each image with the probability `augmentation.corruption`.

    Args:
        augmentation: its `corruption` is the probability.
        images: uint8 [N, S, S], bright strokes on dark paper.
        generator: draws everything; its device is where the images are.

    Returns:
        uint8 [N, S, S]; the images themselves if the probability is 0.
    """
    if not augmentation.corruption:
        return images
    is_chosen = uniform(0, 1, len(images), generator) < augmentation.corruption
    pixels = images / 255
    for change in CORRUPTIONS:
        rows = (is_chosen & (uniform(0, 1, len(images), generator) < EACH)).nonzero()[:, 0]
        if len(rows):
            pixels[rows] = change(pixels[rows], generator).clamp(0, 1)
    return (255 * pixels).round().to(torch.uint8)


# Each takes pixels, float32 [N, S, S] from 0 to 1, and returns as many.


def random_filter(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Mix each image with what a random 3 × 3 filter makes of it: a relief, an outline, a smear.

    Z. Xu, D. Liu, J. Yang, C. Raffel and M. Niethammer, 'Robust and generalizable visual
    representation learning via random convolutions', arXiv 2007.13003. The filter's answer is made
    positive and stretched to the full range. Two of three filters add up to 0: those find edges.
    """
    n, device = len(pixels), pixels.device
    filters = torch.randn(n, 1, 3, 3, generator=generator, device=device)
    filters[n // 3 :] -= filters[n // 3 :].mean(dim=(2, 3), keepdim=True)
    answer = F.conv2d(pixels[None], filters, padding=1, groups=n)[0].abs()
    answer = 1.5 * answer / answer.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    return torch.lerp(pixels, answer.clamp(max=1), uniform(0, 1, (n, 1, 1), generator).sqrt())


def blur(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur each image by a Gaussian, along each axis by its own amount."""
    n = len(pixels)
    distance = torch.arange(-3, 4, device=pixels.device)
    kernels = torch.exp(-distance.square() / (2 * uniform(*BLUR_STD, (2, n, 1), generator) ** 2))
    across, down = kernels / kernels.sum(dim=2, keepdim=True)
    blurred = F.conv2d(pixels[None], across[:, None, None, :], padding=(0, 3), groups=n)
    return F.conv2d(blurred, down[:, None, :, None], padding=(3, 0), groups=n)[0]


def change_contrast(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Lift the paper to a grey that changes slowly across the image, and let the ink fade."""
    n = len(pixels)
    paper = uniform(0, MAX_PAPER, (n, 1, 1), generator)
    paper = paper * (0.5 + 0.5 * smooth_noise(n, 2, pixels.shape[-1], generator))
    ink = paper + (1 - paper) * uniform(0.4, 1, (n, 1, 1), generator)
    return torch.lerp(paper, ink, pixels)


def add_noise(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise: of every pixel to every other image, of patches to the rest."""
    size = pixels.shape[-1]
    noise = torch.randn(pixels.shape, generator=generator, device=pixels.device)
    points = int(torch.randint(4, size // 2, (), generator=generator, device=pixels.device))
    noise[1::2] = 4 * smooth_noise(len(noise[1::2]), points, size, generator) - 2
    return pixels + noise * uniform(*NOISE_STD, (len(pixels), 1, 1), generator)


def occlude(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one to three spots, curves or bands over each image: bright, dark, grey or inverted."""
    n, size = len(pixels), pixels.shape[-1]
    for index in range(MAX_OCCLUDERS):
        middle = uniform(0, size, (n, 1, 2), generator)
        steps = torch.randn(n, 2, 2, generator=generator, device=pixels.device)
        steps[::2, 1] = -steps[::2, 0]  # every other one is straight
        ends = F.normalize(steps, dim=2) * size * uniform(0, 1, (n, 1, 1), generator) ** 2
        control = torch.cat([middle + ends[:, :1], middle, middle + ends[:, 1:]], dim=1)
        radius = 0.4 + 3 * uniform(0, 1, n, generator) ** 2
        radius = radius.where(uniform(0, 1, n, generator) < 1 / (1 + index), -1.0)
        mask = draw(bezier(control, 2 * CURVE_POINTS), radius, size)
        grey = uniform(-0.5, 1.5, (n, 1, 1), generator).clamp(0, 1)
        is_inverted = uniform(0, 1, (n, 1, 1), generator) < 0.4
        pixels = torch.lerp(pixels, torch.where(is_inverted, 1 - pixels, grey), mask)
    return pixels


def smooth_noise(count: int, points: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw fields from 0 to 1, random at `points` a side: float32 [count, size, size]."""
    coarse = uniform(0, 1, (count, 1, points, points), generator)
    return F.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)[:, 0]


CORRUPTIONS: Final[tuple[Callable[[Tensor, torch.Generator], Tensor], ...]] = (
    random_filter,
    blur,
    occlude,
    change_contrast,
    add_noise,
)
