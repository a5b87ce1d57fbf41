"""Pictures of how far answers can be trusted: intervals, calibration, what withholding buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.report.figures.style import AMBER, BLUE, FAINT, MUTED, drawing
from tenfold.report.metrics import Band, Score, wilson_interval
from tenfold.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def reliability(bands: Sequence[Band], calibration_error: float) -> Figure:
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
        promised = [max(1 - band.confidence, SMALLEST_SHARE) for band in bands]
        floor = min([*promised, 1e-3]) / 3
        axes.plot([floor, 1], [floor, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        beside = False
        for place, (share, band) in enumerate(zip(promised, bands, strict=True)):
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


def _draw_band(axes: Axes, share: float, band: Band, floor: float, *, beside: bool) -> None:
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
    note = f"From {counted(n, 'image')}, least sure withheld first. Band: 95 % Wilson interval."
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
