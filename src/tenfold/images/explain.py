"""One picture of the steps from a picture to its digits, for whoever wonders at an answer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tenfold.images.normalize import SIZE
from tenfold.images.segment import Segmentation

_PANEL = 300  # pixels of each step's longer side
_GAP = 16
_CAPTION = 44  # pixels above each panel
_ZOOM = 4  # of each digit
_DIGITS_PER_ROW = 10
_BACKGROUND, _TEXT, _MUTED, _BOX = "white", "#1a1a1a", "#666666", "#d1242f"

Panel = tuple[str, str, Image.Image]


def explain(
    segmentation: Segmentation,
    probabilities: NDArray[np.float32] | None = None,
    classes: Sequence[str] = tuple("0123456789"),
) -> Image.Image:
    """Draw the picture, its paper, its ink, the boxes, and each digit as a recognizer sees it.

    Args:
        segmentation: as `segment` returns it.
        probabilities: of each class for each digit, float32 [N, classes]; None leaves them out.
        classes: the name of each class.
    """
    panels = _panels(segmentation)
    height = max(panel.height for *_, panel in panels) + _CAPTION
    n_rows = -(-len(segmentation.digits) // _DIGITS_PER_ROW)
    cell = SIZE * _ZOOM + _GAP, SIZE * _ZOOM + _CAPTION
    page = Image.new(
        "RGB",
        (
            max(sum(panel.width + _GAP for *_, panel in panels), _DIGITS_PER_ROW * cell[0]) + _GAP,
            height + 3 * _GAP + _CAPTION + max(1, n_rows) * cell[1],
        ),
        _BACKGROUND,
    )
    draw = ImageDraw.Draw(page)
    left = _GAP
    for title, subtitle, panel in panels:
        _write(draw, (left, _GAP), title, subtitle)
        page.paste(panel, (left, _GAP + _CAPTION))
        draw.rectangle(_outline(left, _GAP + _CAPTION, panel), outline=_MUTED)
        left += panel.width + _GAP
    top = height + 2 * _GAP
    _write(draw, (_GAP, top), *_summary(segmentation, probabilities, classes))
    for index, digit in enumerate(segmentation.digits):
        row, column = divmod(index, _DIGITS_PER_ROW)
        place = (_GAP + column * cell[0], top + _CAPTION + row * cell[1])
        image = Image.fromarray(digit.image)
        page.paste(image.resize((SIZE * _ZOOM,) * 2, Image.Resampling.NEAREST), place)
        if probabilities is not None:
            below = (place[0], place[1] + SIZE * _ZOOM + 2)
            _write(draw, below, *_answer(probabilities[index], classes))
    return page


def _panels(segmentation: Segmentation) -> list[Panel]:
    """Return title, subtitle and image of each step."""
    picture, ink = segmentation.picture, segmentation.ink
    size = f"{picture.width} by {picture.height} pixels"
    paper = (1 - ink.paper) if ink.bright_ink else ink.paper
    removed = ink.mask & ~segmentation.kept
    grey = np.repeat((255 - 255 * ink.strength).astype(np.uint8)[..., None], 3, axis=2)
    kept = np.where(segmentation.kept, 0, 255).astype(np.uint8)
    kept = np.repeat(kept[..., None], 3, axis=2)
    kept[removed] = (240, 170, 170)
    kind = "bright ink on dark paper" if ink.bright_ink else "dark ink on bright paper"
    return [
        ("1  The picture", size, _panel(picture.pixels)),
        ("2  Its paper", kind, _panel((255 * paper).clip(0, 255).astype(np.uint8))),
        ("3  Darker than paper", "the paper divided away", _panel(grey)),
        ("4  Ink", "pale red: no digit", _panel(kept)),
        ("5  Digits", "in the order of reading", _draw_boxes(segmentation)),
    ]


def _panel(pixels: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(pixels).convert("RGB")
    scale = _PANEL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    return image.resize(size, method)


def _draw_boxes(segmentation: Segmentation) -> Image.Image:
    panel = _panel(segmentation.picture.pixels)
    draw = ImageDraw.Draw(panel)
    scale = panel.width / segmentation.picture.width
    for number, digit in enumerate(segmentation.digits, 1):
        left, top, right, bottom = (scale * edge for edge in digit.box)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_BOX, width=2)
        draw.text((left, max(0, top - 14)), str(number), fill=_BOX, font=_font(12))
    return panel


def _summary(
    segmentation: Segmentation, probabilities: NDArray[np.float32] | None, classes: Sequence[str]
) -> tuple[str, str]:
    """Return the heading above the digits and the line below it."""
    if not segmentation.digits:
        return "6  No digits", "there is no ink on this picture, or none of a digit's shape"
    seen = "what the recognizer sees: 28 by 28 pixels each, as in MNIST"
    if probabilities is None:
        return "6  The digits", seen
    lines: dict[int, str] = {}
    for digit, row in zip(segmentation.digits, probabilities, strict=True):
        lines[digit.line] = lines.get(digit.line, "") + classes[int(row.argmax())]
    return "6  Read as " + " / ".join(lines.values()), seen


def _answer(row: NDArray[np.float32], classes: Sequence[str]) -> tuple[str, str]:
    """Return the most probable class, and the next one."""
    first, second = np.argsort(-row)[:2].tolist()
    return f"{classes[first]}  {row[first]:.1%}", f"else {classes[second]}  {row[second]:.1%}"


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], title: str, subtitle: str) -> None:
    draw.text(place, title, fill=_TEXT, font=_font(18))
    draw.text((place[0], place[1] + 22), subtitle, fill=_MUTED, font=_font(12))


def _outline(left: int, top: int, panel: Image.Image) -> tuple[int, int, int, int]:
    return left - 1, top - 1, left + panel.width, top + panel.height


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
