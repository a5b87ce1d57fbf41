"""Pictures of an ensemble: what each further member adds, and where members disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.report.figures.style import BLUE, MUTED, TEXT, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def growth_with_members(accuracies: Mapping[int, NDArray[np.float64]], n: int) -> Figure:
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
