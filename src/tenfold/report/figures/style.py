"""The common style of all figures: colours, fonts, and grids of small images.

Dark blue and amber are distinct for colour-blind readers and, one being much darker, in grey print.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
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
MIN_LABEL_DISTANCE = 0.1  # of labels at the right of axes, as a fraction of their height
MARGIN_INCHES = 0.12
FULL_INCHES = 10.0  # the width of a figure that fills the page
HALF_INCHES = 4.9  # of one that shares it with another, and that a phone shows whole
MAX_HALF_CLASSES = 16  # more do not fit into half the width
TITLE_CHARACTERS, NOTE_CHARACTERS = 8.3, 12.8  # that fit into an inch
MAX_HORIZONTAL_LABEL = 3  # characters; longer class names are rotated
CHARACTER_INCHES = 0.08  # the mean width of a character of a label
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
    "figure.titlesize": 12,
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
        title = _wrap(title, width_inches * TITLE_CHARACTERS)
        note = _wrap(note, width_inches * NOTE_CHARACTERS)
        figure.suptitle(title, x=left, horizontalalignment="left")
        figure.supxlabel(note, x=left, horizontalalignment="left", fontsize=9, color=MUTED)
        yield figure


def _wrap(text: str, characters: float) -> str:
    """Break lines that are longer than `characters`."""
    return "\n".join(fill(line, int(characters)) for line in text.split("\n"))


def width_for(n_classes: int) -> float:
    """Return the width in inches of a figure with something of each class side by side."""
    return HALF_INCHES if n_classes <= MAX_HALF_CLASSES else FULL_INCHES


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


def tick_inches(classes: Sequence[str]) -> float:
    """Return the height that `set_class_ticks` needs beyond that of one line."""
    longest = max(len(name) for name in class_labels(classes))
    return CHARACTER_INCHES * longest if longest > MAX_HORIZONTAL_LABEL else 0.0


def class_labels(classes: Sequence[str]) -> list[str]:
    """Return the names of classes as they stand in a figure: printable, and of limited length."""
    return [shorten(printable(name), MAX_LABEL) for name in classes]


def shown_part(count: int, which: str = "first", noun: str = "classes") -> str:
    """Return a sentence for the note where not all classes are shown, with a space before it."""
    return f" Shown: the {which} {MAX_CLASSES} of {count:,} {noun}." if count > MAX_CLASSES else ""


def label_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write each (text, height, colour) at the right of the axes, without overlap."""
    to_fraction = axes.transAxes.inverted()
    heights = [to_fraction.transform(axes.transData.transform((1, end[1])))[1] for end in ends]
    order = np.argsort(heights, kind="stable")
    for index, height in zip(order, _spread(np.sort(heights), MIN_LABEL_DISTANCE), strict=True):
        text, _, colour = ends[index]
        axes.text(1.025, height, text, color=colour, va="center", transform=axes.transAxes)


def _spread(heights: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Move ascending `heights` apart to `distance`, around the middle of each crowded group.

    None ends below the axes, where ticks have their labels.
    """
    groups: list[list[float]] = []
    for height in heights.tolist():
        groups.append([height])
        while len(groups) > 1 and _low(groups[-1], distance) < _high(groups[-2], distance):
            last = groups.pop()
            groups[-1] += last
    placed = [_low(group, distance) + distance * (np.arange(len(group)) + 0.5) for group in groups]
    lowest = distance * (np.arange(len(heights)) + 0.5)
    raised: NDArray[np.float64] = np.maximum(np.concatenate([*placed, []]), lowest)
    return raised


def _low(group: list[float], distance: float) -> float:
    return sum(group) / len(group) - distance * len(group) / 2


def _high(group: list[float], distance: float) -> float:
    return sum(group) / len(group) + distance * len(group) / 2
