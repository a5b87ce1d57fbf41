"""The course of a training, drawn: loss, accuracy and learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.report.figures.style import AMBER, BLUE, MUTED, drawing
from tenfold.wording import counted, duration

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
    history: Sequence[Epoch], kept_epoch: int | None = None, stretches: Sequence[Epoch] = ()
) -> Figure:
    """Draw loss, accuracy and learning rate over the epochs, `kept_epoch` marked.

    Both upper scales are logarithmic, accuracy in its distance from 1: between 0.995 and 0.996
    lies a fifth of all mistakes, which a linear scale would hide.

    Args:
        history: for each epoch its number (`epoch`, from 1), `train_loss`, `train_accuracy`,
            `valid_loss`, `valid_accuracy`, `learning_rate`, and `elapsed_s` since the start;
            what was not measured may be None or missing.
        kept_epoch: the epoch whose weights the recognizer carries.
        stretches: the same of every few steps, where `epoch` is a fraction and nothing is
            validated; drawn thin.

    Raises:
        DataError: the history is empty.
    """
    if not history:
        raise DataError("the training history has no epochs, expected at least one")
    epochs = _column(history, "epoch")
    with drawing(9, 7.5, _headline(history, kept_epoch), _note(history)) as figure:
        loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.5))
        _draw_pair(loss, history, stretches, "loss", SMALLEST_LOSS)
        _draw_pair(accuracy, history, stretches, "accuracy", SMALLEST_ERROR)
        if stretches:
            points = _column(stretches, "epoch"), _column(stretches, "learning_rate")
            rate.plot(*points, color=MUTED)
        else:
            rate.plot(epochs, _column(history, "learning_rate"), color=MUTED, **_marker(epochs))
        rate.set(ylabel="learning rate", xlabel="epoch")
        rate.set_ylim(bottom=0)
        first = 0 if stretches else min(epochs[0], 1) - 0.5
        last = max(row["epoch"] or 0 for row in (history[-1], *stretches[-1:]))
        rate.set_xlim(first, 1.02 * last if stretches else last + 0.5)
        rate.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        figure.align_ylabels()
        if kept_epoch is not None:
            _mark_epoch((loss, accuracy, rate), kept_epoch)
    return figure


def _column(history: Sequence[Epoch], key: str) -> Numbers:
    """One number an epoch, float64 [E]; NaN where it was not measured."""
    numbers = (row.get(key) for row in history)
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def _headline(history: Sequence[Epoch], kept_epoch: int | None) -> str:
    count = counted(len(history), "epoch")
    for row in history:
        accuracy = row.get("valid_accuracy")
        if row["epoch"] == kept_epoch and accuracy is not None:
            kept = f"Epoch {kept_epoch} of {len(history)} was kept"
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
    return f"{note} Time taken: {duration(elapsed_s)}."


def _draw_pair(
    axes: Axes, history: Sequence[Epoch], stretches: Sequence[Epoch], quantity: str, floor: float
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
    fine = _height(_column(stretches, f"train_{quantity}"), quantity, max(floor, lowest))
    _rule(axes, np.concatenate([known, fine]), quantity)
    if stretches:
        axes.plot(_column(stretches, "epoch"), fine, color=AMBER, alpha=0.35, linewidth=0.8)
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


def _mark_epoch(panels: Sequence[Axes], kept_epoch: int) -> None:
    for axes in panels:
        axes.axvline(kept_epoch, color=MUTED, linewidth=1, linestyle=":")
    panels[0].annotate(
        f"kept: epoch {kept_epoch}",
        (kept_epoch, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        color=MUTED,
    )
