"""Figures of the data: class counts, samples, augmentation, mean images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.formatting import pluralize
from tenfold.report.figures.style import (
    AMBER,
    BLUE,
    FULL_INCHES,
    HALF_INCHES,
    MAX_CLASSES,
    MAX_HALF_CLASSES,
    TEXT,
    as_ink,
    class_labels,
    drawing,
    mosaic,
    set_class_ticks,
    show_ink,
    shown_part,
    tick_inches,
    width_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLES_PER_CLASS = 12
MEAN_IMAGE_INCHES = 0.5  # at most
CLASSES_INCHES = 3.0  # height of a figure with bars for classes


def class_balance(
    counts: Mapping[str, int], validation_counts: Mapping[str, int] | None, title: str
) -> Figure:
    """Draw how many images each class has, compared with equal class frequencies.

    Args:
        counts: images of each class in the training part, or in all data.
        validation_counts: images of each class held out for validation, stacked on them.
        title: of the figure.
    """
    held_out = validation_counts or dict.fromkeys(counts, 0)
    totals = {name: count + held_out[name] for name, count in counts.items()}
    note = "Dashed: the count per class if all classes were equally frequent."
    if validation_counts is not None:
        parts = f"{sum(counts.values()):,} for training, {sum(held_out.values()):,} for validation"
        note = f"Blue: {parts} (amber). {note}"
    note += shown_part(len(counts))
    shown = list(islice(counts, MAX_CLASSES))
    height = CLASSES_INCHES + tick_inches(shown)
    with drawing(width_for(len(shown)), height, title, note) as figure:
        axes = figure.subplots()
        _draw_bars(axes, [totals[name] for name in shown], sum(totals.values()) / len(totals))
        lower = [counts[name] for name in shown]
        if validation_counts is not None:
            upper = [held_out[name] for name in shown]
            axes.bar(range(len(shown)), upper, bottom=lower, color=AMBER, width=0.8)
        set_class_ticks(axes, shown)
    return figure


def _draw_bars(axes: Axes, heights: Sequence[int], uniform: float) -> None:
    """Draw a bar for each class, with its count, and a line at `uniform`."""
    top = max(*heights, uniform, 1)
    is_crowded = len(heights) > MAX_HALF_CLASSES
    axes.bar(range(len(heights)), heights, color=BLUE, width=0.8)
    for index, height in enumerate(heights):
        fits = height > 0.3 * top
        text = axes.annotate(
            f"{height:,}",
            (index, 0 if fits else height),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=90,
            fontsize=7 if is_crowded else 9,
            color="white" if fits else TEXT,
        )
        text.set_in_layout(False)
    axes.axhline(uniform, color=TEXT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(yticks=[], xlim=(-0.6, len(heights) - 0.4), ylim=(0, 1.12 * top))
    axes.tick_params(axis="x", length=0)
    axes.spines["left"].set_visible(False)


def predicted_classes(predicted: Mapping[str, int], training: Mapping[str, int]) -> Figure:
    """Draw how often each class is predicted, compared with the training images.

    Args:
        predicted: predictions of each class.
        training: labelled images of each class.
    """
    n, n_training = sum(predicted.values()), max(1, sum(training.values()))
    title = f"{pluralize(n, 'prediction')} by class, compared with training"
    note = "Amber: the count if classes were as frequent as in the training data."
    note += shown_part(len(predicted))
    shown = list(islice(predicted, MAX_CLASSES))
    expected = [n * training.get(name, 0) / n_training for name in shown]
    height = CLASSES_INCHES + tick_inches(shown)
    with drawing(width_for(len(shown)), height, title, note) as figure:
        axes = figure.subplots()
        _draw_bars(axes, [predicted[name] for name in shown], 0)
        axes.hlines(
            expected, np.arange(len(shown)) - 0.45, np.arange(len(shown)) + 0.45, color=AMBER
        )
        axes.set_ylim(0, 1.12 * max(1, *expected, *(predicted[name] for name in shown)))
        set_class_ticks(axes, shown)
    return figure


def sample_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    drawn_from: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw twelve random images of each class, one row per class; the same ones each time.

    Args:
        images: uint8 [N, S, S], bright ink on black.
        labels: int64 [N], indices into `classes`.
        classes: name of each class.
        drawn_from: how many images the data has, if `images` are not all.
        title: of the figure; by default what it shows.
    """
    rng, per_class = np.random.default_rng(0), SAMPLES_PER_CLASS
    all_classes, classes = classes, classes[:MAX_CLASSES]
    chosen = np.zeros((len(classes), per_class, *images.shape[1:]), dtype=np.uint8)
    for index in range(len(classes)):
        picks = rng.permutation(np.flatnonzero(labels == index))[:per_class]
        chosen[index, : len(picks)] = images[picks]
    if title is None:
        title = f"{pluralize(per_class, 'random image')} of each of the {len(classes)} classes"
    note = f"Drawn from {pluralize(drawn_from or len(images), 'image')}." + shown_part(
        len(all_classes)
    )
    if np.bincount(labels, minlength=len(classes))[: len(classes)].min() < per_class:
        note += " Blank cells: the class has fewer images."
    side, pixels = (HALF_INCHES - 0.7) / per_class, images.shape[1]
    gap = max(1, pixels // 14)
    with drawing(HALF_INCHES, len(classes) * side + 1.1, title, note) as figure:
        axes = figure.subplots()
        show_ink(axes, mosaic(chosen.reshape(-1, pixels, pixels), per_class, (gap, gap), 0) / 255)
        centres = np.arange(len(classes)) * (pixels + gap) + pixels / 2
        axes.set_yticks(centres, class_labels(classes))
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
    with drawing(FULL_INCHES, max(2.9, rows + 0.9), title, caption) as figure:
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
    width = width_for(columns)
    height = CLASSES_INCHES + tick_inches(classes)
    with drawing(width, height, title, note) as figure:
        images, axes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.8))
        _show_above_ticks(images, np.nan_to_num(means), (width - 1) / columns)
        positions = np.arange(columns)
        axes.vlines(positions, 100 * ink[:, 0], 100 * ink[:, 2], color=BLUE, alpha=0.4, linewidth=7)
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
    cell_pixels = round(pixels * max(1.0, cell_inches / MEAN_IMAGE_INCHES))
    left = (cell_pixels - pixels) // 2
    right = cell_pixels - pixels - left
    row = np.pad(images, ((0, 0), (0, 0), (left, right))).swapaxes(0, 1).reshape(pixels, -1)
    axes.imshow(row, cmap="gray_r", vmin=0, vmax=1, extent=(-0.5, len(images) - 0.5, 0, 1))
    axes.set(yticks=[], aspect=pixels / cell_pixels, anchor="S")
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.spines[:].set_visible(False)
