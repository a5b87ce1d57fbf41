"""Writing styles: strokes that other hands add to a digit, drawn onto MNIST's.

Most of MNIST's writers were American. Elsewhere a 1 has a flag and stands on a bar, a 7 is
crossed, a 4 is closed at the top, a 3 is flat there, a 6 is two bows of which the second begins
outside the first, and a 0 may have a slash. Each stroke is drawn where the digit's ink is, with a
pen as wide as its own, in lengths and angles that vary from image to image.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from tenfold.config import AugmentationConfig
from tenfold.preprocessing import INK_THRESHOLD
from tenfold.training.strokes import bezier, draw, uniform

NO_PEN = -1.0  # the radius of a pen that draws nothing


def vary_writing_style(
    augmentation: AugmentationConfig, images: Tensor, digits: Tensor, generator: torch.Generator
) -> Tensor:
    """Write each digit in another style, with the probability `augmentation.writing_styles`.

    Args:
        augmentation: its `writing_styles` is the probability.
        images: uint8 [N, S, S], bright strokes on dark paper.
        digits: what they show, int64 [N]; numbers without a style of their own change nothing.
        generator: draws everything; its device is where the images are.

    Returns:
        uint8 [N, S, S]; the images themselves if the probability is 0.
    """
    if not augmentation.writing_styles:
        return images
    is_chosen = uniform(0, 1, len(images), generator) < augmentation.writing_styles
    ink = images / 255
    for digit, add_strokes in STYLES.items():
        rows = (is_chosen & (digits == digit)).nonzero()[:, 0]
        if len(rows):
            hand = _Hand(ink[rows], generator)
            add_strokes(hand)
            ink[rows] = hand.ink
    return (255 * ink).round().to(torch.uint8)


class _Hand:
    """How digits of one kind are written, and what else their writers might draw.

    Args:
        ink: float32 [N, S, S] from 0 to 1.
        generator: draws everything.

    Attributes:
        top, bottom, left, right: the edges of each digit's ink in pixels, float32 [N].
        height: of each digit, float32 [N], the unit of all lengths.
        pen_radius: half the width of its strokes, float32 [N]: ink by length of its edges.
    """

    def __init__(self, ink: Tensor, generator: torch.Generator) -> None:
        self.ink, self._generator = ink, generator
        is_ink = ink > INK_THRESHOLD
        self.top, self.bottom = _extent(is_ink.any(dim=2))
        self.left, self.right = _extent(is_ink.any(dim=1))
        self.height = self.bottom - self.top
        across, down = ink[:, 1:, 1:] - ink[:, 1:, :-1], ink[:, 1:, 1:] - ink[:, :-1, 1:]
        edge = (across.square() + down.square()).sqrt().sum(dim=(1, 2))
        self.pen_radius = ink.sum(dim=(1, 2)) / edge.clamp(min=1.0)

    def number(self, low: float, high: float) -> Tensor:
        """Draw a number for each digit: float32 [N]."""
        return uniform(low, high, len(self.ink), self._generator)

    def length(self, low: float, high: float) -> Tensor:
        """Draw a part of each digit's height: float32 [N], in pixels."""
        return self.number(low, high) * self.height

    def columns(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return where the ink near the heights `y`, float32 [N], begins, centres and ends."""
        centres = torch.arange(self.ink.shape[-1], device=y.device) + 0.5
        is_near = (centres - y[:, None]).abs() <= 1.5
        band = (self.ink * is_near[:, :, None]).amax(dim=1)  # [N, S]
        left, right = _extent(band > INK_THRESHOLD)
        return left, (band * centres).sum(dim=1) / band.sum(dim=1).clamp(min=1e-6), right

    def tip(self, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and y of the highest ink between the columns `begin` and `end`."""
        centres = torch.arange(self.ink.shape[-1], device=begin.device) + 0.5
        is_between = (centres >= begin[:, None]) & (centres <= end[:, None])
        part = self.ink * is_between[:, None, :]
        y = _extent((part > 0.5).any(dim=2))[0] + self.pen_radius
        is_near = (centres - y[:, None]).abs() <= 1.5
        row = (part * is_near[:, :, None]).sum(dim=1)
        return (row * centres).sum(dim=1) / row.sum(dim=1).clamp(min=1e-6), y

    def widest_row(self) -> Tensor:
        """Return the height with the most ink, float32 [N], but for the ends of the digit."""
        centres = torch.arange(self.ink.shape[-1], device=self.top.device) + 0.5
        below = (centres - self.top[:, None]) / self.height[:, None].clamp(min=1.0)
        ink = self.ink.sum(dim=2).where((below > 0.3) & (below < 0.85), 0.0)
        return centres[ink.argmax(dim=1)]

    def add(self, *points: tuple[Tensor, Tensor], probability: float = 1.0) -> None:
        """Draw a curve with these control points, each x and y, with a `probability` each."""
        control = torch.stack([torch.stack(point, dim=1) for point in points], dim=1)
        radius = self.pen_radius * self.number(0.8, 1.2)
        radius = radius.masked_fill(self.number(0, 1) > probability, NO_PEN)
        self.ink = torch.maximum(self.ink, draw(bezier(control), radius, self.ink.shape[-1]))


def _extent(is_ink: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the ink of bool [N, S] begins and ends in pixels: float32 [N] each."""
    size = is_ink.shape[1]
    begin = torch.arange(size, device=is_ink.device, dtype=torch.float32)
    first = begin.where(is_ink, float(size)).amin(dim=1)
    last = (begin + 1).where(is_ink, 0.0).amax(dim=1)
    return first.minimum(last), last


def _slash(hand: _Hand) -> None:
    """Draw a slash through a 0."""
    inset = hand.length(-0.05, 0.15)
    upper = (hand.right - inset, hand.top + hand.length(0.05, 0.25))
    hand.add((hand.left + inset, hand.bottom - hand.length(0.05, 0.25)), upper, probability=0.4)


def _flag_and_base(hand: _Hand) -> None:
    """Draw a flag that falls to the left from the top of a 1, and a bar that it stands on."""
    radius = hand.pen_radius
    top, bottom = hand.top + radius, hand.bottom - radius
    _, x, _ = hand.columns(top)
    _, foot, _ = hand.columns(bottom)
    length = hand.length(0.15, 0.4)
    end = (x - length, top + length * hand.number(0.7, 1.8))
    middle = (x - length * hand.number(0.3, 0.6), top + length * hand.number(0.2, 0.8))
    hand.add((x, top), middle, end, probability=0.75)
    left, right = (foot - hand.length(0.1, 0.35), bottom), (foot + hand.length(0.1, 0.35), bottom)
    hand.add(left, right, probability=0.6)


def _flat_top(hand: _Hand) -> None:
    """Draw a bar along the top of a 3."""
    y = hand.top + hand.pen_radius
    hand.add((hand.left, y), (hand.right - hand.length(0, 0.15), y + hand.length(0, 0.06)))


def _closed_top(hand: _Hand) -> None:
    """Join the two tops of a 4, and draw its bar past the stem: without that it would be a 9."""
    middle = (hand.left + hand.right) / 2
    hand.add(hand.tip(hand.left, middle), hand.tip(middle, hand.right))
    y = hand.widest_row()
    _, x, right = hand.columns(y)
    hand.add((x, y), (right + hand.length(0.1, 0.25), y - hand.length(-0.05, 0.1)))


def _long_top(hand: _Hand) -> None:
    """Draw the top bar of a 5 further to the right."""
    y = hand.top + hand.pen_radius
    left, _, _ = hand.columns(y)
    hand.add((left, y), (hand.right + hand.length(0, 0.12), y - hand.length(-0.05, 0.1)))


def _second_bow(hand: _Hand) -> None:
    """Begin the second bow of a 6 outside the first, to its left."""
    y = hand.top + hand.length(0.4, 0.6)
    left, middle, _ = hand.columns(y)
    start = (left - hand.length(0.03, 0.15), y + hand.length(-0.1, 0.15))
    hand.add(start, (left + hand.length(0, 0.15), y - hand.length(0, 0.1)), (middle, y))


def _crossbar(hand: _Hand) -> None:
    """Cross a 7."""
    y = hand.top + hand.length(0.4, 0.65)
    _, x, _ = hand.columns(y)
    tilt = hand.length(-0.06, 0.06)
    hand.add((x - hand.length(0.12, 0.35), y + tilt), (x + hand.length(0.12, 0.35), y - tilt))


STYLES: Final[Mapping[int, Callable[[_Hand], None]]] = {
    0: _slash,
    1: _flag_and_base,
    3: _flat_top,
    4: _closed_top,
    5: _long_top,
    6: _second_bow,
    7: _crossbar,
}
