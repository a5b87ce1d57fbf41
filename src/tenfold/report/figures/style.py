"""The common style of all figures: colours, fonts, and grids of small images.

Dark blue and amber are distinct for colour-blind readers and, one being much darker, in grey print.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.files import write_bytes
from tenfold.formatting import printable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE = "#174a7c"
AMBER = "#ad6500"
TEXT = "#222222"
MUTED = "#767676"
FAINT = "#e8e8e8"

DPI = 144
MARGIN_INCHES = 0.12
MAX_HORIZONTAL_LABEL = 3  # characters; longer class names are rotated
MAX_LABEL = 32  # characters; longer class names are cut
# In one figure: with more nothing could be read, and the layout would take minutes.
MAX_CLASSES = 64
# Any: matplotlib's own type of rcParams differs between its releases.
STYLE: Any = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": TEXT,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": MARGIN_INCHES,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": TEXT,
    "text.parse_math": False,  # a class may be called $x$
    "xtick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.color": MUTED,
    "ytick.labelcolor": TEXT,
    "grid.color": FAINT,
    "lines.linewidth": 1.8,
}


@contextmanager
def drawing(width_inches: float, height_inches: float, title: str, note: str) -> Iterator[Figure]:
    """Yield an empty figure with `title` above and `note` below, in the common style.

    matplotlib is imported only where something is drawn, so that `import tenfold.report` stays
    cheap; its global settings are restored when the block ends.
    """
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        FigureCanvasAgg(figure)
        left = MARGIN_INCHES / width_inches
        figure.suptitle(title, x=left, horizontalalignment="left")
        figure.supxlabel(note, x=left, horizontalalignment="left", fontsize=9, color=MUTED)
        yield figure


def as_png(figure: Figure) -> bytes:
    """Return `figure` as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, facecolor="white")
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write `figure` to `path` as PNG, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_bytes(path, as_png(figure))


def show_ink(axes: Axes, image: NDArray[Any]) -> None:
    """Show `image` [H, W] with values from 0 to 1 as dark ink on white paper."""
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    hide_axes(axes)


def show_signed(axes: Axes, values: NDArray[np.float64], bound: float) -> None:
    """Show `values` [H, W]: blue where positive, amber where negative, white at 0, NaN in grey."""
    strength = np.clip(values / bound, -1, 1)
    anchors = np.array([_rgb(AMBER), _rgb("#ffffff"), _rgb(BLUE)])
    colours = np.stack([np.interp(strength, [-1, 0, 1], channel) for channel in anchors.T], axis=-1)
    colours[np.isnan(values)] = _rgb(FAINT)
    axes.imshow(colours)
    hide_axes(axes)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))


def hide_axes(axes: Axes) -> None:
    """Remove ticks and frame, and align the image with the upper left of its cell."""
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.spines[:].set_visible(False)


def mosaic(
    images: NDArray[Any], columns: int, gap: tuple[int, int], fill: float = np.nan
) -> NDArray[np.float64]:
    """Arrange `images` [N, h, w] in rows of `columns` as one image, float64 [H, W].

    They are separated by `gap` (vertical, horizontal, in pixels) of value `fill`; cells left over
    hold 0.
    """
    count, height, width = images.shape
    rows = -(-count // columns)
    cell_height, cell_width = height + gap[0], width + gap[1]
    cells = np.full((rows * columns, cell_height, cell_width), fill, dtype=np.float64)
    cells[:count, :height, :width] = images
    cells[count:] = 0
    by_row = cells.reshape(rows, columns, cell_height, cell_width).swapaxes(1, 2)
    grid = by_row.reshape(rows * cell_height, columns * cell_width)
    return grid[: rows * cell_height - gap[0], : columns * cell_width - gap[1]]


def enlarge(images: NDArray[Any], side: int) -> NDArray[Any]:
    """Repeat the pixels of `images` [N, h, w] until they are about `side` pixels high.

    Feature maps of different sizes can then share one width of gap, with square pixels.
    """
    times = max(1, round(side / images.shape[1]))
    return images.repeat(times, axis=1).repeat(times, axis=2)


def as_ink(images: NDArray[Any]) -> NDArray[np.float64]:
    """Return `images` as float64 from 0 (paper) to 1 (ink)."""
    if images.dtype == np.uint8:
        return images / np.float64(255)
    low, high = float(images.min()), float(images.max())
    return (images.astype(np.float64) - low) / max(high - low, 1e-12)


def set_class_ticks(axes: Axes, classes: Sequence[str]) -> None:
    """Label the x axis with the classes, rotated where a name is long."""
    names = class_labels(classes)
    is_long = max(len(name) for name in names) > MAX_HORIZONTAL_LABEL
    axes.set_xticks(range(len(names)), names, rotation=90 if is_long else 0)


def class_labels(classes: Sequence[str]) -> list[str]:
    """Return the names of classes as they stand in a figure: printable, and of limited length."""
    return [shorten(printable(name), MAX_LABEL) for name in classes]


def shown_part(count: int, which: str = "first", noun: str = "classes") -> str:
    """Return a sentence for the note where not all classes are shown, with a space before it."""
    return f" Shown: the {which} {MAX_CLASSES} of {count:,} {noun}." if count > MAX_CLASSES else ""
