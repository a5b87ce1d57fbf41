"""Pictures of answers against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.formatting import pluralize
from tenfold.metrics import CalibrationBin, Score, wilson_interval
from tenfold.report.figures.style import (
    AMBER,
    BLUE,
    FAINT,
    MUTED,
    TEXT,
    drawing,
    hide_axes,
    mosaic,
    name_classes,
    show_ink,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_COUNTS_IN_CONFUSION = 300
GALLERY_INCHES = 10.0
CAPTION_INCHES = 0.48
CHARACTER_INCHES = 0.075


def confusion_matrix(
    confusion: NDArray[np.int64], classes: Sequence[str], *, mistakes_only: bool = True
) -> Figure:
    """Draw the counts of `confusion` int64 [C, C] (row: truth, column: answer).

    With `mistakes_only` colour goes to mistakes alone: on a good recognizer a coloured diagonal
    drowns them. Without, the diagonal is coloured like the rest, as such tables usually are.
    """
    n_classes = len(classes)
    wrong = confusion.astype(np.float64)
    note = "Rows: truth. Columns: answer. The stronger the colour, the more images."
    if mistakes_only:
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
        _write_counts(axes, confusion, floor, top, mistakes_only=mistakes_only)
        _write_margin(axes, confusion)
        name_classes(axes, classes)
        axes.set_yticks(range(n_classes), list(classes))
        axes.set(xlabel="answer", ylabel="truth")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _confusion_title(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    n, correct = int(confusion.sum()), int(np.trace(confusion))
    if correct == n:
        return f"{pluralize(n, 'image')}, all read correctly"
    mistakes_only = confusion - np.diag(np.diag(confusion))
    truth, answer = divmod(int(mistakes_only.argmax()), len(classes))
    return (
        f"{n - correct:,} of {pluralize(n, 'image')} misread,\n"
        f"most often {classes[truth]} as {classes[answer]}: {pluralize(mistakes_only.max(), 'time')}"
    )


def _write_counts(
    axes: Axes, confusion: NDArray[np.int64], floor: int, top: float, *, mistakes_only: bool
) -> None:
    """Write each count above `floor` into its cell; `top` is the largest one that is coloured."""
    size = 9 if len(confusion) <= 16 else 6
    for row, column in np.argwhere(confusion > floor):
        count = confusion[row, column]
        is_grey = mistakes_only and row == column
        colour = MUTED if is_grey else "white" if count > 0.7 * top else TEXT
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
    of: int | None = None,
    misread: int | None = None,
) -> Figure:
    """Draw the images that were misread, the most confident mistakes first.

    Args:
        images: uint8 [N, S, S], right or wrong.
        truth: int64 [N], indices into `classes`.
        answers: int64 [N], indices into `classes`.
        confidence: float [N], the probability that each answer was given.
        classes: what each label is called.
        limit: at most so many are drawn.
        of: how many were asked, if these are not all.
        misread: how many of those were misread, if these are not all.

    Raises:
        DataError: the four differ in length.
    """
    lengths = [len(images), len(truth), len(answers), len(confidence)]
    if len(set(lengths)) > 1:
        raise DataError(
            f"images, truth, answers and confidence have lengths {lengths}, expected equal ones"
        )
    wrong = np.flatnonzero(truth != answers)
    asked = len(images) if of is None else of
    if not wrong.size:
        title = f"No mistakes to show: {pluralize(asked, 'image')}, all read correctly"
        return gallery(images[:0], [], title, "")
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    captions = [
        f"{classes[truth[index]]} → {classes[answers[index]]}\n{confidence[index]:.3f}"
        for index in shown
    ]
    misread = len(wrong) if misread is None else misread
    title = f"{misread:,} of {pluralize(asked, 'image')} misread"
    if len(shown) < misread:
        title += f"; the {len(shown)} most confident mistakes"
    note = "Below each image: truth → answer, and the confidence of the answer."
    return gallery(images[shown], captions, title, note)


def gallery(images: NDArray[np.uint8], captions: Sequence[str], title: str, note: str) -> Figure:
    """Draw `images` in rows, the two-line caption of each below it, in cells as wide as needed.

    Args:
        images: uint8 [N, S, S], ink bright; none at all leaves the title and the note.
        captions: one for each image.
        title: what is seen.
        note: how to read the captions.
    """
    if not len(images):
        with drawing(8, 0.9, title, note) as figure:
            hide_axes(figure.subplots())
            return figure
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
    with drawing(GALLERY_INCHES, height, title, note) as figure:
        axes = figure.subplots()
        show_ink(axes, sheet / 255)
        for index, caption in enumerate(captions):
            row, column = divmod(index, columns)
            x = gap[1] // 2 + column * (pixels + gap[1]) + pixels / 2
            y = row * (pixels + gap[0]) + pixels
            axes.text(x, y, caption, ha="center", va="top", fontsize=8, linespacing=1.3)
    return figure


MARKED_COVERAGES = (0.9, 0.95, 0.99)
SMALLEST_SHARE = 1e-5
CROWDED = 4.0  # bands whose shares differ by less than this factor have labels that touch


def scores(scores: Mapping[str, Score], title: str, note: str = "") -> Figure:
    """Draw accuracies with their 95 % intervals, one line each, named at the left."""
    note = f"{note} Bars: 95 % Wilson intervals.".strip()
    with drawing(9, 1.2 + 0.32 * len(scores), title, note) as figure:
        axes = figure.subplots()
        for place, score in enumerate(scores.values()):
            low, high = score.interval
            axes.plot([low, high], [place, place], color=BLUE, alpha=0.45, linewidth=5)
            axes.plot(score.accuracy, place, "o", color=BLUE)
            text = f"{score.accuracy:.4f}   {score.n - score.correct:,} wrong of {score.n:,}"
            axes.text(1.02, place, text, va="center", transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set(xlabel="accuracy")
    return figure


def reliability(calibration_bins: Sequence[CalibrationBin], calibration_error: float) -> Figure:
    """Draw the share of wrong answers against the share that their confidence admits.

    Both scales are logarithmic, for nearly all answers claim to be wrong once in a hundred times
    or less. Where an answer keeps its promise, its band's dot lies on the diagonal.
    """
    title = f"Is it as sure as it should be? Calibration error {calibration_error:.4f}"
    note = (
        "Grouped by confidence. Bars: 95 % Wilson intervals. Above the line it is too sure of "
        "itself."
    )
    with drawing(7.5, 6, title, note) as figure:
        axes = figure.subplots()
        promised = [max(1 - band.confidence, SMALLEST_SHARE) for band in calibration_bins]
        floor = min([*promised, 1e-3]) / 3
        axes.plot([floor, 1], [floor, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        beside = False
        for place, (share, band) in enumerate(zip(promised, calibration_bins, strict=True)):
            crowded = place > 0 and promised[place - 1] / share < CROWDED
            beside = crowded and not beside
            _draw_band(axes, share, band, floor, beside=beside)
        axes.set(xscale="log", yscale="log", xlim=(1, floor), ylim=(floor, 1))
        axes.set(xlabel="wrong, as confidence admits", ylabel="wrong, counted")
        axes.grid()
        axes.set_axisbelow(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_percent)
    return figure


def _draw_band(
    axes: Axes, share: float, band: CalibrationBin, floor: float, *, beside: bool
) -> None:
    """Draw one dot with its interval, and its label above or, where neighbours are near, beside."""
    low, high = band.score.interval
    wrong = 1 - band.score.accuracy
    bottom = max(1 - high, floor)
    axes.plot([share, share], [bottom, max(1 - low, floor)], color=BLUE, alpha=0.45, linewidth=4)
    if wrong > 0:
        axes.plot(share, max(wrong, floor), "o", color=BLUE)
    text = f"{band.score.n - band.score.correct:,} of {band.score.n:,}"
    axes.annotate(
        text,
        (share, max(wrong, floor) if beside else max(1 - low, floor)),
        xytext=(7, 2) if beside else (0, 4),
        textcoords="offset points",
        ha="left" if beside else "center",
        va="bottom",
        fontsize=8,
        color=BLUE,
        in_layout=False,
    )


def _percent(share: float, _position: float = 0) -> str:
    return f"{100 * share:g} %"


def risk_coverage(coverage: NDArray[np.float64], accuracy: NDArray[np.float64]) -> Figure:
    """Draw how the share of wrong answers falls if the least sure ones may be withheld.

    Args:
        coverage: float64 [N], the share that is answered, ascending.
        accuracy: float64 [N], among the answered.
    """
    n = len(coverage)
    title = "If it may say “not sure”: how many of its answers are wrong"
    note = f"From {pluralize(n, 'image')}, least sure withheld first. Band: 95 % Wilson interval."
    with drawing(9, 4.5, title, note) as figure:
        axes = figure.subplots()
        start = 0.8 if accuracy[-1] > 0.95 else 0.0
        seen = coverage >= start
        picked = np.flatnonzero(seen)[:: max(1, int(seen.sum()) // 400)]
        intervals = [
            wilson_interval(round(accuracy[index] * (index + 1)), int(index + 1))
            for index in picked
        ]
        low, high = np.array(intervals).T
        axes.fill_between(coverage[picked], 1 - high, 1 - low, color=BLUE, alpha=0.18, linewidth=0)
        axes.plot(coverage[picked], 1 - accuracy[picked], color=BLUE)
        for mark in (*MARKED_COVERAGES, 1.0):
            _mark_coverage(axes, mark, 1 - accuracy[max(0, round(mark * n) - 1)])
        axes.set_xlim(start, 1)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_formatter(_percent)
        axes.set(xlabel="answered", ylabel="wrong among them")
        axes.grid(axis="y", color=FAINT)
    return figure


def _mark_coverage(axes: Axes, coverage: float, wrong: float) -> None:
    axes.plot(coverage, wrong, "o", color=AMBER, clip_on=False)
    axes.annotate(
        f"{100 * coverage:g} %: {100 * wrong:.2f} % wrong",
        (coverage, wrong),
        xytext=(-4, 8),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        color=AMBER,
    )
