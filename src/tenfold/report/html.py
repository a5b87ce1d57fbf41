"""What a report is made of: sections with sentences, tables and pictures."""

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


@dataclass(frozen=True)
class Table:
    """Rows of text below a header; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its file, and what it shows, for those who cannot see it."""

    name: str
    shows: str
    figure: "Figure"


@dataclass
class Section:
    """One chapter of the report."""

    name: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        """Add a paragraph."""
        self.paragraphs.append(sentence)

    def draw(self, name: str, shows: str, figure: "Figure") -> None:
        """Add a picture."""
        self.pictures.append(Picture(name, shows, figure))


def listed(values: Mapping[str, object]) -> str:
    """Say a few values with their names: "0: 12, 1: 15"."""
    return ", ".join(f"{name}: {value}" for name, value in values.items())


CSS_PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class _Shown:
    """A picture as the page carries it; width and height are in CSS pixels."""

    name: str
    shows: str
    data: str
    width: int
    height: int


def render(
    title: str, subtitle: str, told: Sequence[Section], figures_folder: Path | None = None
) -> str:
    """Return the page as HTML; all text is escaped.

    Args:
        title: of the page.
        subtitle: below it.
        told: what the page says and shows.
        figures_folder: where its pictures are written as PNG besides.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - slow to import

    template = resources.files("tenfold") / "report" / "page.html.j2"
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    parts = [
        {
            "name": section.name,
            "title": section.title,
            "paragraphs": section.paragraphs,
            "tables": section.tables,
            "pictures": [_shown(picture, figures_folder) for picture in section.pictures],
        }
        for section in told
    ]
    page = environment.from_string(template.read_text("utf-8"))
    return page.render(title=title, subtitle=subtitle, sections=parts) + "\n"


def _shown(picture: Picture, folder: Path | None) -> _Shown:
    content = figures.as_png(picture.figure)
    if folder is not None:
        write_bytes(folder / f"{picture.name}.png", content)
    # A PNG tells its size in bytes 16 to 23.
    wide, high = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    scale = CSS_PIXELS_PER_INCH / DPI
    return _Shown(
        picture.name,
        picture.shows,
        base64.b64encode(content).decode("ascii"),
        round(wide * scale),
        round(high * scale),
    )
