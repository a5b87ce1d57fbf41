"""Outliers: pictures of no digit, drawn here, on which a network learns to be unsure.

D. Hendrycks, M. Mazeika and T. Dietterich, 'Deep anomaly detection with outlier exposure',
arXiv 1812.04606: beside the digits, some images of each batch show something else, and their
target is the same probability for every class. What such a network has never seen gets a low
maximum probability too. No other data are needed: letters come from the fonts in matplotlib's
package, all other outliers from random numbers and from pieces of the batch's own digits.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tenfold.preprocessing import BOX_FRACTION, INK_THRESHOLD, identity_grid
from tenfold.training.corrupt import smooth_noise
from tenfold.training.strokes import bezier, draw, uniform

# Letters and signs that no digit looks like, in most hands: not b, D, g, I, l, O, q, S, Z ...
LETTERS: Final = (
    "ACEFHJKLMNPQRTUVWXYacdefhkmnprtuvwxy" + "ΓΔΛΞΠΣΦΨΩλμπψω" + "ЖИДЦШЩЮЯФЪЫ" + "&?#@%$€£+=*"
)
FONT_PATTERNS: Final = ("DejaVuS*.ttf", "STIXGeneral*.ttf", "cm[bms][0i1st]*10.ttf", "cmr10.ttf")
MAX_STROKES = 5


def outlier_rows(count: int, fraction: float) -> Tensor:
    """Return which rows of a batch are outliers, spread evenly: bool [count]."""
    due = torch.arange(count + 1, dtype=torch.float64) * fraction
    return due[1:].floor() > due[:-1].floor()


def draw_outliers(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw as many outliers of all kinds as there are digits.

    Args:
        digits: uint8 [N, S, S]; some outliers are made from pieces of them.
        generator: draws everything; its device is where the digits are.

    Returns:
        uint8 [N, S, S], bright strokes on dark paper.
    """
    parts = digits.float().div(255).tensor_split(len(OUTLIERS))
    drawn = [
        outliers(part, generator)
        for outliers, part in zip(OUTLIERS, parts, strict=True)
        if len(part)
    ]
    return (255 * torch.cat(drawn)).round().to(torch.uint8)


# Each takes digits, float32 [N, S, S] from 0 to 1, and returns as many outliers.


def letters(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Show letters in many fonts."""
    bank = letter_images(digits.shape[-1]).to(digits.device)
    return bank[_randint(len(bank), len(digits), generator)] / 255


def strokes(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw two to five random curves with one pen: another script."""
    n, size = len(digits), digits.shape[-1]
    control = uniform(0.1 * size, 0.9 * size, (n * MAX_STROKES, 4, 2), generator)
    control[: len(control) // 2, 1:3] = control[: len(control) // 2, ::3]  # straight lines
    order = torch.randperm(len(control), generator=generator, device=digits.device)
    count = 2 + _randint(MAX_STROKES - 1, n, generator)
    radius = uniform(0.6, 2.0, (n, 1), generator).repeat(1, MAX_STROKES)
    is_absent = torch.arange(MAX_STROKES, device=digits.device) >= count[:, None]
    ink = draw(bezier(control[order]), radius.masked_fill(is_absent, -1.0).flatten(), size)
    return fit_like_mnist(ink.view(n, MAX_STROKES, size, size).amax(dim=1))


def scribbles(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one long line with many turns, round or sharp."""
    n, size = len(digits), digits.shape[-1]
    turns = uniform(
        0.1 * size, 0.9 * size, (n, 2, 1, 5 + int(_randint(6, 1, generator))), generator
    )
    smooth = F.interpolate(turns, (1, 96), mode="bicubic", align_corners=True)
    sharp = F.interpolate(turns, (1, 96), mode="bilinear", align_corners=True)
    smooth[::2] = sharp[::2]
    points = smooth[:, :, 0].transpose(1, 2)
    return fit_like_mnist(draw(points, uniform(0.6, 1.8, n, generator), size))


def shuffled_quarters(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Put the quarters of each digit in another order, none where it was."""
    half = digits.shape[-1] // 2
    turn = 1 + int(_randint(3, 1, generator))
    return digits.roll(((turn % 2) * half, (turn // 2) * half), dims=(1, 2))


def turned(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Turn each digit by a quarter and lay it over a digit that is upside down."""
    del generator
    return torch.maximum(digits.rot90(dims=(1, 2)), digits.roll(1, 0).flip(1))


def pairs(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Show two digits side by side in the place of one."""
    del generator
    both = torch.cat([digits, digits.roll(1, 0)], dim=2)
    small = F.avg_pool2d(both[:, None], 2)[:, 0]
    margin = digits.shape[-1] - small.shape[1]
    small = F.pad(small, (0, digits.shape[-1] - small.shape[2], margin // 2, margin - margin // 2))
    return fit_like_mnist(small)


def shapes(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Fill polygons, with a texture: the outlines of things."""
    n, size = len(digits), digits.shape[-1]
    grid = identity_grid(size, digits.device)[0]
    inside = torch.zeros_like(digits)
    for _ in range(2):
        angles = uniform(0, 2 * torch.pi, (n, 5), generator)
        normals = torch.stack([angles.cos(), angles.sin()], dim=2)
        distance = torch.einsum("hwc,nec->nehw", grid, normals)
        edges = uniform(0.15, 0.9, (n, 5, 1, 1), generator)
        convex = ((edges - distance).amin(dim=1) * size / 2 + 0.5).clamp(0, 1)
        inside = torch.maximum(inside, convex)
    texture = smooth_noise(n, 2 + int(_randint(12, 1, generator)), size, generator)
    return inside * torch.lerp(
        texture, torch.ones_like(texture), uniform(0, 1, (n, 1, 1), generator)
    )


def textures(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw noise as coarse or fine as may be, or gratings; every other one in black and white."""
    n, size = len(digits), digits.shape[-1]
    image = smooth_noise(n, 2 + int(_randint(size - 1, 1, generator)), size, generator)
    frequency = uniform(-0.5, 0.5, (n, 2), generator) * size * torch.pi
    phase = torch.einsum("hwc,nc->nhw", identity_grid(size, digits.device)[0], frequency)
    image[::3] = 0.5 + 0.5 * phase[::3].sin()
    level = uniform(0.2, 0.8, (n, 1, 1), generator)
    image[::2] = ((image[::2] - level[::2]) * 8 + 0.5).clamp(0, 1)
    return image


def blanks(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Show empty paper: dark, or of one grey; and paper with a speck."""
    n, size = len(digits), digits.shape[-1]
    paper = uniform(-1, 1, (n, 1, 1), generator).clamp(min=0).expand_as(digits)
    centre = uniform(0, size, (n, 1, 2), generator)
    speck = draw(centre, uniform(-2, 2, n, generator), size)
    return torch.maximum(paper, speck)


OUTLIERS: Final[tuple[Callable[[Tensor, torch.Generator], Tensor], ...]] = (
    letters,
    letters,
    letters,
    strokes,
    strokes,
    scribbles,
    shuffled_quarters,
    turned,
    pairs,
    shapes,
    textures,
    blanks,
)


def fit_like_mnist(ink: Tensor) -> Tensor:
    """Scale each image's ink to a box of 20 pixels of 28, and centre its mass, as MNIST's was.

    Args:
        ink: float32 [N, S, S] from 0 to 1; images without any stay as they are.

    Returns:
        float32 [N, S, S].
    """
    centres = identity_grid(ink.shape[-1], ink.device)[0, 0, :, 0]
    mass = ink.sum(dim=(1, 2)).clamp(min=1e-6)
    longest, middles = torch.zeros_like(mass), []
    for axis in (1, 2):  # over rows: the width; over columns: the height
        is_ink = (ink > INK_THRESHOLD).any(dim=axis)
        extent = centres.where(is_ink, -1.0).amax(dim=1) - centres.where(is_ink, 1.0).amin(dim=1)
        longest = longest.maximum(extent + 2 / ink.shape[-1])
        middles.append((ink.sum(dim=axis) * centres).sum(dim=1) / mass)
    scale = (longest / 2 / BOX_FRACTION).where(longest > 0, 1.0)[:, None, None, None]
    # MNIST's centre is that of the pixel to the right of the middle and below it.
    grid = (identity_grid(ink.shape[-1], ink.device) - 1 / ink.shape[-1]) * scale
    grid = grid + torch.stack(middles, dim=1)[:, None, None, :]
    return F.grid_sample(ink[:, None], grid, align_corners=False)[:, 0]


@cache
def letter_images(size: int) -> Tensor:
    """Return every letter in every font, fitted as MNIST's digits were: uint8 [N, size, size]."""
    from matplotlib import get_data_path  # noqa: PLC0415 - takes half a second
    from matplotlib.ft2font import FT2Font  # noqa: PLC0415

    folder = Path(get_data_path()) / "fonts" / "ttf"
    paths = sorted({path for pattern in FONT_PATTERNS for path in folder.glob(pattern)})
    canvases = []
    for path in paths:
        font = FT2Font(path)
        font.set_size(size, 72)
        for letter in LETTERS:
            if font.get_char_index(ord(letter)):
                font.set_text(letter)
                font.draw_glyphs_to_bitmap()
                canvases.append(_on_canvas(np.asarray(font.get_image()), 2 * size))
    fitted = fit_like_mnist(torch.from_numpy(np.stack(canvases)) / 255)
    return (255 * F.interpolate(fitted[:, None], (size, size), mode="area")[:, 0]).round().byte()


def _on_canvas(glyph: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a glyph, uint8 [H, W], in the middle of an empty square of `size` pixels."""
    glyph = glyph[:size, :size]
    canvas = np.zeros((size, size), np.uint8)
    top, left = (size - glyph.shape[0]) // 2, (size - glyph.shape[1]) // 2
    canvas[top : top + glyph.shape[0], left : left + glyph.shape[1]] = glyph
    return canvas


def _randint(limit: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(limit, (count,), generator=generator, device=generator.device)
