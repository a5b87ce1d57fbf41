"""Figures of searches, comparisons and ensembles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.formatting import format_value, pluralize
from tenfold.report.figures.style import (
    AMBER,
    BLUE,
    FAINT,
    FULL_INCHES,
    HALF_INCHES,
    MAX_HALF_CLASSES,
    MUTED,
    TEXT,
    drawing,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SLICE_COLUMNS = 4  # of the grid of scatter plots
MAX_UNSTAGGERED = 8  # names of parameters that fit side by side
MANY_MAGNITUDES = 1e4
PALE_BLUE = "#a9c4dd"


@dataclass(frozen=True)
class TrialPoint:
    """One trial of a search.

    Attributes:
        number: counted from 0.
        accuracies: on each rung that it finished, by the rung's budget fraction.
        params: its parameters, by name.
    """

    number: int
    accuracies: Mapping[float, float]
    params: Mapping[str, Any]

    @property
    def last(self) -> tuple[float, float]:
        """Budget fraction and accuracy on the highest rung: the best trial has the largest."""
        return max(self.accuracies.items())

    @property
    def first(self) -> tuple[float, float]:
        """Budget fraction and accuracy on the lowest rung."""
        return min(self.accuracies.items())


@dataclass(frozen=True)
class Axis:
    """One searched parameter: `kind` is "choice", "range" or "log", `values` choices or bounds."""

    param_name: str
    kind: str
    values: Sequence[Any]

    def positions(self, trials: Sequence[TrialPoint]) -> NDArray[np.float64]:
        """Return the position of each trial between the lowest value, 0, and the highest, 1."""
        params = [trial.params[self.param_name] for trial in trials]
        if self.kind == "choice":
            choices = [json.dumps(value) for value in self.values]
            indices = [choices.index(json.dumps(param)) for param in params]
            return np.array(indices) / max(1, len(choices) - 1)
        scale = np.log if self.kind == "log" else np.asarray
        low, high = scale(np.array(self.values, np.float64))
        positions: NDArray[np.float64] = (scale(np.array(params, np.float64)) - low) / (high - low)
        return positions


def search_history(trials: Sequence[TrialPoint], winner: TrialPoint) -> Figure:
    """Draw the accuracy of each trial on each rung, in the order in which they were sampled."""
    finalists = sum(trial.last[0] == winner.last[0] for trial in trials)
    title = f"Trial {winner.number} reached {winner.last[1]:.4f}, "
    title += f"the best of {finalists} on the last rung" if finalists > 1 else "alone on its rung"
    note = "Dots: accuracy on images held out from the trial, darker on each further rung."
    budgets = sorted({budget for trial in trials for budget in trial.accuracies})
    shade_of = dict(zip(budgets, _shades(len(budgets)), strict=True))
    with drawing(FULL_INCHES, 4.2, title, note) as figure:
        axes = figure.subplots()
        for trial in trials:
            accuracies = list(trial.accuracies.values())
            numbers = [trial.number] * len(accuracies)
            shades = [shade_of[budget] for budget in trial.accuracies]
            axes.plot(numbers, accuracies, color=FAINT, linewidth=1, zorder=1)
            axes.scatter(numbers, accuracies, color=shades, s=26, zorder=2)
        lowest = np.quantile([trial.first[1] for trial in trials], 0.15)
        highest = max(max(trial.accuracies.values()) for trial in trials)
        height = max(highest - lowest, 1e-4)
        below = sum(trial.first[1] < lowest - height / 4 for trial in trials)
        axes.set_ylim(lowest - height / 4, highest + height / 10)
        if below:
            axes.set_title(f"{below} below this range", color=MUTED, fontsize=9)
        axes.set(xlabel="trial", ylabel="accuracy")
        axes.grid(axis="y")
    return figure


def search_importance(importances: Mapping[str, float]) -> Figure:
    """Draw the importance of each parameter; they sum to 1."""
    first = next(iter(importances))
    title = f"{first} matters most: {importances[first]:.0%} of the variance"
    note = "Fraction of the variance of accuracy on the first rung, by a random forest (fANOVA)."
    with drawing(FULL_INCHES, 1.3 + 0.32 * len(importances), title, note) as figure:
        axes = figure.subplots()
        names = list(importances)[::-1]
        axes.barh(names, [importances[name] for name in names], color=BLUE, height=0.6)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def search_coordinates(
    trials: Sequence[TrialPoint], params: Sequence[Axis], winner: TrialPoint
) -> Figure:
    """Draw each trial as a line across all its parameters; those on the last rung in blue."""
    highest = max(trial.last[0] for trial in trials)
    finalists = [trial.last[0] == highest for trial in trials]
    title = f"The parameters of the {pluralize(sum(finalists), 'trial')} on the last rung, "
    title += f"of {len(trials)}"
    note = "A line is a trial: amber the winner, blue the last rung, pale those pruned before."
    with drawing(FULL_INCHES, 5.4, title, note) as figure:
        axes = figure.subplots()
        heights = np.stack([param.positions(trials) for param in params], axis=1)
        for trial, is_finalist, line in zip(trials, finalists, heights, strict=True):
            colour = AMBER if trial is winner else BLUE if is_finalist else PALE_BLUE
            width, order = (1.8, 3) if is_finalist else (0.7, 1)
            axes.plot(line, color=colour, linewidth=width, zorder=order + (trial is winner))
        for x, param in enumerate(params):
            axes.axvline(x, color=MUTED, linewidth=0.8, zorder=0)
            low, high = (format_value(value) for value in (param.values[0], param.values[-1]))
            axes.text(x, -0.04, low, ha="center", va="top", fontsize=8)
            axes.text(x, 1.03, high, ha="center", va="bottom", fontsize=8)
        labels = [param.param_name.replace(".", "\n", 1) for param in params]
        if len(params) > MAX_UNSTAGGERED:
            labels = ["\n\n" * (index % 2) + label for index, label in enumerate(labels)]
        axes.set_xticks(range(len(params)), labels, fontsize=8)
        axes.tick_params(length=0, pad=18)
        axes.set(yticks=[], xlim=(-0.3, len(params) - 0.7), ylim=(-0.02, 1.02))
        axes.spines[:].set_visible(False)
    return figure


def search_slices(trials: Sequence[TrialPoint], params: Sequence[Axis]) -> Figure:
    """Draw the accuracy of all trials on the first rung against each parameter."""
    columns = min(SLICE_COLUMNS, len(params))
    rows = -(-len(params) // columns)
    title = "Accuracy on the first rung against each parameter"
    smallest = min(trial.first[0] for trial in trials)
    trials = [trial for trial in trials if trial.first[0] == smallest]
    accuracies = np.array([trial.first[1] for trial in trials])
    tenth = np.quantile(accuracies, 0.1)
    lowest = tenth - (accuracies.max() - tenth) / 4
    note = f"{pluralize(len(trials), 'trial')} with the same budget, {smallest:.0%} of a training."
    if below := int((accuracies < lowest).sum()):
        note += f" {below} below this range."
    with drawing(FULL_INCHES, 1.2 + 2.0 * rows, title, note) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, param in zip(grid.flat, params, strict=False):
            _slice(axes, param, trials, accuracies)
        for axes in grid.flat[len(params) :]:
            axes.set_visible(False)
        grid[0, 0].set_ylim(lowest, None)
    return figure


def _slice(
    axes: Axes, param: Axis, trials: Sequence[TrialPoint], accuracies: NDArray[np.float64]
) -> None:
    if param.kind == "choice":
        indices = param.positions(trials) * (len(param.values) - 1)
        axes.scatter(indices, accuracies, s=14, color=BLUE)
        axes.set_xticks(range(len(param.values)), [format_value(value) for value in param.values])
    else:
        values = [trial.params[param.param_name] for trial in trials]
        axes.scatter(values, accuracies, s=14, color=BLUE)
        if param.kind == "log":
            _set_log_scale(axes)
    axes.set_title(param.param_name, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y")


def _set_log_scale(axes: Axes) -> None:
    """Make the x axis logarithmic, with ticks at 1 and 3 of each order of magnitude."""
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 - slow to import

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()


def _shades(count: int) -> list[str]:
    """Return so many blues, from pale to dark."""
    pale, dark = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in (PALE_BLUE, BLUE))
    steps = np.linspace(0, 1, count) if count > 1 else np.array([1.0])
    mixed = [np.round(pale + (dark - pale) * step).astype(int) for step in steps]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed]


@dataclass(frozen=True)
class MethodPoint:
    """One method of a comparison.

    Attributes:
        name: of the method.
        seconds: to fit, and to predict 10,000 images.
        error: fraction of wrong predictions.
        interval: of the error, 95%.
        is_subset: whether it was fitted on fewer images than the others.
    """

    name: str
    seconds: float
    error: float
    interval: tuple[float, float]
    is_subset: bool


def pareto_front(points: Sequence[MethodPoint]) -> list[MethodPoint]:
    """Return the methods that no other beats in both time and error, fastest first."""
    front: list[MethodPoint] = []
    for point in sorted(points, key=lambda each: (each.seconds, each.error)):
        if not front or point.error < front[-1].error:
            front.append(point)
    return front


def method_comparison(points: Sequence[MethodPoint], n: int, hardware: str) -> Figure:
    """Draw the error of each method against its seconds, both on logarithmic axes.

    Args:
        points: the methods.
        n: images that each method predicted.
        hardware: what each fit ran on, in words.
    """
    best = min(points, key=lambda each: each.error)
    smallest = 0.5 / n  # in place of 0, which a logarithmic axis does not have
    points = [replace(each, error=max(each.error, smallest)) for each in points]
    title = f"{best.name} has the lowest error: {best.error:.2%} of {n:,} images"
    note = f"On {hardware}. Line: the Pareto front, where no method is both faster and better."
    if any(each.is_subset for each in points):
        note += " Hollow: trained on fewer images."
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 - slow to import

    with drawing(FULL_INCHES, 6, title, note) as figure:
        axes = figure.subplots()
        front = pareto_front(points)
        steps = ([each.seconds for each in front], [each.error for each in front])
        axes.plot(*steps, color=AMBER, drawstyle="steps-post", linewidth=1.2, zorder=1)
        for each in points:
            low, high = (max(bound, smallest) for bound in each.interval)
            axes.vlines(each.seconds, low, high, color=BLUE, linewidth=1)
            face = "white" if each.is_subset else BLUE
            axes.plot(each.seconds, each.error, "o", color=BLUE, markerfacecolor=face, markersize=6)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        axes.xaxis.set_major_locator(LogLocator(subs=_time_steps(points)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.minorticks_off()
        axes.set(xlabel="seconds to train, and to predict 10,000 images", ylabel="error")
        axes.margins(x=0.12, y=0.08)
        _annotate(axes, points, {each.name for each in front})
        axes.grid(axis="both", which="major")
    return figure


def _time_steps(points: Sequence[MethodPoint]) -> tuple[int, ...]:
    """Return the ticks of each order of magnitude: more where the times are close together."""
    seconds = [each.seconds for each in points]
    return (1,) if max(seconds) > MANY_MAGNITUDES * min(seconds) else (1, 2, 5)


def _annotate(axes: Axes, points: Sequence[MethodPoint], bold: set[str]) -> None:
    """Write names beside their dots, to the left where another dot is close on the right."""
    spots = np.log10([[each.seconds, each.error] for each in points])
    span = np.maximum(np.ptp(spots, axis=0), 1e-9)
    spots = (spots - spots.min(axis=0)) / span * np.array([9.0, 6.0])  # about inches
    for index, each in enumerate(points):
        distance = spots - spots[index]
        near = (np.abs(distance[:, 0]) < 1.2) & (np.abs(distance[:, 1]) < 0.25)
        near[index] = False
        is_right_free = not (near & (distance[:, 0] >= 0)).any()
        axes.annotate(
            each.name,
            (each.seconds, each.error),
            xytext=(5 if is_right_free else -5, 3),
            textcoords="offset points",
            ha="left" if is_right_free else "right",
            va="bottom",
            fontsize=9,
            color=TEXT,
            fontweight="bold" if each.name in bold else "normal",
        )


def ensemble_size(accuracies: Mapping[int, NDArray[np.float64]], n: int) -> Figure:
    """Draw the accuracy of ensembles of 1, 2, … members.

    Args:
        accuracies: for each number of members, those of some ensembles of that size.
        n: images that each accuracy was measured on.
    """
    counts = list(accuracies)
    single, full = accuracies[counts[0]].mean(), accuracies[counts[-1]].mean()
    title = f"One member: {single:.4f} on average. All {counts[-1]} together: {full:.4f}"
    note = f"Dots: ensembles drawn at random, each on the same {n:,} images. Line: their mean."
    with drawing(HALF_INCHES, 4.6, title, note) as figure:
        axes = figure.subplots()
        for count, values in accuracies.items():
            axes.plot(
                np.full(len(values), count), values, "o", color=BLUE, alpha=0.25, markersize=4
            )
        axes.plot(counts, [values.mean() for values in accuracies.values()], color=BLUE)
        axes.set(xlabel="members", ylabel="accuracy")
        axes.set_xticks(counts[:: -(-len(counts) // 12)])
        axes.grid(axis="y")
    return figure


def disagreement(member_predictions: NDArray[np.int64]) -> Figure:
    """Draw on how many images each two members disagree.

    Args:
        member_predictions: int64 [M, N], the class that each member predicts for each image.
    """
    members, n = member_predictions.shape
    differing = (member_predictions[:, None] != member_predictions[None]).sum(axis=2)
    pairs = differing[np.triu_indices(members, 1)]
    title = f"On average, two members disagree\non {pairs.mean():,.0f} of {n:,} images"
    note = "Images for which two members predict different classes."
    side = HALF_INCHES if members <= MAX_HALF_CLASSES else FULL_INCHES
    with drawing(side, side, title, note) as figure:
        axes = figure.subplots()
        matrix = differing.astype(np.float64)
        np.fill_diagonal(matrix, np.nan)
        highest = float(np.nanmax(matrix, initial=1.0))
        axes.imshow(np.ma.masked_invalid(matrix), cmap="Blues", vmin=0, vmax=1.3 * highest)
        if members <= 20:
            for row, column in zip(*np.where(~np.eye(members, dtype=bool)), strict=True):
                count = differing[row, column]
                text = axes.text(column, row, f"{count}", ha="center", va="center")
                colour = "white" if count > 0.8 * highest else TEXT
                text.set(fontsize=8, color=colour, in_layout=False)
        numbers = [str(index + 1) for index in range(members)]
        axes.set_xticks(range(members), numbers)
        axes.set_yticks(range(members), numbers)
        axes.set(xlabel="member", ylabel="member")
        axes.tick_params(length=0, colors=MUTED)
        axes.spines[:].set_visible(False)
    return figure
