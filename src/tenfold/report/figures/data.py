"""Figures of the data: class counts, samples, augmentation, mean images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.formatting import pluralize
from tenfold.report.figures.style import (
    AMBER,
    BLUE,
    MAX_CLASSES,
    TEXT,
    as_ink,
    class_labels,
    drawing,
    mosaic,
    set_class_ticks,
    show_ink,
    shown_part,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLES_PER_CLASS = 12
CAPTION_CHARACTERS = 105  # that fit below a figure of ten inches


def class_balance(
    counts: Mapping[str, int], validation_counts: Mapping[str, int] | None, title: str
) -> Figure:
    """Draw how many images each class has, compared with equal class frequencies.

    Args:
        counts: images of each class in the training part, or in all data.
        validation_counts: images of each class held out for validation, drawn below.
        title: of the figure.
    """
    parts = {"all": counts}
    if validation_counts is not None:
        parts = {"training": counts, "validation": validation_counts}
    note = "Dashed: the count per class if all classes were equally frequent."
    note += shown_part(len(counts))
    shown = list(islice(counts, MAX_CLASSES))
    width = float(np.clip(0.28 * len(shown), 8, 18))
    with drawing(width, 1 + 2.7 * len(parts), title, note) as figure:
        panels = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, part), colour in zip(panels, parts.items(), (BLUE, AMBER), strict=False):
            _draw_bars(axes, part, colour)
            axes.set_title(f"{name}: {pluralize(sum(part.values()), 'image')}", color=colour)
        set_class_ticks(panels[-1], shown)
    return figure


def _draw_bars(axes: Axes, counts: Mapping[str, int], colour: str) -> None:
    uniform = sum(counts.values()) / len(counts)
    heights = list(counts.values())[:MAX_CLASSES]
    top = max(*heights, uniform, 1)
    is_crowded = len(heights) > 16
    axes.bar(range(len(heights)), heights, color=colour, width=0.8)
    for index, height in enumerate(heights):
        fits = height > 0.3 * top
        axes.annotate(
            f"{height:,}",
            (index, 0 if fits else height),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=90 if is_crowded else 0,
            fontsize=7 if is_crowded else 9,
            color="white" if fits else TEXT,
        )
    axes.axhline(uniform, color=TEXT, linewidth=1, linestyle=(0, (4, 3)))
    text = f"{uniform:,.0f}\nif uniform"
    axes.text(1.01, uniform, text, va="center", transform=axes.get_yaxis_transform())
    axes.set(yticks=[], xlim=(-0.6, len(heights) - 0.4), ylim=(0, 1.08 * top))
    axes.tick_params(axis="x", length=0)
    axes.spines["left"].set_visible(False)


def sample_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    drawn_from: int | None = None,
) -> Figure:
    """Draw twelve random images of each class, one row per class; the same ones each time.

    Args:
        images: uint8 [N, S, S], bright ink on black.
        labels: int64 [N], indices into `classes`.
        classes: name of each class.
        drawn_from: how many images the data has, if `images` are not all.
    """
    rng, per_class = np.random.default_rng(0), SAMPLES_PER_CLASS
    all_classes, classes = classes, classes[:MAX_CLASSES]
    chosen = np.zeros((len(classes), per_class, *images.shape[1:]), dtype=np.uint8)
    for index in range(len(classes)):
        picks = rng.permutation(np.flatnonzero(labels == index))[:per_class]
        chosen[index, : len(picks)] = images[picks]
    title = f"{pluralize(per_class, 'random image')} of each of the {len(classes)} classes"
    note = f"Drawn from {pluralize(drawn_from or len(images), 'image')}." + shown_part(
        len(all_classes)
    )
    if np.bincount(labels, minlength=len(classes))[: len(classes)].min() < per_class:
        note += " Blank cells: the class has fewer images."
    side, pixels = 0.7 if len(classes) <= 20 else 0.33, images.shape[1]
    gap = max(1, pixels // 14)
    height = len(classes) * side + 1
    with drawing(max(per_class * side + 0.8, 6.5), height, title, note) as figure:
        axes = figure.subplots()
        show_ink(axes, mosaic(chosen.reshape(-1, pixels, pixels), per_class, (gap, gap), 0) / 255)
        centres = np.arange(len(classes)) * (pixels + gap) + pixels / 2
        axes.set_yticks(centres, class_labels(classes), fontsize=13 if side > 0.5 else 10)
        axes.tick_params(axis="y", length=0)
    return figure


def augmentation_preview(
    original: NDArray[np.uint8], variants: NDArray[Any], caption: str
) -> Figure:
    """Draw an image, framed, and augmented variants of it.

    Args:
        original: uint8 [S, S], bright ink on black.
        variants: [K, S, S]; uint8, or float of any range, which is then scaled to 0…1.
        caption: the augmentation: "Rotated by up to 10°, shifted by up to 2 pixels".
    """
    title = f"One training image and {pluralize(len(variants), 'augmented variant')}"
    columns = 8
    rows = -(-len(variants) // columns)
    pixels = variants.shape[1]
    gap = max(1, pixels // 9)
    with drawing(10, max(2.9, rows + 0.9), title, fill(caption, CAPTION_CHARACTERS)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(2, columns))
        show_ink(left, as_ink(original))
        left.set_title("original", color=AMBER)
        left.spines[:].set(visible=True, color=AMBER, linewidth=2)
        show_ink(right, mosaic(as_ink(variants), columns, (gap, gap), 0))
        right.set_title("variants")
    return figure


def class_ink(
    means: NDArray[np.floating[Any]], ink: NDArray[np.floating[Any]], classes: Sequence[str]
) -> Figure:
    """Draw the mean image of each class, and the distribution of its images' ink.

    Args:
        means: float [C, S, S] from 0 to 1; NaN for a class without images.
        ink: float [C, 3], the 5, 50 and 95% quantiles of the mean pixel, from 0 to 1.
        classes: name of each class.
    """
    title = "Mean image and amount of ink of each class"
    note = "Ink: mean pixel value of an image. Bars: 5% to 95% quantile. Dots: median."
    note += shown_part(len(classes))
    means, ink, classes = means[:MAX_CLASSES], ink[:MAX_CLASSES], classes[:MAX_CLASSES]
    columns = len(classes)
    width = float(np.clip(0.9 * columns, 8, 18))
    with drawing(width, 4.2, title, note) as figure:
        images, axes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.8))
        _show_above_ticks(images, np.nan_to_num(means), (width - 1) / columns)
        positions = np.arange(columns)
        axes.vlines(positions, 100 * ink[:, 0], 100 * ink[:, 2], color=BLUE, alpha=0.4, linewidth=9)
        axes.plot(positions, 100 * ink[:, 1], "o", color=BLUE)
        set_class_ticks(axes, classes)
        axes.set(xlim=(-0.5, columns - 0.5), ylabel="ink, % of maximum")
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    return figure


def _show_above_ticks(axes: Axes, images: NDArray[np.floating[Any]], cell_inches: float) -> None:
    """Show `images` [C, S, S] in one row, image i above the tick at i.

    It is one picture: a panel for each of 200 classes would take minutes to lay out.

    Args:
        axes: of which the x axis has a tick for each image.
        images: ink from 0 to 1.
        cell_inches: from one tick to the next.
    """
    pixels = images.shape[-1]
    cell_pixels = round(pixels * max(1.0, cell_inches))  # an image is up to an inch wide
    left = (cell_pixels - pixels) // 2
    right = cell_pixels - pixels - left
    row = np.pad(images, ((0, 0), (0, 0), (left, right))).swapaxes(0, 1).reshape(pixels, -1)
    axes.imshow(row, cmap="gray_r", vmin=0, vmax=1, extent=(-0.5, len(images) - 0.5, 0, 1))
    axes.set(yticks=[], aspect=pixels / cell_pixels, anchor="S")
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.spines[:].set_visible(False)
