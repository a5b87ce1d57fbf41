"""Figures of predictions compared with true labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.formatting import pluralize
from tenfold.metrics import CalibrationBin, Score, wilson_interval
from tenfold.report.figures.style import (
    AMBER,
    BLUE,
    FAINT,
    FULL_INCHES,
    HALF_INCHES,
    MAX_CLASSES,
    MAX_HALF_CLASSES,
    MUTED,
    TEXT,
    class_labels,
    drawing,
    label_ends,
    set_class_ticks,
    shown_part,
    width_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CONFUSION_COUNTS = 300  # numbers written into a confusion matrix
MARKED_COVERAGES = {0.8: (0.9, 0.95, 0.99, 1.0), 0.0: (0.5, 0.75, 0.9, 1.0)}  # by the left end
RELIABILITY_INCHES = 4.8
MAX_HALF_NAME = 12  # characters at the left of a figure of half the width


def confusion_matrix(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw the counts of `confusion` int64 [C, C] (row: true class, column: predicted class).

    The diagonal is grey: the errors of a good recognizer are invisible beside a coloured one. Of
    very many classes, those with the most errors are drawn.
    """
    title, hidden = _confusion_title(confusion, classes), shown_part(len(classes), "least accurate")
    confusion, classes = _most_confused(confusion, classes)
    n_classes = len(classes)
    coloured = confusion.astype(np.float64)
    np.fill_diagonal(coloured, np.nan)
    note = "Rows: true class. Columns: predicted class. Grey: correct. Blue: misclassified."
    floor = int(np.sort(confusion, axis=None)[:-MAX_CONFUSION_COUNTS].max(initial=0))
    if floor:
        note += f" Counts up to {floor:,} are not shown."
    note += hidden
    width = width_for(n_classes)
    with drawing(width, width + 0.4, title, note) as figure:
        axes = figure.subplots()
        top = float(coloured[~np.isnan(coloured)].max(initial=1.0))
        axes.set_facecolor(FAINT)
        axes.imshow(np.ma.masked_invalid(coloured), cmap="Blues", vmin=0, vmax=1.3 * top)
        _write_counts(axes, confusion, floor, top)
        set_class_ticks(axes, classes)
        axes.set_yticks(range(n_classes), class_labels(classes))
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _most_confused(
    confusion: NDArray[np.int64], classes: Sequence[str]
) -> tuple[NDArray[np.int64], Sequence[str]]:
    """Keep the `MAX_CLASSES` classes with the most errors, in their order."""
    if len(classes) <= MAX_CLASSES:
        return confusion, classes
    errors = confusion.sum(axis=1) - np.diag(confusion)
    kept = np.sort(np.argsort(-errors, kind="stable")[:MAX_CLASSES])
    return confusion[np.ix_(kept, kept)], [classes[index] for index in kept]


def _confusion_title(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    n, correct = int(confusion.sum()), int(np.trace(confusion))
    if correct == n:
        return f"{pluralize(n, 'image')}, all classified correctly"
    names = class_labels(classes)
    errors = confusion - np.diag(np.diag(confusion))
    label, predicted = divmod(int(errors.argmax()), len(classes))
    return (
        f"{n - correct:,} of {pluralize(n, 'image')} misclassified,\n"
        f"most often {names[label]} as {names[predicted]}: {pluralize(errors.max(), 'time')}"
    )


def _write_counts(axes: Axes, confusion: NDArray[np.int64], floor: int, top: float) -> None:
    """Write each count above `floor` into its cell; `top` is the largest coloured count."""
    size = 8 if len(confusion) <= MAX_HALF_CLASSES else 6
    for row, column in np.argwhere(confusion > floor):
        count = confusion[row, column]
        colour = MUTED if row == column else "white" if count > 0.7 * top else TEXT
        text = axes.text(column, row, f"{count}", ha="center", va="center", color=colour)
        # They are inside the axes: the layout need not measure each of them.
        text.set(fontsize=size, in_layout=False)


def scores(
    scores: Mapping[str, Score], title: str, note: str = "", *, height_inches: float | None = None
) -> Figure:
    """Draw accuracies with their 95% intervals, one row each, labelled at the left.

    Of very many, the lowest are drawn.
    """
    note = f"{note} Bars: 95% Wilson intervals.".strip()
    note += shown_part(len(scores), "least accurate", "rows")
    lowest = sorted(scores, key=lambda name: scores[name].accuracy)[:MAX_CLASSES]
    scores = {name: score for name, score in scores.items() if name in set(lowest)}
    longest = max(len(name) for name in class_labels(list(scores)))
    width = HALF_INCHES if longest <= MAX_HALF_NAME else FULL_INCHES
    height = height_inches or 1.4 + 0.32 * len(scores)
    with drawing(width, height, title, note) as figure:
        axes = figure.subplots()
        for y, score in enumerate(scores.values()):
            low, high = score.interval
            axes.plot([low, high], [y, y], color=BLUE, alpha=0.45, linewidth=5)
            axes.plot(score.accuracy, y, "o", color=BLUE)
            text = f"{score.accuracy:.4f}   {score.n - score.correct:,} of {score.n:,} wrong"
            right = axes.text(1.02, y, text, va="center", transform=axes.get_yaxis_transform())
            right.set_fontsize(9)
        axes.set_yticks(range(len(scores)), class_labels(list(scores)))
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set(xlabel="accuracy")
    return figure


def reliability(bins: Sequence[CalibrationBin], calibration_error: float) -> Figure:
    """Draw a reliability diagram: accuracy against confidence, and the images of each bin.

    The bins of a calibrated recognizer lie on the diagonal.
    """
    title = f"Reliability diagram: expected calibration error {calibration_error:.4f}"
    note = "Lines: 95% Wilson intervals. Below the diagonal: overconfident."
    with drawing(HALF_INCHES, RELIABILITY_INCHES, title, note) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for each in bins:
            upper.plot([each.confidence] * 2, each.score.interval, color=BLUE, alpha=0.45)
            upper.plot(each.confidence, each.score.accuracy, "o", color=BLUE, clip_on=False)
        upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02), yticks=np.linspace(0, 1, 6))
        counts = [each.score.n for each in bins]
        lefts, widths = [each.low for each in bins], [each.high - each.low for each in bins]
        lower.bar(lefts, counts, widths, align="edge", color=BLUE, edgecolor="white")
        for each in bins:
            middle = (each.low + each.high) / 2
            count = lower.text(middle, each.score.n, f"{each.score.n:,}", ha="center", va="bottom")
            count.set(fontsize=8, in_layout=False)
        lower.set(xlabel="confidence", ylabel="images", yticks=[], ylim=(0, 1.25 * max(counts)))
        for axes in (upper, lower):
            axes.grid(axis="x")
            axes.set_axisbelow(True)
        for axis in (upper.xaxis, upper.yaxis):
            axis.set_major_formatter(_percent)
    return figure


def _percent(share: float, _position: float = 0) -> str:
    return f"{100 * share:g}%"


def risk_coverage(coverage: NDArray[np.float64], accuracy: NDArray[np.float64]) -> Figure:
    """Draw how the error rate falls if predictions of low confidence are rejected.

    Args:
        coverage: float64 [N], the share that is not rejected, ascending.
        accuracy: float64 [N], on those.
    """
    n = len(coverage)
    title = "Risk–coverage curve: the error rate if low confidence is rejected"
    note = f"{pluralize(n, 'image')}, lowest confidence rejected first. Band: 95% Wilson interval."
    with drawing(HALF_INCHES, RELIABILITY_INCHES, title, note) as figure:
        axes = figure.subplots()
        start = 0.8 if accuracy[-1] > 0.95 else 0.0
        visible = coverage >= start
        picked = np.flatnonzero(visible)[:: max(1, int(visible.sum()) // 400)]
        intervals = [
            wilson_interval(round(accuracy[index] * (index + 1)), int(index + 1))
            for index in picked
        ]
        low, high = np.array(intervals).T
        axes.fill_between(coverage[picked], 1 - high, 1 - low, color=BLUE, alpha=0.18, linewidth=0)
        axes.plot(coverage[picked], 1 - accuracy[picked], color=BLUE)
        rates = {
            mark: float(1 - accuracy[max(0, round(mark * n) - 1)])
            for mark in MARKED_COVERAGES[start]
        }
        axes.plot(list(rates), list(rates.values()), "o", color=AMBER, clip_on=False)
        # The band at the left, of few images, would leave little of the height to the curve.
        axes.set(xlim=(start, 1), ylim=(0, 1.6 * max(*(1 - accuracy[picked]), 1 / n)))
        axes.set_ylim(0, min(axes.get_ylim()[1], 1.05 * max(1 - low)))
        axes.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_formatter(_percent)
        axes.set(xlabel="coverage: images not rejected", ylabel="error rate on them")
        axes.grid(axis="y", color=FAINT)
        ends = [(f"{100 * mark:g}%: {rate:.2%} wrong", rate, AMBER) for mark, rate in rates.items()]
        label_ends(axes, ends)
    return figure
