"""Pictures of answers against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.report.figures.style import (
    FAINT,
    MUTED,
    TEXT,
    bare,
    drawing,
    mosaic,
    name_classes,
    show_ink,
)
from tenfold.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COUNTS_IN_CONFUSION = 300
GALLERY_INCHES = 10.0
CAPTION_INCHES = 0.48
CHARACTER_INCHES = 0.075


def confusion_matrix(
    confusion: NDArray[np.int64], classes: Sequence[str], *, mistakes_only: bool = True
) -> Figure:
    """Draw the counts of `confusion` int64 [C, C] (row: truth, column: answer).

    With `mistakes_only` colour goes to mistakes alone: on a good recognizer a coloured diagonal
    drowns them. Without, the diagonal is coloured like the rest, as such tables usually are.
    """
    n_classes = len(classes)
    wrong = confusion.astype(np.float64)
    note = "Rows: truth. Columns: answer. The stronger the colour, the more images."
    if mistakes_only:
        np.fill_diagonal(wrong, np.nan)
        note = "Rows: truth. Columns: answer. Grey: read correctly. Blue: misread."
    floor = int(np.sort(confusion, axis=None)[:-MOST_COUNTS_IN_CONFUSION].max(initial=0))
    if floor:
        note += f" Counts up to {floor:,} are not written."
    side = float(np.clip(0.45 * n_classes + 3, 6.5, 13))
    with drawing(side, side, _confusion_title(confusion, classes), note) as figure:
        axes = figure.subplots()
        top = float(wrong[~np.isnan(wrong)].max(initial=1.0))
        axes.set_facecolor(FAINT)
        axes.imshow(np.ma.masked_invalid(wrong), cmap="Blues", vmin=0, vmax=1.3 * top)
        _write_counts(axes, confusion, floor, top, mistakes_only=mistakes_only)
        _write_margin(axes, confusion)
        name_classes(axes, classes)
        axes.set_yticks(range(n_classes), list(classes))
        axes.set(xlabel="answer", ylabel="truth")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _confusion_title(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    n, correct = int(confusion.sum()), int(np.trace(confusion))
    if correct == n:
        return f"{counted(n, 'image')}, all read correctly"
    mistakes_only = confusion - np.diag(np.diag(confusion))
    truth, answer = divmod(int(mistakes_only.argmax()), len(classes))
    return (
        f"{n - correct:,} of {counted(n, 'image')} misread,\n"
        f"most often {classes[truth]} as {classes[answer]}: {counted(mistakes_only.max(), 'time')}"
    )


def _write_counts(
    axes: Axes, confusion: NDArray[np.int64], floor: int, top: float, *, mistakes_only: bool
) -> None:
    """Write each count above `floor` into its cell; `top` is the largest one that is coloured."""
    size = 9 if len(confusion) <= 16 else 6
    for row, column in np.argwhere(confusion > floor):
        count = confusion[row, column]
        is_grey = mistakes_only and row == column
        colour = MUTED if is_grey else "white" if count > 0.7 * top else TEXT
        text = axes.text(column, row, f"{count}", ha="center", va="center", color=colour)
        # Inside the axes as they are, the layout need not measure them one by one.
        text.set(fontsize=size, in_layout=False)


def _write_margin(axes: Axes, confusion: NDArray[np.int64]) -> None:
    """Write at the right how many images of each class were misread."""
    margin = [f"{row.sum() - row[index]:,} of {row.sum():,}" for index, row in enumerate(confusion)]
    for y, text in enumerate(["misread", *margin], start=-1):
        axes.annotate(
            text,
            (len(confusion) - 0.5, max(y, -0.5)),
            xytext=(8, 4 if y < 0 else 0),
            textcoords="offset points",
            va="bottom" if y < 0 else "center",
            fontsize=8,
            color=MUTED,
        )


def mistakes(
    images: NDArray[np.uint8],
    truth: NDArray[np.int64],
    answers: NDArray[np.int64],
    confidence: NDArray[np.floating[Any]],
    classes: Sequence[str],
    *,
    limit: int = 60,
    of: int | None = None,
    misread: int | None = None,
) -> Figure:
    """Draw the images that were misread, the most confident mistakes first.

    Args:
        images: uint8 [N, S, S], right or wrong.
        truth: int64 [N], indices into `classes`.
        answers: int64 [N], indices into `classes`.
        confidence: float [N], the probability that each answer was given.
        classes: what each label is called.
        limit: at most so many are drawn.
        of: how many were asked, if these are not all.
        misread: how many of those were misread, if these are not all.

    Raises:
        DataError: the four differ in length.
    """
    lengths = [len(images), len(truth), len(answers), len(confidence)]
    if len(set(lengths)) > 1:
        raise DataError(
            f"images, truth, answers and confidence have lengths {lengths}, expected equal ones"
        )
    wrong = np.flatnonzero(truth != answers)
    asked = len(images) if of is None else of
    if not wrong.size:
        title = f"No mistakes to show: {counted(asked, 'image')}, all read correctly"
        return gallery(images[:0], [], title, "")
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    captions = [
        f"{classes[truth[index]]} → {classes[answers[index]]}\n{confidence[index]:.3f}"
        for index in shown
    ]
    misread = len(wrong) if misread is None else misread
    title = f"{misread:,} of {counted(asked, 'image')} misread"
    if len(shown) < misread:
        title += f"; the {len(shown)} most confident mistakes"
    note = "Below each image: truth → answer, and the confidence of the answer."
    return gallery(images[shown], captions, title, note)


def gallery(images: NDArray[np.uint8], captions: Sequence[str], title: str, note: str) -> Figure:
    """Draw `images` in rows, the two-line caption of each below it, in cells as wide as needed.

    Args:
        images: uint8 [N, S, S], ink bright; none at all leaves the title and the note.
        captions: one for each image.
        title: what is seen.
        note: how to read the captions.
    """
    if not len(images):
        with drawing(8, 0.9, title, note) as figure:
            bare(figure.subplots())
            return figure
    longest = max(len(caption.split("\n")[0]) for caption in captions)
    fitting = GALLERY_INCHES / max(0.8, CHARACTER_INCHES * longest)
    columns = int(np.clip(fitting, 2, np.clip(len(images), 6, 12)))
    cell_inches = GALLERY_INCHES / columns
    image_inches = min(0.85 * cell_inches, 0.9)
    pixels = images.shape[1]
    per_inch = pixels / image_inches
    gap = (round(CAPTION_INCHES * per_inch), round((cell_inches - image_inches) * per_inch))
    sheet = np.pad(mosaic(images, columns, gap, 0), ((0, gap[0]), (gap[1] // 2, gap[1] // 2)))
    height = GALLERY_INCHES * sheet.shape[0] / sheet.shape[1] + 0.75
    with drawing(GALLERY_INCHES, height, title, note) as figure:
        axes = figure.subplots()
        show_ink(axes, sheet / 255)
        for index, caption in enumerate(captions):
            row, column = divmod(index, columns)
            x = gap[1] // 2 + column * (pixels + gap[1]) + pixels / 2
            y = row * (pixels + gap[0]) + pixels
            axes.text(x, y, caption, ha="center", va="top", fontsize=8, linespacing=1.3)
    return figure
