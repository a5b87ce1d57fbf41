"""Figures of predictions compared with true labels."""

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
    MAX_CLASSES,
    MUTED,
    TEXT,
    class_labels,
    drawing,
    hide_axes,
    mosaic,
    set_class_ticks,
    show_ink,
    shown_part,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CONFUSION_COUNTS = 300  # numbers written into a confusion matrix
GALLERY_INCHES = 10.0
CAPTION_INCHES = 0.48
CHARACTER_INCHES = 0.075
MARKED_COVERAGES = {0.8: (0.9, 0.95, 0.99, 1.0), 0.0: (0.5, 0.75, 0.9, 1.0)}  # by the left end
MIN_ERROR_RATE = 1e-5  # lower values are drawn here: a logarithmic axis has no zero
CROWDED_FACTOR = 4.0  # bins whose error rates differ by less have labels that would overlap


def confusion_matrix(
    confusion: NDArray[np.int64], classes: Sequence[str], *, errors_only: bool = True
) -> Figure:
    """Draw the counts of `confusion` int64 [C, C] (row: true class, column: predicted class).

    With `errors_only` the diagonal is grey: the errors of a good recognizer are invisible beside a
    coloured diagonal. Without, the diagonal is coloured as usual. Of very many classes, those with
    the most errors are drawn.
    """
    title, hidden = _confusion_title(confusion, classes), shown_part(len(classes), "least accurate")
    totals = confusion.sum(axis=1)
    confusion, classes, totals = _most_confused(confusion, classes, totals)
    n_classes = len(classes)
    coloured = confusion.astype(np.float64)
    note = "Rows: true class. Columns: predicted class. The stronger the colour, the more images."
    if errors_only:
        np.fill_diagonal(coloured, np.nan)
        note = "Rows: true class. Columns: predicted class. Grey: correct. Blue: misclassified."
    floor = int(np.sort(confusion, axis=None)[:-MAX_CONFUSION_COUNTS].max(initial=0))
    if floor:
        note += f" Counts up to {floor:,} are not shown."
    if hidden:
        note += f"\n{hidden.strip()}"
    side = float(np.clip(0.45 * n_classes + 3, 6.5, 13))
    with drawing(side, side, title, note) as figure:
        axes = figure.subplots()
        top = float(coloured[~np.isnan(coloured)].max(initial=1.0))
        axes.set_facecolor(FAINT)
        axes.imshow(np.ma.masked_invalid(coloured), cmap="Blues", vmin=0, vmax=1.3 * top)
        _write_counts(axes, confusion, floor, top, errors_only=errors_only)
        _write_error_counts(axes, confusion, totals)
        set_class_ticks(axes, classes)
        axes.set_yticks(range(n_classes), class_labels(classes))
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _most_confused(
    confusion: NDArray[np.int64], classes: Sequence[str], totals: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Sequence[str], NDArray[np.int64]]:
    """Keep the `MAX_CLASSES` classes with the most errors, in their order."""
    if len(classes) <= MAX_CLASSES:
        return confusion, classes, totals
    errors = totals - np.diag(confusion)
    kept = np.sort(np.argsort(-errors, kind="stable")[:MAX_CLASSES])
    return confusion[np.ix_(kept, kept)], [classes[index] for index in kept], totals[kept]


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


def _write_counts(
    axes: Axes, confusion: NDArray[np.int64], floor: int, top: float, *, errors_only: bool
) -> None:
    """Write each count above `floor` into its cell; `top` is the largest coloured count."""
    size = 9 if len(confusion) <= 16 else 6
    for row, column in np.argwhere(confusion > floor):
        count = confusion[row, column]
        is_grey = errors_only and row == column
        colour = MUTED if is_grey else "white" if count > 0.7 * top else TEXT
        text = axes.text(column, row, f"{count}", ha="center", va="center", color=colour)
        # They are inside the axes: the layout need not measure each of them.
        text.set(fontsize=size, in_layout=False)


def _write_error_counts(
    axes: Axes, confusion: NDArray[np.int64], totals: NDArray[np.int64]
) -> None:
    """Write at the right how many of the `totals` of each class were misclassified."""
    counts = [
        f"{total - correct:,} of {total:,}"
        for total, correct in zip(totals, np.diag(confusion), strict=True)
    ]
    for y, text in enumerate(["errors", *counts], start=-1):
        axes.annotate(
            text,
            (len(confusion) - 0.5, max(y, -0.5)),
            xytext=(8, 4 if y < 0 else 0),
            textcoords="offset points",
            va="bottom" if y < 0 else "center",
            fontsize=8,
            color=MUTED,
        )


def misclassified(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    confidence: NDArray[np.floating[Any]],
    classes: Sequence[str],
    *,
    limit: int = 60,
    n_images: int | None = None,
    n_errors: int | None = None,
) -> Figure:
    """Draw the misclassified images, the most confident errors first.

    Args:
        images: uint8 [N, S, S]; those classified correctly are left out.
        labels: int64 [N], true classes as indices into `classes`.
        predicted: int64 [N], likewise.
        confidence: float [N], the probability of each prediction.
        classes: name of each class.
        limit: how many are drawn at most.
        n_images: how many images were predicted, if `images` are not all.
        n_errors: how many of those were misclassified, if `images` are not all.

    Raises:
        DataError: the first four arguments differ in length.
    """
    lengths = [len(images), len(labels), len(predicted), len(confidence)]
    if len(set(lengths)) > 1:
        raise DataError(
            f"images, labels, predictions and confidence have lengths {lengths}, "
            "expected equal lengths"
        )
    errors, names = np.flatnonzero(labels != predicted), class_labels(classes)
    n_images = len(images) if n_images is None else n_images
    if not errors.size:
        title = f"No errors: {pluralize(n_images, 'image')}, all classified correctly"
        return gallery(images[:0], [], title, "")
    shown = errors[np.argsort(-confidence[errors], kind="stable")][:limit]
    captions = [
        f"{names[labels[index]]} → {names[predicted[index]]}\n{confidence[index]:.3f}"
        for index in shown
    ]
    n_errors = len(errors) if n_errors is None else n_errors
    title = f"{n_errors:,} of {pluralize(n_images, 'image')} misclassified"
    if len(shown) < n_errors:
        title += f"; the {len(shown)} most confident errors"
    note = "Below each image: true → predicted class, and the confidence of the prediction."
    return gallery(images[shown], captions, title, note)


def gallery(images: NDArray[np.uint8], captions: Sequence[str], title: str, note: str) -> Figure:
    """Draw `images` in rows, each with a caption of two lines below it.

    Args:
        images: uint8 [N, S, S], bright ink on black; without any, only title and note are drawn.
        captions: one for each image.
        title: of the figure.
        note: what the captions mean.
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
    grid = np.pad(mosaic(images, columns, gap, 0), ((0, gap[0]), (gap[1] // 2, gap[1] // 2)))
    height = GALLERY_INCHES * grid.shape[0] / grid.shape[1] + 0.75
    with drawing(GALLERY_INCHES, height, title, note) as figure:
        axes = figure.subplots()
        show_ink(axes, grid / 255)
        for index, caption in enumerate(captions):
            row, column = divmod(index, columns)
            x = gap[1] // 2 + column * (pixels + gap[1]) + pixels / 2
            y = row * (pixels + gap[0]) + pixels
            axes.text(x, y, caption, ha="center", va="top", fontsize=8, linespacing=1.3)
    return figure


def scores(scores: Mapping[str, Score], title: str, note: str = "") -> Figure:
    """Draw accuracies with their 95% intervals, one row each, labelled at the left.

    Of very many, the lowest are drawn.
    """
    note = f"{note} Bars: 95% Wilson intervals.".strip()
    note += shown_part(len(scores), "least accurate", "rows")
    lowest = sorted(scores, key=lambda name: scores[name].accuracy)[:MAX_CLASSES]
    scores = {name: score for name, score in scores.items() if name in set(lowest)}
    with drawing(9, 1.2 + 0.32 * len(scores), title, note) as figure:
        axes = figure.subplots()
        for y, score in enumerate(scores.values()):
            low, high = score.interval
            axes.plot([low, high], [y, y], color=BLUE, alpha=0.45, linewidth=5)
            axes.plot(score.accuracy, y, "o", color=BLUE)
            text = f"{score.accuracy:.4f}   {score.n - score.correct:,} errors of {score.n:,}"
            axes.text(1.02, y, text, va="center", transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(scores)), class_labels(list(scores)))
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set(xlabel="accuracy")
    return figure


def reliability(bins: Sequence[CalibrationBin], calibration_error: float) -> Figure:
    """Draw a reliability diagram: the observed error rate against the predicted one.

    Both axes are logarithmic, since most predictions have an expected error rate below 1%. The
    bins of a calibrated recognizer lie on the diagonal.
    """
    title = f"Reliability diagram: expected calibration error {calibration_error:.4f}"
    note = (
        "Predictions grouped by confidence; labels: errors of predictions. Bars: 95% Wilson "
        "intervals.\nAbove the diagonal: overconfident."
    )
    with drawing(7.5, 6, title, note) as figure:
        axes = figure.subplots()
        rates = [max(1 - each.confidence, MIN_ERROR_RATE) for each in bins]
        floor = min([*rates, 1e-3]) / 3
        axes.plot([floor, 1], [floor, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        beside = False
        for index, (rate, each) in enumerate(zip(rates, bins, strict=True)):
            is_crowded = index > 0 and rates[index - 1] / rate < CROWDED_FACTOR
            beside = is_crowded and not beside
            _draw_bin(axes, rate, each, floor, beside=beside)
        axes.set(xscale="log", yscale="log", xlim=(1, floor), ylim=(floor, 1))
        axes.set(xlabel="predicted error rate, 1 − confidence", ylabel="observed error rate")
        axes.grid()
        axes.set_axisbelow(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_percent)
    return figure


def _draw_bin(axes: Axes, rate: float, each: CalibrationBin, floor: float, *, beside: bool) -> None:
    """Draw a dot with its interval, and its label above or, where bins are close, beside it."""
    low, high = each.score.interval
    observed = 1 - each.score.accuracy
    bottom = max(1 - high, floor)
    axes.plot([rate, rate], [bottom, max(1 - low, floor)], color=BLUE, alpha=0.45, linewidth=4)
    if observed > 0:
        axes.plot(rate, max(observed, floor), "o", color=BLUE)
    text = f"{each.score.n - each.score.correct:,} of {each.score.n:,}"
    axes.annotate(
        text,
        (rate, max(observed, floor) if beside else max(1 - low, floor)),
        xytext=(7, 2) if beside else (0, 4),
        textcoords="offset points",
        ha="left" if beside else "center",
        va="bottom",
        fontsize=8,
        color=BLUE,
        in_layout=False,
    )


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
    with drawing(9, 4.5, title, note) as figure:
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
        for mark in MARKED_COVERAGES[start]:
            _mark_coverage(axes, mark, 1 - accuracy[max(0, round(mark * n) - 1)])
        axes.set_xlim(start, 1)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_formatter(_percent)
        axes.set(xlabel="coverage: images not rejected", ylabel="error rate on them")
        axes.grid(axis="y", color=FAINT)
    return figure


def _mark_coverage(axes: Axes, coverage: float, error_rate: float) -> None:
    axes.plot(coverage, error_rate, "o", color=AMBER, clip_on=False)
    axes.annotate(
        f"{100 * coverage:g}%: {100 * error_rate:.2f}% errors",
        (coverage, error_rate),
        xytext=(-4, 8),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        color=AMBER,
    )
