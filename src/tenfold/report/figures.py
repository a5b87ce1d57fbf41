"""Pictures of the data and of what a recognizer makes of it: one function, one figure.

Each shows ink dark on white paper, says in its title what is seen, and stands without text around
it. `save` writes it as PNG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.report.curves import training_curves
from tenfold.report.style import (
    AMBER,
    BLUE,
    FAINT,
    MUTED,
    TEXT,
    bare,
    counted,
    drawing,
    enlarge,
    mosaic,
    save,
    show_ink,
    show_signed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "augmentation_preview",
    "class_balance",
    "confusion_matrix",
    "feature_maps",
    "filters",
    "mistakes",
    "sample_sheet",
    "save",
    "training_curves",
]

LONGEST_UPRIGHT_NAME = 3
MOST_COUNTS_IN_CONFUSION = 300
MAPS_OF_A_STAGE = 16
GALLERY_INCHES = 10.0
CAPTION_INCHES = 0.48
CHARACTER_INCHES = 0.075


def class_balance(
    counts: Mapping[str, int], validation_counts: Mapping[str, int] | None, title: str
) -> Figure:
    """Draw how many images each class has, against equal shares.

    Args:
        counts: images of each class in the training part, or in all if there is no other.
        validation_counts: images of each class held out for validation, drawn below.
        title: what is seen, as a sentence.
    """
    parts = {"all": counts}
    if validation_counts is not None:
        parts = {"training": counts, "validation": validation_counts}
    note = "Dashed: the count that each class would have if all were equally frequent."
    width = float(np.clip(0.28 * len(counts), 8, 18))
    with drawing(width, 1 + 2.7 * len(parts), title, note) as figure:
        panels = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, part), colour in zip(panels, parts.items(), (BLUE, AMBER), strict=False):
            _bars(axes, part, colour)
            axes.set_title(f"{name}: {counted(sum(part.values()), 'image')}", color=colour)
        _name_classes(panels[-1], list(counts))
    return figure


def _bars(axes: Axes, counts: Mapping[str, int], colour: str) -> None:
    heights = list(counts.values())
    uniform = sum(heights) / len(heights)
    top = max(*heights, uniform, 1)
    crowded = len(heights) > 16
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
            rotation=90 if crowded else 0,
            fontsize=7 if crowded else 9,
            color="white" if fits else TEXT,
        )
    axes.axhline(uniform, color=TEXT, linewidth=1, linestyle=(0, (4, 3)))
    text = f"{uniform:,.0f}\nif equal"
    axes.text(1.01, uniform, text, va="center", transform=axes.get_yaxis_transform())
    axes.set(yticks=[], xlim=(-0.6, len(heights) - 0.4), ylim=(0, 1.08 * top))
    axes.tick_params(axis="x", length=0)
    axes.spines["left"].set_visible(False)


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    is_long = max(len(name) for name in classes) > LONGEST_UPRIGHT_NAME
    axes.set_xticks(range(len(classes)), list(classes), rotation=90 if is_long else 0)


def sample_sheet(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    per_class: int = 12,
    seed: int = 0,
) -> Figure:
    """Draw `per_class` random images of each class, a row a class.

    Args:
        images: uint8 [N, S, S], ink bright.
        labels: int64 [N], indices into `classes`.
        classes: what each label is called.
        per_class: images in a row; a class that has fewer leaves places blank.
        seed: chooses the images.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros((len(classes), per_class, *images.shape[1:]), dtype=np.uint8)
    for index in range(len(classes)):
        picks = rng.permutation(np.flatnonzero(labels == index))[:per_class]
        chosen[index, : len(picks)] = images[picks]
    title = f"{counted(per_class, 'random image')} of each of the {len(classes)} classes"
    note = f"Drawn from {counted(len(images), 'image')}."
    if np.bincount(labels, minlength=len(classes)).min() < per_class:
        note += " Blank: the class has no more."
    side, pixels = 0.7 if len(classes) <= 20 else 0.33, images.shape[1]
    gap = max(1, pixels // 14)
    height = len(classes) * side + 1
    with drawing(max(per_class * side + 0.8, 6.5), height, title, note) as figure:
        axes = figure.subplots()
        show_ink(axes, mosaic(chosen.reshape(-1, pixels, pixels), per_class, (gap, gap), 0) / 255)
        centres = np.arange(len(classes)) * (pixels + gap) + pixels / 2
        axes.set_yticks(centres, list(classes), fontsize=13 if side > 0.5 else 10)
        axes.tick_params(axis="y", length=0)
    return figure


def augmentation_preview(
    original: NDArray[np.uint8], variants: NDArray[Any], caption: str
) -> Figure:
    """Draw one digit as training sees it: the original, framed, and its variants.

    Args:
        original: uint8 [S, S], ink bright.
        variants: [K, S, S]; uint8, or float of any range, which is then stretched to paper … ink.
        caption: what was done to the digit: "shift up to 2 pixels, turn up to 10°".
    """
    title = f"One digit, and {counted(len(variants), 'variant')} of it that training sees"
    columns = 8
    rows = -(-len(variants) // columns)
    pixels = variants.shape[1]
    gap = max(1, pixels // 9)
    with drawing(10, max(2.9, rows + 0.9), title, caption) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(2, columns))
        show_ink(left, _as_ink(original))
        left.set_title("original", color=AMBER)
        left.spines[:].set(visible=True, color=AMBER, linewidth=2)
        show_ink(right, mosaic(_as_ink(variants), columns, (gap, gap), 0))
        right.set_title("variants")
    return figure


def _as_ink(images: NDArray[Any]) -> NDArray[np.float64]:
    """Return `images` as float64 from 0 (paper) to 1 (ink)."""
    if images.dtype == np.uint8:
        return images / np.float64(255)
    low, high = float(images.min()), float(images.max())
    return (images.astype(np.float64) - low) / max(high - low, 1e-12)


def confusion_matrix(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw the counts of `confusion` int64 [C, C] (row: truth, column: answer).

    Colour goes to mistakes only: on a good recognizer a coloured diagonal would drown them.
    """
    n_classes = len(classes)
    wrong = confusion.astype(np.float64)
    np.fill_diagonal(wrong, np.nan)
    note = "Rows: truth. Columns: answer. Grey: read correctly. Blue: misread."
    floor = int(np.sort(confusion, axis=None)[:-MOST_COUNTS_IN_CONFUSION].max(initial=0))
    if floor:
        note += f" Counts up to {floor:,} are not written."
    side = float(np.clip(0.45 * n_classes + 3, 6.5, 13))
    with drawing(side, side, _confusion_title(confusion, classes), note) as figure:
        axes = figure.subplots()
        top = float(wrong[~np.isnan(wrong)].max(initial=1.0))
        axes.set_facecolor(FAINT)
        axes.imshow(np.ma.masked_invalid(wrong), cmap="Blues", vmin=0, vmax=1.3 * top)
        _write_counts(axes, confusion, floor, top)
        _write_margin(axes, confusion)
        _name_classes(axes, classes)
        axes.set_yticks(range(n_classes), list(classes))
        axes.set(xlabel="answer", ylabel="truth")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _confusion_title(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    n, correct = int(confusion.sum()), int(np.trace(confusion))
    if correct == n:
        return f"{counted(n, 'image')}, all read correctly"
    mistakes_only = confusion - np.diag(np.diag(confusion))
    truth, answer = divmod(int(mistakes_only.argmax()), len(classes))
    return (
        f"{n - correct:,} of {counted(n, 'image')} misread,\n"
        f"most often {classes[truth]} as {classes[answer]}: {counted(mistakes_only.max(), 'time')}"
    )


def _write_counts(axes: Axes, confusion: NDArray[np.int64], floor: int, top: float) -> None:
    """Write each count above `floor` into its cell; `top` is the largest mistake, drawn darkest."""
    size = 9 if len(confusion) <= 16 else 6
    for row, column in np.argwhere(confusion > floor):
        count = confusion[row, column]
        colour = MUTED if row == column else "white" if count > 0.7 * top else TEXT
        text = axes.text(column, row, f"{count}", ha="center", va="center", color=colour)
        # Inside the axes as they are, the layout need not measure them one by one.
        text.set(fontsize=size, in_layout=False)


def _write_margin(axes: Axes, confusion: NDArray[np.int64]) -> None:
    """Write at the right how many images of each class were misread."""
    margin = [f"{row.sum() - row[index]:,} of {row.sum():,}" for index, row in enumerate(confusion)]
    for y, text in enumerate(["misread", *margin], start=-1):
        axes.annotate(
            text,
            (len(confusion) - 0.5, max(y, -0.5)),
            xytext=(8, 4 if y < 0 else 0),
            textcoords="offset points",
            va="bottom" if y < 0 else "center",
            fontsize=8,
            color=MUTED,
        )


def mistakes(
    images: NDArray[np.uint8],
    truth: NDArray[np.int64],
    answers: NDArray[np.int64],
    confidence: NDArray[np.floating[Any]],
    classes: Sequence[str],
    *,
    limit: int = 60,
) -> Figure:
    """Draw the images that were misread, the most confident mistakes first.

    Args:
        images: uint8 [N, S, S], all that were asked, right or wrong.
        truth: int64 [N], indices into `classes`.
        answers: int64 [N], indices into `classes`.
        confidence: float [N], the probability that each answer was given.
        classes: what each label is called.
        limit: at most so many are drawn.

    Raises:
        DataError: the four differ in length.
    """
    lengths = [len(images), len(truth), len(answers), len(confidence)]
    if len(set(lengths)) > 1:
        raise DataError(
            f"images, truth, answers and confidence have lengths {lengths}, expected equal ones"
        )
    wrong = np.flatnonzero(truth != answers)
    if not wrong.size:
        title = f"No mistakes to show: {counted(len(images), 'image')}, all read correctly"
        with drawing(8, 0.9, title, "") as figure:
            bare(figure.subplots())
            return figure
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    captions = [
        f"{classes[truth[index]]} → {classes[answers[index]]}\n{confidence[index]:.3f}"
        for index in shown
    ]
    title = f"{len(wrong):,} of {counted(len(images), 'image')} misread"
    if len(shown) < len(wrong):
        title += f"; the {len(shown)} most confident mistakes"
    return _gallery(images[shown], captions, title)


def _gallery(images: NDArray[np.uint8], captions: Sequence[str], title: str) -> Figure:
    """Draw `images` in rows, the two-line caption of each below it, in cells as wide as needed."""
    longest = max(len(caption.split("\n")[0]) for caption in captions)
    fitting = GALLERY_INCHES / max(0.8, CHARACTER_INCHES * longest)
    columns = int(np.clip(fitting, 2, np.clip(len(images), 6, 12)))
    cell_inches = GALLERY_INCHES / columns
    image_inches = min(0.85 * cell_inches, 0.9)
    pixels = images.shape[1]
    per_inch = pixels / image_inches
    gap = (round(CAPTION_INCHES * per_inch), round((cell_inches - image_inches) * per_inch))
    sheet = np.pad(mosaic(images, columns, gap, 0), ((0, gap[0]), (gap[1] // 2, gap[1] // 2)))
    height = GALLERY_INCHES * sheet.shape[0] / sheet.shape[1] + 0.75
    note = "Below each image: truth → answer, and the confidence of the answer."
    with drawing(GALLERY_INCHES, height, title, note) as figure:
        axes = figure.subplots()
        show_ink(axes, sheet / 255)
        for index, caption in enumerate(captions):
            row, column = divmod(index, columns)
            x = gap[1] // 2 + column * (pixels + gap[1]) + pixels / 2
            y = row * (pixels + gap[0]) + pixels
            axes.text(x, y, caption, ha="center", va="top", fontsize=8, linespacing=1.3)
    return figure


def filters(weights: NDArray[np.floating[Any]]) -> Figure:
    """Draw first-layer filters, `weights` float [K, k, k], all on one scale.

    Raises:
        DataError: there are none, or they are no stack of planes.
    """
    if weights.ndim != 3 or not len(weights):
        raise DataError(f"filters are {list(weights.shape)}, expected [K, k, k] with K at least 1")
    count, height, width = weights.shape
    title = f"{counted(count, 'filter')} of the first layer, {height} × {width} pixels each"
    columns = max(6, int(np.ceil(np.sqrt(2 * count))))
    sheet = mosaic(enlarge(weights, 40), columns, (4, 4))
    note = "Blue asks for ink, amber for paper, white for neither; the darker, the more strongly."
    with drawing(9, 8.5 * sheet.shape[0] / sheet.shape[1] + 0.9, title, note) as figure:
        show_signed(figure.subplots(), sheet, _bound(weights))
    return figure


def feature_maps(
    image: NDArray[np.uint8], stages: Sequence[tuple[str, NDArray[np.floating[Any]]]]
) -> Figure:
    """Draw what each stage of a network makes of one image, 16 maps a stage at most.

    Args:
        image: uint8 [S, S], ink bright.
        stages: the name of each stage and its maps, float [C, h, w].

    Raises:
        DataError: there are no stages.
    """
    if not stages:
        raise DataError("feature maps were asked of no stages, expected at least one")
    title = "One image, and how each stage of the network sees it"
    note = "Blue: the map responds, the darker the more strongly. White: zero. Amber: below zero."
    columns = 8 if len(stages) <= 4 else 16
    rows = [-(-min(len(maps), MAPS_OF_A_STAGE) // columns) for _, maps in stages]
    height = max(2.5, sum(rows) * 8 / columns + 0.3 * len(rows) + 0.9)
    with drawing(10, height, title, note) as figure:
        grid = figure.add_gridspec(len(stages), 2, width_ratios=(1, 4), height_ratios=rows)
        left = figure.add_subplot(grid[:, 0])
        show_ink(left, _as_ink(image))
        left.set_title("the image")
        for index, (name, maps) in enumerate(stages):
            axes = figure.add_subplot(grid[index, 1])
            sheet = mosaic(enlarge(maps[:MAPS_OF_A_STAGE], 56), columns, (4, 4))
            show_signed(axes, sheet, _bound(maps[:MAPS_OF_A_STAGE]))
            axes.set_title(_stage_title(name, maps), fontsize=9)
    return figure


def _stage_title(name: str, maps: NDArray[np.floating[Any]]) -> str:
    count, height, width = maps.shape
    first = f"the first {MAPS_OF_A_STAGE} of " if count > MAPS_OF_A_STAGE else ""
    return f"{name}: {first}{counted(count, 'map')}, {height} × {width}"


def _bound(values: NDArray[np.floating[Any]]) -> float:
    """The magnitude drawn in full colour: nearly the largest, so that one outlier fades nothing."""
    bound = float(np.quantile(np.abs(values), 0.99))
    return bound or float(np.abs(values).max()) or 1.0
