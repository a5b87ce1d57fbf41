"""Pictures of a search: how its trials went, and what their choices did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.formatting import format_value, pluralize
from tenfold.report.figures.style import AMBER, BLUE, FAINT, MUTED, TEXT, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLUMNS = 4  # of small pictures beside each other
FAINT_BLUE = "#a9c4dd"


@dataclass(frozen=True)
class TrialPoint:
    """One trial as the pictures need it.

    Attributes:
        number: counted from 0.
        reached: accuracy on each rung that it ran, by the rung's share of a whole training.
        values: what was tried, by place in the recipe.
    """

    number: int
    reached: Mapping[float, float]
    values: Mapping[str, Any]

    @property
    def last(self) -> tuple[float, float]:
        """Share and accuracy of the dearest rung: the largest is the best trial."""
        return max(self.reached.items())

    @property
    def first(self) -> tuple[float, float]:
        """Share and accuracy of the cheapest rung."""
        return min(self.reached.items())


@dataclass(frozen=True)
class Axis:
    """One field that was searched: `kind` is "choice", "range" or "log", `values` its bounds."""

    place: str
    kind: str
    values: Sequence[Any]

    def positions(self, tried: Sequence[TrialPoint]) -> NDArray[np.float64]:
        """Return where each trial stands between the lowest, 0, and the highest, 1."""
        found = [trial.values[self.place] for trial in tried]
        if self.kind == "choice":
            choices = [json.dumps(value) for value in self.values]
            steps = [choices.index(json.dumps(value)) for value in found]
            return np.array(steps) / max(1, len(choices) - 1)
        scale = np.log if self.kind == "log" else np.asarray
        low, high = scale(np.array(self.values, np.float64))
        placed: NDArray[np.float64] = (scale(np.array(found, np.float64)) - low) / (high - low)
        return placed


def search_history(tried: Sequence[TrialPoint], winner: TrialPoint) -> Figure:
    """Draw what each trial reached on each rung, in the order in which they were drawn."""
    furthest = sum(trial.last[0] == winner.last[0] for trial in tried)
    title = f"Trial {winner.number} reached {winner.last[1]:.4f}, "
    title += f"the best of {furthest} that went furthest" if furthest > 1 else "and went furthest"
    note = "Dots: accuracy on images held out from the trial, bluer on each further rung."
    shares = sorted({share for trial in tried for share in trial.reached})
    shade_of = dict(zip(shares, _shades(len(shares)), strict=True))
    with drawing(9, 4.2, title, note) as figure:
        axes = figure.subplots()
        for trial in tried:
            numbers, accuracies = [trial.number] * len(trial.reached), list(trial.reached.values())
            shades = [shade_of[share] for share in trial.reached]
            axes.plot(numbers, accuracies, color=FAINT, linewidth=1, zorder=1)
            axes.scatter(numbers, accuracies, color=shades, s=26, zorder=2)
        lowest = np.quantile([trial.first[1] for trial in tried], 0.15)
        highest = max(max(trial.reached.values()) for trial in tried)
        room = max(highest - lowest, 1e-4)
        below = sum(trial.first[1] < lowest - room / 4 for trial in tried)
        axes.set_ylim(lowest - room / 4, highest + room / 10)
        if below:
            axes.set_title(f"{below} further below", color=MUTED, fontsize=9)
        axes.set(xlabel="trial", ylabel="accuracy")
        axes.grid(axis="y")
    return figure


def search_importance(shares: Mapping[str, float]) -> Figure:
    """Draw how much of the differences between trials each choice explains."""
    first = next(iter(shares))
    title = f"{first} mattered most: {shares[first]:.0%} of the differences"
    note = "Share of the variance of accuracy on the first rung, by a random forest (fANOVA)."
    with drawing(9, 1.3 + 0.32 * len(shares), title, note) as figure:
        axes = figure.subplots()
        names = list(shares)[::-1]
        axes.barh(names, [shares[name] for name in names], color=BLUE, height=0.6)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def search_coordinates(
    tried: Sequence[TrialPoint], axes_of: Sequence[Axis], winner: TrialPoint
) -> Figure:
    """Draw each trial as a line across all its choices; those that went furthest in blue."""
    furthest = max(trial.last[0] for trial in tried)
    finalists = [trial.last[0] == furthest for trial in tried]
    furthest_of = pluralize(sum(finalists), "trial")
    title = f"What went furthest, {furthest_of} of {len(tried)}, and what each chose"
    note = "A line is a trial: blue the furthest, amber the winner, pale those that stopped."
    with drawing(11, 5, title, note) as figure:
        axes = figure.subplots()
        heights = np.stack([axis.positions(tried) for axis in axes_of], axis=1)
        for trial, is_finalist, line in zip(tried, finalists, heights, strict=True):
            colour = AMBER if trial is winner else BLUE if is_finalist else FAINT_BLUE
            width, order = (1.8, 3) if is_finalist else (0.7, 1)
            axes.plot(line, color=colour, linewidth=width, zorder=order + (trial is winner))
        for at, axis in enumerate(axes_of):
            axes.axvline(at, color=MUTED, linewidth=0.8, zorder=0)
            low, high = (format_value(value) for value in (axis.values[0], axis.values[-1]))
            axes.text(at, -0.04, low, ha="center", va="top", fontsize=8)
            axes.text(at, 1.03, high, ha="center", va="bottom", fontsize=8)
        axes.set_xticks(range(len(axes_of)), [_stacked(axis.place) for axis in axes_of], fontsize=8)
        axes.tick_params(length=0, pad=18, rotation=30 if len(axes_of) > 8 else 0)
        axes.set(yticks=[], xlim=(-0.3, len(axes_of) - 0.7), ylim=(-0.02, 1.02))
        axes.spines[:].set_visible(False)
    return figure


def search_slices(tried: Sequence[TrialPoint], axes_of: Sequence[Axis]) -> Figure:
    """Draw the accuracy of all trials on the first rung against each choice."""
    columns = min(COLUMNS, len(axes_of))
    rows = -(-len(axes_of) // columns)
    title = "Accuracy on the first rung against each choice"
    cheapest = min(trial.first[0] for trial in tried)
    tried = [trial for trial in tried if trial.first[0] == cheapest]
    first = np.array([trial.first[1] for trial in tried])
    middle = np.quantile(first, 0.1)
    lowest = middle - (first.max() - middle) / 4
    note = f"{pluralize(len(tried), 'trial')} at {cheapest:.0%} of a training: like with like."
    if below := int((first < lowest).sum()):
        note += f" {below} further below."
    with drawing(max(5.0, 2.8 * columns), 1.2 + 2.0 * rows, title, note) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, axis in zip(grid.flat, axes_of, strict=False):
            _slice(axes, axis, tried, first)
        for axes in grid.flat[len(axes_of) :]:
            axes.set_visible(False)
        grid[0, 0].set_ylim(lowest, None)
    return figure


def _slice(axes: Axes, axis: Axis, tried: Sequence[TrialPoint], first: NDArray[np.float64]) -> None:
    if axis.kind == "choice":
        axes.scatter(axis.positions(tried) * (len(axis.values) - 1), first, s=14, color=BLUE)
        axes.set_xticks(range(len(axis.values)), [format_value(value) for value in axis.values])
    else:
        axes.scatter([trial.values[axis.place] for trial in tried], first, s=14, color=BLUE)
        if axis.kind == "log":
            _count_in_orders(axes)
    axes.set_title(axis.place, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y")


def _count_in_orders(axes: Axes) -> None:
    """Make the x axis logarithmic, with 1 and 3 of each order written out."""
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 - slow to import

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()


def _shades(count: int) -> list[str]:
    """Return so many blues, from pale to dark."""
    pale, dark = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in (FAINT_BLUE, BLUE))
    steps = np.linspace(0, 1, count) if count > 1 else np.array([1.0])
    mixed = [np.round(pale + (dark - pale) * step).astype(int) for step in steps]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed]


def _stacked(place: str) -> str:
    section, _, field = place.partition(".")
    return f"{section}\n{field}"


@dataclass(frozen=True)
class MethodPoint:
    """One method: its seconds of work, and its share of wrong answers with an interval."""

    name: str
    seconds: float
    error: float
    interval: tuple[float, float]
    partial: bool


def frontier(placed: Sequence[MethodPoint]) -> list[MethodPoint]:
    """Return those that nobody beats in both, quickest first."""
    found: list[MethodPoint] = []
    for one in sorted(placed, key=lambda each: (each.seconds, each.error)):
        if not found or one.error < found[-1].error:
            found.append(one)
    return found


def methods(placed: Sequence[MethodPoint], n: int, place: str) -> Figure:
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


def _label(axes: Axes, placed: Sequence[MethodPoint], leaders: set[str]) -> None:
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


def ensemble_size(accuracies: Mapping[int, NDArray[np.float64]], n: int) -> Figure:
    """Draw the accuracy of ensembles of 1, 2, … members.

    Args:
        accuracies: for each number of members, those of some ensembles of so many.
        n: images that each was counted on.
    """
    counts = list(accuracies)
    alone, together = accuracies[counts[0]].mean(), accuracies[counts[-1]].mean()
    title = f"One member: {alone:.4f} on average. All {counts[-1]} together: {together:.4f}"
    note = f"Dots: ensembles drawn at random, each on the same {n:,} images. Line: their mean."
    with drawing(9, 4.2, title, note) as figure:
        axes = figure.subplots()
        for count, found in accuracies.items():
            axes.plot(np.full(len(found), count), found, "o", color=BLUE, alpha=0.25, markersize=4)
        axes.plot(counts, [found.mean() for found in accuracies.values()], color=BLUE)
        axes.set(xlabel="members", ylabel="accuracy")
        axes.set_xticks(counts[:: -(-len(counts) // 15)])
        axes.grid(axis="y")
    return figure


def disagreement(votes: NDArray[np.int64]) -> Figure:
    """Draw on how many images of `votes` int64 [M, N] each two members answer differently."""
    apart = (votes[:, None] != votes[None]).sum(axis=2)
    pairs = apart[np.triu_indices(len(votes), 1)]
    n = votes.shape[1]
    title = f"On average, two members disagree\non {pairs.mean():,.0f} of {n:,} images"
    note = "Images that two members answer differently."
    side = float(np.clip(0.5 * len(votes) + 2.5, 5, 12))
    with drawing(side, side, title, note) as figure:
        axes = figure.subplots()
        blank = apart.astype(np.float64)
        np.fill_diagonal(blank, np.nan)
        top = float(np.nanmax(blank, initial=1.0))
        axes.imshow(np.ma.masked_invalid(blank), cmap="Blues", vmin=0, vmax=1.3 * top)
        if len(votes) <= 20:
            for row, column in zip(*np.where(~np.eye(len(votes), dtype=bool)), strict=True):
                colour = "white" if apart[row, column] > 0.8 * top else TEXT
                text = axes.text(column, row, f"{apart[row, column]}", ha="center", va="center")
                text.set(fontsize=8, color=colour, in_layout=False)
        names = [str(index + 1) for index in range(len(votes))]
        axes.set_xticks(range(len(votes)), names)
        axes.set_yticks(range(len(votes)), names)
        axes.set(xlabel="member", ylabel="member")
        axes.tick_params(length=0, colors=MUTED)
        axes.spines[:].set_visible(False)
    return figure
