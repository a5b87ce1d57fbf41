"""The picture of a comparison of methods: mistakes against time, with the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tenfold.report.figures.style import AMBER, BLUE, TEXT, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Placed:
    """One method: its seconds of work, and its share of wrong answers with an interval."""

    name: str
    seconds: float
    error: float
    interval: tuple[float, float]
    partial: bool


def frontier(placed: Sequence[Placed]) -> list[Placed]:
    """Return those that nobody beats in both, quickest first."""
    found: list[Placed] = []
    for one in sorted(placed, key=lambda each: (each.seconds, each.error)):
        if not found or one.error < found[-1].error:
            found.append(one)
    return found


def methods(placed: Sequence[Placed], n: int, place: str) -> Figure:
    """Draw wrong answers against seconds of work on `place`, both on logarithmic axes."""
    best = min(placed, key=lambda each: each.error)
    least = 0.5 / n  # where none is drawn: a logarithmic axis has no zero
    placed = [replace(each, error=max(each.error, least)) for each in placed]
    title = f"{best.name} makes the fewest mistakes: {best.error:.2%} of {n:,} images"
    note = f"On {place}. Line: the frontier, where nothing is both quicker and better."
    if any(each.partial for each in placed):
        note += " Hollow: learned from fewer images."
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 - slow to import

    with drawing(9, 6, title, note) as figure:
        axes = figure.subplots()
        line = frontier(placed)
        steps = ([each.seconds for each in line], [each.error for each in line])
        axes.plot(*steps, color=AMBER, drawstyle="steps-post", linewidth=1.2, zorder=1)
        for each in placed:
            low, high = (max(bound, least) for bound in each.interval)
            axes.vlines(each.seconds, low, high, color=BLUE, linewidth=1)
            face = "white" if each.partial else BLUE
            axes.plot(each.seconds, each.error, "o", color=BLUE, markerfacecolor=face, markersize=6)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.minorticks_off()
        axes.set(xlabel="seconds to train, and to answer 10,000 images", ylabel="wrong answers")
        axes.margins(x=0.12, y=0.08)
        _label(axes, placed, {each.name for each in line})
        axes.grid(axis="both", which="major")
    return figure


def _label(axes: Axes, placed: Sequence[Placed], leaders: set[str]) -> None:
    """Write names beside their dots, to the left where another dot is close on the right."""
    spots = np.log10([[each.seconds, each.error] for each in placed])
    span = np.maximum(np.ptp(spots, axis=0), 1e-9)
    spots = (spots - spots.min(axis=0)) / span * np.array([9.0, 6.0])  # about inches
    for index, each in enumerate(placed):
        apart = spots - spots[index]
        near = (np.abs(apart[:, 0]) < 1.2) & (np.abs(apart[:, 1]) < 0.25)
        near[index] = False
        is_right_free = not (near & (apart[:, 0] >= 0)).any()
        weight = "bold" if each.name in leaders else "normal"
        axes.annotate(
            each.name,
            (each.seconds, each.error),
            xytext=(5 if is_right_free else -5, 3),
            textcoords="offset points",
            ha="left" if is_right_free else "right",
            va="bottom",
            fontsize=9,
            color=TEXT,
            fontweight=weight,
        )
