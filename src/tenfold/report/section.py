"""What a report is made of: sections with sentences, tables and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
