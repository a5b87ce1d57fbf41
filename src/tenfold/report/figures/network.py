"""Pictures of what a network does with an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.report.figures.style import as_ink, drawing, enlarge, mosaic, show_ink, show_signed
from tenfold.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS_OF_A_STAGE = 16


def filters(weights: NDArray[np.floating[Any]]) -> Figure:
    """Draw first-layer filters, `weights` float [K, k, k], all on one scale.

    Raises:
        DataError: there are none, or they are no stack of planes.
    """
    if weights.ndim != 3 or not len(weights):
        raise DataError(f"filters are {list(weights.shape)}, expected [K, k, k] with K at least 1")
    count, height, width = weights.shape
    title = f"{counted(count, 'filter')} of the first layer, {height} × {width} pixels each"
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
    return f"{name}: {first}{counted(count, 'map')}, {height} × {width}"


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
