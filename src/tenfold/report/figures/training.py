"""Figures of a trained network: learning curves, feature maps, attributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.formatting import format_duration, pluralize
from tenfold.report.figures.style import (
    AMBER,
    BLUE,
    FULL_INCHES,
    MUTED,
    as_ink,
    drawing,
    enlarge,
    label_ends,
    mosaic,
    save,
    show_ink,
    show_signed,
)
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback, Throttle, TrainingProgress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tenfold.training.state import TrainState

Metrics = Mapping[str, float | int | None]
Floats = NDArray[np.float64]

MIN_ERROR_RATE = 1e-4  # lower values are drawn here: a logarithmic axis has no zero
MIN_LOSS = 1e-6
# 1, 2, 5, 10, …: where a logarithmic axis has its ticks and its ends.
TICKS = np.array([step * 10.0**power for power in range(-6, 4) for step in (1, 2, 5)])
MAX_MAPS = 16  # of a layer
MAX_ATTRIBUTIONS = 12  # images in a figure
PLOT_INTERVAL_S = 15.0


def training_curves(
    history: Sequence[Metrics], best_epoch: int | None = None, intervals: Sequence[Metrics] = ()
) -> Figure:
    """Draw loss, accuracy and learning rate over the epochs, `best_epoch` marked.

    Loss and accuracy have logarithmic axes, accuracy by its error rate: between 0.995 and 0.996
    lies a fifth of all errors, which a linear axis would hide.

    Args:
        history: for each epoch its number (`epoch`, from 1), `train_loss`, `train_accuracy`,
            `valid_loss`, `valid_accuracy`, `learning_rate`, and `elapsed_s` since the start;
            what was not measured may be None or missing.
        best_epoch: the epoch whose weights the recognizer has.
        intervals: likewise for every few steps, where `epoch` is a fraction and nothing is
            validated; drawn thin.

    Raises:
        DataError: the history is empty.
    """
    if not history:
        raise DataError("the training history has no epochs, expected at least one")
    epochs = _column(history, "epoch")
    with drawing(FULL_INCHES, 7, _title(history, best_epoch), _note(history)) as figure:
        loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.5))
        _draw_metric(loss, history, intervals, "loss", MIN_LOSS)
        _draw_metric(accuracy, history, intervals, "accuracy", MIN_ERROR_RATE)
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


def _column(rows: Sequence[Metrics], key: str) -> Floats:
    """Return one value per row, float64 [E]; NaN where it was not measured."""
    values = (row.get(key) for row in rows)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _title(history: Sequence[Metrics], best_epoch: int | None) -> str:
    for row in history:
        accuracy = row.get("valid_accuracy")
        if row["epoch"] == best_epoch and accuracy is not None:
            selected = f"Epoch {best_epoch} of {len(history)} selected"
            return f"{selected}: validation accuracy {accuracy:.4f}"
    epochs = pluralize(len(history), "epoch")
    for name, key in (("Validation", "valid_accuracy"), ("Training", "train_accuracy")):
        last = history[-1].get(key)
        if last is not None:
            return f"{name} accuracy {last:.4f} after {epochs}"
    return f"Training over {epochs}"


def _note(history: Sequence[Metrics]) -> str:
    note = "Logarithmic axes of the loss and of the error rate, 1 − accuracy."
    elapsed_s = history[-1].get("elapsed_s")
    if elapsed_s is None:
        return note
    return f"{note} Training time: {format_duration(elapsed_s)}."


def _draw_metric(
    axes: Axes, history: Sequence[Metrics], intervals: Sequence[Metrics], metric: str, floor: float
) -> None:
    """Draw training and validation `metric` on one logarithmic axis, labelled at their ends."""
    epochs = _column(history, "epoch")
    curves = {
        "training": (_column(history, f"train_{metric}"), AMBER),
        "validation": (_column(history, f"valid_{metric}"), BLUE),
    }
    heights = {name: _to_height(values, metric, floor) for name, (values, _) in curves.items()}
    finite = np.concatenate(list(heights.values()))
    # An interval without an error would extend the axis far below everything else.
    lowest = np.nanmin(finite, initial=np.inf) / 2
    fine = _to_height(_column(intervals, f"train_{metric}"), metric, max(floor, lowest))
    _set_ticks(axes, np.concatenate([finite, fine]), metric)
    if intervals:
        axes.plot(_column(intervals, "epoch"), fine, color=AMBER, alpha=0.35, linewidth=0.8)
    ends = []
    for name, (values, colour) in curves.items():
        is_known = np.isfinite(heights[name])
        if is_known.any():
            axes.plot(epochs, heights[name], color=colour, **_marker(epochs))
            label = f"{name} {values[is_known][-1]:.4f}"
            ends.append((label, float(heights[name][is_known][-1]), colour))
    label_ends(axes, ends)


def _to_height(values: Floats, metric: str, floor: float) -> Floats:
    """Return what the axis shows: the loss as it is, of an accuracy the error rate."""
    height = 1 - values if metric == "accuracy" else values
    return np.where(np.isfinite(height), height.clip(floor, TICKS[-1]), np.nan)


def _set_ticks(axes: Axes, heights: Floats, metric: str) -> None:
    """Make the axis logarithmic, from the tick below all `heights` to the tick above them."""
    finite = heights[np.isfinite(heights)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.1, 1.0)
    allowed = TICKS[TICKS <= 1] if metric == "accuracy" else TICKS
    first = int(np.searchsorted(allowed, low, side="right")) - 1
    first = min(max(first, 0), len(allowed) - 2)
    last = max(int(np.searchsorted(allowed, high)), first + 1)
    ticks = allowed[first : last + 1]
    axes.set_yscale("log")
    axes.minorticks_off()
    if metric == "accuracy":
        labels = [f"{1 - tick:g}" for tick in ticks]
        if low <= MIN_ERROR_RATE:
            labels[0] = f"≥ {labels[0]}"
        axes.set_yticks(ticks, labels)
        axes.set_ylim(ticks[-1], ticks[0])
    else:
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_ylim(ticks[0], ticks[-1])
    axes.set_ylabel(metric)
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _marker(epochs: Floats) -> dict[str, Any]:
    """Return dots for up to 20 epochs: a single epoch has no line."""
    return {"marker": "o" if len(epochs) <= 20 else "", "markersize": 4, "clip_on": False}


def _mark_epoch(panels: Sequence[Axes], best_epoch: int) -> None:
    for axes in panels:
        axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":")
    panels[0].annotate(
        f"selected: epoch {best_epoch}",
        (best_epoch, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        color=MUTED,
    )


class LivePlot(Callback):
    """Keeps `figures/training.png` up to date: after each epoch, and every 15 seconds in long ones.

    Training waits meanwhile. A teacher is drawn while it trains; members of an ensemble train in
    processes of their own and are not drawn until the end.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.figures / "training.png"
        self._throttle = Throttle(PLOT_INTERVAL_S)

    def on_step_end(self, state: TrainingProgress) -> None:
        """Draw if an epoch is finished and the figure is old."""
        if state.history and self._throttle.is_due():
            self._plot(state)

    def on_epoch_end(self, state: TrainState) -> None:
        """Draw."""
        self._plot(state)

    def _plot(self, state: TrainingProgress) -> None:
        history = [asdict(epoch) for epoch in state.history]
        intervals = [asdict(interval) for interval in state.intervals]
        save(training_curves(history, intervals=intervals), self._path)
        self._throttle.restart()


def responses(images: NDArray[np.uint8], layer: str, n_images: int) -> Figure:
    """Draw the images that each map of a layer responds to most.

    Args:
        images: uint8 [M, K, S, S], bright ink on black: for each of M maps its K images, the
            strongest response first.
        layer: its name.
        n_images: how many images were compared.
    """
    n_maps, per_map, pixels = images.shape[:3]
    title = f"What {layer} responds to: the {per_map} digits that activate each map most"
    note = f"Each row is one map, the strongest response first. Chosen from {n_images:,} digits."
    half = -(-n_maps // 2)
    columns = np.zeros((half, 2 * per_map + 1, pixels, pixels), np.uint8)
    columns[:, :per_map] = images[:half]
    columns[: n_maps - half, per_map + 1 :] = images[half:]
    gap = max(1, pixels // 9)
    grid = mosaic(columns.reshape(-1, pixels, pixels), columns.shape[1], (gap, gap), 0)
    with drawing(FULL_INCHES, 9.7 * grid.shape[0] / grid.shape[1] + 0.8, title, note) as figure:
        show_ink(figure.subplots(), grid / 255)
    return figure


def feature_maps(
    image: NDArray[np.uint8],
    layers: Sequence[tuple[str, NDArray[np.floating[Any]]]],
    title: str = "Feature maps of each layer for one image",
) -> Figure:
    """Draw what each layer of a network computes for one image, 16 maps a layer at most.

    Args:
        image: uint8 [S, S], bright ink on black.
        layers: the name of each layer and its maps, float [C, h, w].
        title: of the figure.

    Raises:
        DataError: there are no layers.
    """
    if not layers:
        raise DataError("there are no layers to draw feature maps of, expected at least one")
    note = "Blue: positive values. Amber: negative. The stronger the colour, the larger."
    columns = 8
    rows = [-(-min(len(maps), MAX_MAPS) // columns) for _, maps in layers]
    height = max(2.5, sum(rows) + 0.3 * len(rows) + 0.9)
    with drawing(FULL_INCHES, height, title, note) as figure:
        gridspec = figure.add_gridspec(len(layers), 2, width_ratios=(1, 4), height_ratios=rows)
        left = figure.add_subplot(gridspec[:, 0])
        show_ink(left, as_ink(image))
        left.set_title("input image")
        for index, (name, maps) in enumerate(layers):
            axes = figure.add_subplot(gridspec[index, 1])
            grid = mosaic(enlarge(maps[:MAX_MAPS], 56), columns, (4, 4))
            show_signed(axes, grid, _colour_bound(maps[:MAX_MAPS]))
            axes.set_title(_layer_title(name, maps), fontsize=9)
    return figure


def _layer_title(name: str, maps: NDArray[np.floating[Any]]) -> str:
    count, height, width = maps.shape
    first = f"the first {MAX_MAPS} of " if count > MAX_MAPS else ""
    return f"{name}: {first}{pluralize(count, 'map')}, {height} × {width}"


def _colour_bound(values: NDArray[np.floating[Any]]) -> float:
    """Return the magnitude of full colour: the 99% quantile, so that no outlier fades the rest."""
    bound = float(np.quantile(np.abs(values), 0.99))
    return bound or float(np.abs(values).max()) or 1.0


def attribution(
    images: NDArray[np.uint8], maps: NDArray[np.floating[Any]], captions: Sequence[str]
) -> Figure:
    """Draw images, and below each its attribution map.

    Args:
        images: uint8 [N, S, S], bright ink on black; the first twelve are drawn.
        maps: float [N, S, S], positive where the ink is evidence for the predicted class.
        captions: one for each image.
    """
    title = "Occlusion maps: the evidence in each image for its predicted class"
    note = "Blue: covering this part lowers the logit of the predicted class. Amber: raises it."
    images, maps = images[:MAX_ATTRIBUTIONS], maps[:MAX_ATTRIBUTIONS]
    columns = max(len(images), 6)
    pixels = images.shape[1]
    gap = max(1, pixels // 9)
    scaled = np.stack([each / _colour_bound(each) for each in maps])
    with drawing(FULL_INCHES, 18 / columns + 1.2, title, note) as figure:
        above, below = figure.subplots(2, 1)
        show_ink(above, mosaic(images, columns, (gap, gap), 0) / 255)
        show_signed(below, mosaic(scaled, columns, (gap, gap), 0), 1.0)
        centres = np.arange(len(images)) * (pixels + gap) + pixels / 2
        above.xaxis.tick_top()
        above.set_xticks(centres, captions[: len(images)], fontsize=9)
        above.tick_params(axis="x", length=0)
    return figure
