"""The course of a training, drawn: loss, accuracy and learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.formatting import format_duration, pluralize
from tenfold.report.figures.style import (
    AMBER,
    BLUE,
    MUTED,
    as_ink,
    drawing,
    enlarge,
    mosaic,
    show_ink,
    show_signed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Epoch = Mapping[str, float | int | None]
Numbers = NDArray[np.float64]

SMALLEST_ERROR = 1e-4
SMALLEST_LOSS = 1e-6
# 1, 2, 5, 10, …: the rungs between which a logarithmic axis begins and ends.
LADDER = np.array([step * 10.0**power for power in range(-6, 4) for step in (1, 2, 5)])


def training_curves(
    history: Sequence[Epoch], best_epoch: int | None = None, intervals: Sequence[Epoch] = ()
) -> Figure:
    """Draw loss, accuracy and learning rate over the epochs, `best_epoch` marked.

    Both upper scales are logarithmic, accuracy in its distance from 1: between 0.995 and 0.996
    lies a fifth of all mistakes, which a linear scale would hide.

    Args:
        history: for each epoch its number (`epoch`, from 1), `train_loss`, `train_accuracy`,
            `valid_loss`, `valid_accuracy`, `learning_rate`, and `elapsed_s` since the start;
            what was not measured may be None or missing.
        best_epoch: the epoch whose weights the recognizer carries.
        stretches: the same of every few steps, where `epoch` is a fraction and nothing is
            validated; drawn thin.

    Raises:
        DataError: the history is empty.
    """
    if not history:
        raise DataError("the training history has no epochs, expected at least one")
    epochs = _column(history, "epoch")
    with drawing(9, 7.5, _headline(history, best_epoch), _note(history)) as figure:
        loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.5))
        _draw_pair(loss, history, intervals, "loss", SMALLEST_LOSS)
        _draw_pair(accuracy, history, intervals, "accuracy", SMALLEST_ERROR)
        if intervals:
            points = _column(intervals, "epoch"), _column(intervals, "learning_rate")
            rate.plot(*points, color=MUTED)
        else:
            rate.plot(epochs, _column(history, "learning_rate"), color=MUTED, **_marker(epochs))
        rate.set(ylabel="learning rate", xlabel="epoch")
        rate.set_ylim(bottom=0)
        first = 0 if intervals else min(epochs[0], 1) - 0.5
        last = max(row["epoch"] or 0 for row in (history[-1], *intervals[-1:]))
        rate.set_xlim(first, 1.02 * last if intervals else last + 0.5)
        rate.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        figure.align_ylabels()
        if best_epoch is not None:
            _mark_epoch((loss, accuracy, rate), best_epoch)
    return figure


def _column(history: Sequence[Epoch], key: str) -> Numbers:
    """One number an epoch, float64 [E]; NaN where it was not measured."""
    numbers = (row.get(key) for row in history)
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def _headline(history: Sequence[Epoch], best_epoch: int | None) -> str:
    count = pluralize(len(history), "epoch")
    for row in history:
        accuracy = row.get("valid_accuracy")
        if row["epoch"] == best_epoch and accuracy is not None:
            kept = f"Epoch {best_epoch} of {len(history)} was kept"
            return f"{kept}: validation accuracy {accuracy:.4f}"
    for name, column in (("Validation", "valid_accuracy"), ("Training", "train_accuracy")):
        last = history[-1].get(column)
        if last is not None:
            return f"{name} accuracy {last:.4f} after {count}"
    return f"Training over {count}"


def _note(history: Sequence[Epoch]) -> str:
    note = "Logarithmic scales: equal steps are equal ratios of loss, or of mistakes."
    elapsed_s = history[-1].get("elapsed_s")
    if elapsed_s is None:
        return note
    return f"{note} Time taken: {format_duration(elapsed_s)}."


def _draw_pair(
    axes: Axes, history: Sequence[Epoch], intervals: Sequence[Epoch], quantity: str, floor: float
) -> None:
    """Draw training and validation `quantity` on one logarithmic axis, each named at its end."""
    epochs = _column(history, "epoch")
    pair = {
        "training": (_column(history, f"train_{quantity}"), AMBER),
        "validation": (_column(history, f"valid_{quantity}"), BLUE),
    }
    heights = {name: _height(values, quantity, floor) for name, (values, _) in pair.items()}
    known = np.concatenate(list(heights.values()))
    # A lucky batch without a mistake would stretch the axis to where nothing else is.
    lowest = np.nanmin(known, initial=np.inf) / 2
    fine = _height(_column(intervals, f"train_{quantity}"), quantity, max(floor, lowest))
    _rule(axes, np.concatenate([known, fine]), quantity)
    if intervals:
        axes.plot(_column(intervals, "epoch"), fine, color=AMBER, alpha=0.35, linewidth=0.8)
    ends = []
    for name, (values, colour) in pair.items():
        known = np.isfinite(heights[name])
        if known.any():
            axes.plot(epochs, heights[name], color=colour, **_marker(epochs))
            label = f"{name} {values[known][-1]:.4f}"
            ends.append((label, float(heights[name][known][-1]), colour))
    _name_ends(axes, ends)


def _height(values: Numbers, quantity: str, floor: float) -> Numbers:
    """Where `values` stand on the axis: loss as it is, accuracy as its distance from 1."""
    height = 1 - values if quantity == "accuracy" else values
    return np.where(np.isfinite(height), height.clip(floor, LADDER[-1]), np.nan)


def _rule(axes: Axes, heights: Numbers, quantity: str) -> None:
    """Let the axis reach from rung to rung of the ladder around `heights`, and rule it there."""
    known = heights[np.isfinite(heights)]
    low, high = (known.min(), known.max()) if known.size else (0.1, 1.0)
    ladder = LADDER[LADDER <= 1] if quantity == "accuracy" else LADDER
    first = int(np.searchsorted(ladder, low, side="right")) - 1
    first = min(max(first, 0), len(ladder) - 2)
    last = max(int(np.searchsorted(ladder, high)), first + 1)
    rungs = ladder[first : last + 1]
    axes.set_yscale("log")
    axes.minorticks_off()
    if quantity == "accuracy":
        names = [f"{1 - rung:g}" for rung in rungs]
        if low <= SMALLEST_ERROR:
            names[0] = f"≥ {names[0]}"
        axes.set_yticks(rungs, names)
        axes.set_ylim(rungs[-1], rungs[0])
    else:
        axes.set_yticks(rungs, [f"{rung:g}" for rung in rungs])
        axes.set_ylim(rungs[0], rungs[-1])
    axes.set_ylabel(quantity)
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _marker(epochs: Numbers) -> dict[str, Any]:
    """Dots while they are few: a single epoch has no line to be seen by."""
    return {"marker": "o" if len(epochs) <= 20 else "", "markersize": 4, "clip_on": False}


def _name_ends(axes: Axes, ends: list[tuple[str, float, str]]) -> None:
    """Write each (text, height, colour) right of the axes, moved apart where they would touch."""
    to_fraction = axes.transAxes.inverted()
    places = [to_fraction.transform(axes.transData.transform((1, end[1])))[1] for end in ends]
    order = np.argsort(places)
    spread = np.sort(places)
    if len(spread) == 2 and spread[1] - spread[0] < 0.1:
        spread = spread.mean() + np.array([-0.05, 0.05])
    for index, place in zip(order, spread, strict=True):
        text, _, colour = ends[index]
        axes.text(1.01, place, text, color=colour, va="center", transform=axes.transAxes)


def _mark_epoch(panels: Sequence[Axes], best_epoch: int) -> None:
    for axes in panels:
        axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":")
    panels[0].annotate(
        f"kept: epoch {best_epoch}",
        (best_epoch, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        color=MUTED,
    )


MAPS_OF_A_STAGE = 16


def filters(weights: NDArray[np.floating[Any]]) -> Figure:
    """Draw first-layer filters, `weights` float [K, k, k], all on one scale.

    Raises:
        DataError: there are none, or they are no stack of planes.
    """
    if weights.ndim != 3 or not len(weights):
        raise DataError(f"filters are {list(weights.shape)}, expected [K, k, k] with K at least 1")
    count, height, width = weights.shape
    title = f"{pluralize(count, 'filter')} of the first layer, {height} × {width} pixels each"
    columns = max(6, int(np.ceil(np.sqrt(2 * count))))
    sheet = mosaic(enlarge(weights, 40), columns, (4, 4))
    note = "Blue asks for ink, amber for paper; the stronger the colour, the more."
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
    note = "Blue: the map responds; the stronger the colour, the more. Amber: below zero."
    columns = 8 if len(stages) <= 4 else 16
    rows = [-(-min(len(maps), MAPS_OF_A_STAGE) // columns) for _, maps in stages]
    height = max(2.5, sum(rows) * 8 / columns + 0.3 * len(rows) + 0.9)
    with drawing(10, height, title, note) as figure:
        grid = figure.add_gridspec(len(stages), 2, width_ratios=(1, 4), height_ratios=rows)
        left = figure.add_subplot(grid[:, 0])
        show_ink(left, as_ink(image))
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
    return f"{name}: {first}{pluralize(count, 'map')}, {height} × {width}"


def _bound(values: NDArray[np.floating[Any]]) -> float:
    """The magnitude drawn in full colour: nearly the largest, so that one outlier fades nothing."""
    bound = float(np.quantile(np.abs(values), 0.99))
    return bound or float(np.abs(values).max()) or 1.0


def attribution(
    images: NDArray[np.uint8], maps: NDArray[np.floating[Any]], captions: Sequence[str]
) -> Figure:
    """Draw images, and below each what in it spoke for the answer and what against.

    Args:
        images: uint8 [N, S, S], ink bright.
        maps: float [N, S, S], positive where the ink spoke for the answer.
        captions: one for each image.
    """
    title = "What decided: each image, and what wiping out parts of it would do"
    note = "Blue: without this part the answer would be less certain. Amber: more certain."
    columns = len(images)
    with drawing(max(8, 1.25 * columns), 3.4, title, note) as figure:
        panels = figure.subplots(2, columns, squeeze=False)
        for index in range(columns):
            show_ink(panels[0, index], as_ink(images[index]))
            panels[0, index].set_title(captions[index], fontsize=9)
            show_signed(panels[1, index], maps[index], _bound(maps[index]))
    return figure
