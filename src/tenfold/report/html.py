"""A report as HTML: a head, then sections of text, tables, figures and sheets of small images."""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tenfold.files import write_bytes
from tenfold.report import figures
from tenfold.report.figures.style import DPI, HALF_INCHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS_PIXELS_PER_INCH = 96
UNFOLDED_TILES = 48  # of a sheet; the others are folded away
NUMBER = re.compile(r"[−+-]?\d[\d.,e+-]*(–\d[\d.,]*)?( ?(%|s|kB|MB|MiB))?|–|")
UNIT = re.compile(r"(?<=\d) (?=(%|s|kB|MB|MiB|GB|pixels)\b|% )")


@dataclass(frozen=True)
class Table:
    """Cells of text below a header; the first cell of a row is its header.

    A `folded` table shows its caption until it is opened.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False

    @property
    def is_number(self) -> list[bool]:
        """Whether a column holds only numbers, and is therefore aligned at the right."""
        columns = zip(*self.rows, strict=True)
        return [all(NUMBER.fullmatch(cell) for cell in column) for column in columns]


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes:
        name: of its file and its HTML id.
        alt_text: what it shows, for readers who cannot see it.
        figure: as matplotlib has it.
        rows: that it fills beside other figures of half the width.
    """

    name: str
    alt_text: str
    figure: "Figure"
    rows: int = 1


@dataclass(frozen=True, eq=False)
class Sheet:
    """Small images, each with a caption of two lines; as many in a row as the page is wide.

    Attributes:
        name: its HTML id.
        title: what the images are.
        note: what the captions mean.
        images: uint8 [N, S, S], bright ink on black.
        captions: the two lines of each image.
    """

    name: str
    title: str
    note: str
    images: NDArray[np.uint8]
    captions: Sequence[tuple[str, str]]

    def tiles(self) -> list[dict[str, str]]:
        """Return what the page needs of each image: its PNG in base64, and the two lines."""
        return [
            {"data": _ink_as_png(image), "first": first, "second": second}
            for image, (first, second) in zip(self.images, self.captions, strict=True)
        ]


@dataclass
class Section:
    """A section of the report; `name` is its HTML id, `chapter` that of the course on it."""

    name: str
    title: str
    chapter: str | None = None
    paragraphs: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[ReportFigure] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)

    def add_text(self, paragraph: str) -> None:
        """Add a paragraph."""
        self.paragraphs.append(paragraph)

    def add_table(
        self,
        caption: str,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        folded: bool = False,
    ) -> None:
        """Add a table; tables follow the paragraphs, folded ones end the section."""
        self.tables.append(Table(caption, header, rows, folded))

    def add_figure(self, name: str, alt_text: str, figure: "Figure", *, rows: int = 1) -> None:
        """Add a figure; figures follow the tables."""
        self.figures.append(ReportFigure(name, alt_text, figure, rows))

    def add_sheet(self, sheet: Sheet) -> None:
        """Add a sheet of images; sheets follow the figures."""
        self.sheets.append(sheet)


@dataclass(frozen=True, eq=False)
class Head:
    """What the page says at once.

    Attributes:
        value: the score in large digits; "" if there is none.
        label: what it is a score of.
        sentences: the score with its interval, and what it means.
        tiles: other numbers, each with what it is.
        strip: a few images.
        links: files beside the page: what they are, and their paths.
        next_step: what to do now, and the command for it.
        warning: what is missing; "" if nothing is.
    """

    value: str
    label: str
    sentences: Sequence[str]
    tiles: Sequence[tuple[str, str]] = ()
    strip: Sheet | None = None
    links: Sequence[tuple[str, str]] = ()
    next_step: tuple[str, str] | None = None
    warning: str = ""


def join_items(values: Mapping[str, object]) -> str:
    """Return names with their values: "0: 12, 1: 15"."""
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def render(
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    figures_folder: Path | None = None,
    *,
    head: Head | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> str:
    """Return the page as HTML; all text is escaped, all figures are embedded.

    Args:
        title: of the page.
        subtitle: below it.
        sections: in their order on the page.
        figures_folder: where the figures are written as PNG besides.
        head: what the page begins with.
        on_progress: called with the number of figures drawn, and of all.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - slow to import

    total, drawn = sum(len(section.figures) for section in sections), 0
    embedded: dict[str, list[dict[str, Any]]] = {}
    for section in sections:
        embedded[section.name] = []
        for figure in section.figures:
            embedded[section.name].append(_embedded(figure, figures_folder))
            drawn += 1
            if on_progress is not None:
                on_progress(drawn, total)
    template = resources.files("tenfold") / "report" / "page.html.j2"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["keep_units"] = _keep_units
    page = environment.from_string(template.read_text("utf-8"))
    text = page.render(
        title=title,
        subtitle=subtitle,
        head=head,
        sections=sections,
        embedded=embedded,
        unfolded=UNFOLDED_TILES,
    )
    return text.encode(errors="replace").decode() + "\n"  # a name may hold half a character


def _keep_units(text: str) -> str:
    """Put a space that does not break between a number and its unit."""
    return UNIT.sub("\N{NO-BREAK SPACE}", text)


def _ink_as_png(image: NDArray[np.uint8]) -> str:
    """Return `image` as dark ink on white, a PNG in base64."""
    content = io.BytesIO()
    Image.fromarray(255 - image).save(content, format="PNG")
    return base64.b64encode(content.getvalue()).decode("ascii")


def _embedded(figure: ReportFigure, folder: Path | None) -> dict[str, Any]:
    """Return what the page needs of a figure: its PNG in base64, width and height in CSS pixels."""
    png = figures.as_png(figure.figure)
    if folder is not None:
        write_bytes(folder / f"{figure.name}.png", png)
    # Bytes 16 to 23 of a PNG are its width and height.
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    scale = CSS_PIXELS_PER_INCH / DPI
    return {
        "name": figure.name,
        "alt_text": figure.alt_text,
        "data": base64.b64encode(png).decode("ascii"),
        "width": round(width * scale),
        "height": round(height * scale),
        "is_half": width <= HALF_INCHES * DPI + 1,
        "rows": figure.rows,
    }
