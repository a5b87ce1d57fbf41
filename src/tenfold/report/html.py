"""A report as HTML: sections of text, tables and figures on one self-contained page."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.files import write_bytes
from tenfold.report import figures
from tenfold.report.figures.style import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS_PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Table:
    """Cells of text below a header; the first cell of a row is its header."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes:
        name: of its file and its HTML id.
        alt_text: what it shows, for readers who cannot see it.
        figure: as matplotlib has it.
    """

    name: str
    alt_text: str
    figure: "Figure"


@dataclass
class Section:
    """A section of the report; `name` is its HTML id."""

    name: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[ReportFigure] = field(default_factory=list)

    def add_text(self, paragraph: str) -> None:
        """Add a paragraph."""
        self.paragraphs.append(paragraph)

    def add_table(self, caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table; tables follow the paragraphs."""
        self.tables.append(Table(caption, header, rows))

    def add_figure(self, name: str, alt_text: str, figure: "Figure") -> None:
        """Add a figure; figures follow the tables."""
        self.figures.append(ReportFigure(name, alt_text, figure))


def join_items(values: Mapping[str, object]) -> str:
    """Return names with their values: "0: 12, 1: 15"."""
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def render(
    title: str, subtitle: str, sections: Sequence[Section], figures_folder: Path | None = None
) -> str:
    """Return the page as HTML; all text is escaped, all figures are embedded.

    Args:
        title: of the page.
        subtitle: below it.
        sections: in their order on the page.
        figures_folder: where the figures are written as PNG besides.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - slow to import

    template = resources.files("tenfold") / "report" / "page.html.j2"
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    content = [
        {
            "name": section.name,
            "title": section.title,
            "paragraphs": section.paragraphs,
            "tables": section.tables,
            "figures": [_embedded(figure, figures_folder) for figure in section.figures],
        }
        for section in sections
    ]
    page = environment.from_string(template.read_text("utf-8"))
    text = page.render(title=title, subtitle=subtitle, sections=content) + "\n"
    return text.encode(errors="replace").decode()  # a name may hold half a character


def _embedded(figure: ReportFigure, folder: Path | None) -> dict[str, str | int]:
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
    }
