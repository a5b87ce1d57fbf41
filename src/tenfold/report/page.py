"""The report: one HTML file that opens without a network, and every picture as PNG beside it."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tenfold.errors import OutputError
from tenfold.files import RunFolder, output_folder, reason, write_bytes, write_text
from tenfold.report import figures
from tenfold.report.evidence import Evidence
from tenfold.report.figures.style import DPI
from tenfold.report.section import Picture, Section
from tenfold.report.story import sections

CSS_PIXELS_PER_INCH = 96
OF_REPORT = ".report"  # ends the name of the file of events that a report writes


@dataclass(frozen=True)
class _Shown:
    """A picture as the page carries it; width and height are in CSS pixels."""

    name: str
    shows: str
    data: str
    width: int
    height: int


def write_report(
    run: Path,
    *,
    digit: str | None = None,
    note: Callable[[str], None] = lambda _sentence: None,
) -> Path:
    """Make `report.html` and `figures/*.png` in the run folder from what the run saved.

    Args:
        run: the run folder.
        digit: the class whose image is followed through the network.
        note: is told what is being drawn.

    Returns:
        The path of the page.

    Raises:
        RecognizerError: `run` is no run folder.
        DataError: there is no image of class `digit`.
        OutputError: the folder cannot be written to.
    """
    evidence = Evidence.read(run)
    if digit is not None and evidence.examples is not None:
        evidence.examples.one_of(digit)  # a wrong one is told before anything is drawn
    folder = output_folder(evidence.folder.figures)
    told: list[Section] = []
    for section in sections(evidence, digit):
        note(f"report: {section.title.lower()}")
        told.append(section)
    recipe = evidence.recipe
    title = f"How {recipe.name} reads digits"
    subtitle = f"Run {evidence.folder.path.resolve().name}. {recipe.description}".strip()
    write_text(evidence.folder.report, render(title, subtitle, told, folder))
    _to_tensorboard(evidence.folder, told)
    return evidence.folder.report


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


def _to_tensorboard(folder: RunFolder, told: Sequence[Section]) -> None:
    """Let TensorBoard show the sample sheet and the confusion matrix too.

    They take the place of those of a report that was drawn before.
    """
    from matplotlib.image import imread  # noqa: PLC0415 - slow to import
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow to import

    drawn = {picture.name for section in told for picture in section.pictures}
    try:
        for before in folder.tensorboard.glob(f"*{OF_REPORT}"):
            before.unlink()
        with SummaryWriter(str(folder.tensorboard), filename_suffix=OF_REPORT) as writer:
            for name in sorted(drawn & {"samples", "confusion"}):
                writer.add_image(
                    name, imread(folder.figures / f"{name}.png")[..., :3], dataformats="HWC"
                )
    except OSError as error:
        raise OutputError(
            f"{folder.tensorboard}: cannot be written to ({reason(error)}), expected a writable "
            "folder"
        ) from error


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
