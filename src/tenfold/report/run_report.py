"""The story of a run, section by section: what is said, and which pictures belong to it.

A section is made of what the run left; where something is missing, it says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.errors import OutputError
from tenfold.files import os_error_message, output_folder, write_text
from tenfold.formatting import format_duration
from tenfold.kaggle import leaderboard_position
from tenfold.metrics import CALIBRATION_BINS, Evaluation, Score, evaluate_probabilities
from tenfold.networks.layers import summarize
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.error_analysis import error_analysis, label_issues_section, members_section
from tenfold.report.html import Section, Table, listed, render
from tenfold.report.interpretability import interpretability
from tenfold.run_folder import RunFolder
from tenfold.training import augment

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PREVIEW_VARIANTS = 32
OF_REPORT = ".report"  # ends the name of the file of events that a report writes


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
    evidence = RunArtifacts.read(run)
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


def sections(evidence: RunArtifacts, digit: str | None) -> Iterator[Section]:
    """Tell the whole story in order.

    Args:
        evidence: what the run left.
        digit: the class whose image is followed through the network; None takes the first.
    """
    yield summary_section(evidence)
    yield data_section(evidence)
    yield augmentation_section(evidence, digit)
    yield network_section(evidence)
    yield training_section(evidence)
    yield interpretability(evidence, digit)
    yield error_analysis(evidence)
    yield label_issues_section(evidence)
    if evidence.recipe.ensemble.members > 1:
        yield members_section(evidence)


def summary_section(evidence: RunArtifacts) -> Section:
    """The score, and what it rests on."""
    section = Section("answer", "The answer")
    recipe, rows = evidence.recipe, []
    if evidence.score is not None:
        achieved = Score(evidence.score["correct"], evidence.score["n"])
        section.say(f"On images whose truth is known, {_read_right(achieved)}.")
        section.say(f"How one stands: {leaderboard_position(achieved.accuracy).summary()}.")
        rows.append(("against known truth", str(achieved)))
    expected = _expected(evidence)
    if expected is not None:
        if evidence.score is None:
            section.say(f"Of the images held out of training, {_read_right(expected.score)}.")
        rows.append(("expected beforehand, from images held out", str(expected.score)))
        rows.append(("loss on them, in nats", f"{expected.loss:.4f}"))
        error = f"{expected.calibration_error:.4f} ({CALIBRATION_BINS} bins)"
        rows.append(("calibration error on them", error))
        section.say(
            recipe.validation_caveat() or "The held-out images were not used for model selection."
        )
    else:
        section.say("No images were held out, so the run cannot foretell its own score.")
    rows.append(("recipe", f"{recipe.name}, seed {recipe.seed}"))
    if evidence.summary is not None:
        rows.append(("training", format_duration(evidence.summary["train_s"])))
        if (total_s := evidence.summary["total_s"]) is not None:
            rows.append(("whole run, without this report", format_duration(total_s)))
    if (environment := evidence.environment) is not None:
        rows.append(("machine", f"{environment['device_name']} ({environment['system']})"))
        versions = ", ".join(f"{name} {value}" for name, value in environment["versions"].items())
        rows.append(("versions", f"Python {environment['python']}, {versions}"))
    section.tables.append(Table("The run in short", ("what", "value"), rows))
    if evidence.missing:
        section.say(
            f"Parts of this run cannot be shown: {'; '.join(evidence.missing)}. "
            "What depends on them is left out below."
        )
    return section


def data_section(evidence: RunArtifacts) -> Section:
    """What was learned from, and what the checks found."""
    section = Section("data", "The data")
    data, examples = evidence.data, evidence.examples
    if data is not None and (checks := data["checks"]) is not None:
        for problem in checks["problems"]:
            section.say(f"Problem: {problem}.")
        for note in checks["notes"]:
            section.say(f"Note: {note}.")
        if checks["problems"] or checks["notes"]:
            section.say("Problems and notes count images from 0, pictures count rows from 1.")
        else:
            section.say("The checks found nothing wrong or odd.")
        files = [checks["train"]] + ([checks["test"]] if checks["test"] else [])
        section.tables.append(_files_table(files))
        if checks["test"]:
            shared = len(checks["overlap"])
            section.say(f"Images that stand in both files: {shared}.")
    if data is not None:
        train, valid = data["train"], data["valid"]
        counts = None if valid is None else valid["classes"]
        title = "Images of each class"
        if valid is not None:
            title += ", and how they were divided"
        shows = f"Bars of the number of images of each class: {listed(train['classes'])}"
        section.draw("classes", shows, figures.class_balance(train["classes"], counts, title))
    if examples is not None:
        labels = examples.images.require_labels()
        sheet = figures.sample_sheet(
            examples.images.images, labels, examples.images.classes, drawn_from=examples.n
        )
        section.draw("samples", "A sheet with random images of each class, a row a class", sheet)
        ink = figures.class_ink(examples.means, examples.ink, examples.images.classes)
        section.draw("ink", "The mean image of each class, and the range of its ink", ink)
    return section


def _files_table(files: Sequence[Mapping[str, object]]) -> Table:
    rows: list[list[str]] = []
    for title, key in (
        ("images", "rows"),
        ("height and width in pixels", "image_size"),
        ("lowest pixel", "pixel_min"),
        ("highest pixel", "pixel_max"),
        ("mean pixel", "pixel_mean"),
        ("standard deviation of pixels", "pixel_std"),
        ("share of pixels with ink", "ink_fraction"),
        ("χ² against equal classes", "chi_square"),
    ):
        rows.append([title, *(_number(file[key]) for file in files)])
    for title, key in (("blank images", "blank"), ("groups of equal images", "duplicates")):
        rows.append([title, *(str(len(file[key])) for file in files)])  # type: ignore[arg-type]
    header = ["", *(str(file["name"]) for file in files)]
    return Table("What the checks measured", header, rows)


def augmentation_section(evidence: RunArtifacts, digit: str | None) -> Section:
    """One digit, drawn as training saw it."""
    section = Section("augmentation", "Augmentation")
    recipe, who = evidence.recipe, "the recipe"
    if recipe.ensemble.members > 1:
        if recipe.ensemble.member_overrides:
            who = "the first member"
            section.say(
                "Members differ, as the table under The members tells; this is what the first sees."
            )
        recipe = recipe.member(0)
    section.say(f"{caption(recipe)}.")
    values = recipe.augmentation.model_dump()
    rows = [(name.replace("_", " "), f"{value:g}") for name, value in values.items()]
    section.tables.append(Table(f"As {who} has it", ("what", "amount"), rows))
    if evidence.examples is not None:
        _, image = evidence.examples.one_of(digit)
        section.draw(
            "augmentation",
            "One digit, and 32 variants of it as training sees it",
            augmentation_preview(image, recipe),
        )
    return section


def augmentation_preview(image: NDArray[np.uint8], recipe: Recipe) -> "Figure":
    """Draw one digit, uint8 [S, S], many ways, as training samples it at its first step."""
    generator = torch.Generator().manual_seed(recipe.seed)
    warp = augment.sampling_grid(recipe.augmentation, PREVIEW_VARIANTS, len(image), generator)
    copies = torch.from_numpy(image.copy()).expand(PREVIEW_VARIANTS, -1, -1)
    copies = augment.stroke_width_jitter(recipe.augmentation, copies, generator)
    choices = recipe.preprocessing
    variants = Preprocessing(zoom=choices.zoom, alignment=choices.alignment)(copies, warp)[
        :, 0
    ].numpy()
    return figures.augmentation_preview(image, variants, caption(recipe))


def caption(recipe: Recipe) -> str:
    """Say what is done to a digit: "Turned by up to 8°, shifted by up to 1.2 pixels"."""
    said = changes(recipe)
    if not said:
        return "This recipe changes nothing"
    fade = recipe.augmentation.strength_decay
    fading = f"; by the last step {100 * fade:g} % of it is gone" if fade else ""
    return ", ".join(said).capitalize() + fading


def changes(recipe: Recipe) -> list[str]:
    """Say each thing that augmentation does to a digit; nothing if it does nothing.

    Pixels are those of the image as it was given, before the zoom of preprocessing.
    """
    augmentation, zoom = recipe.augmentation, recipe.preprocessing.zoom or 1.0
    parts = [
        (augmentation.rotation_degrees, "turned by up to {:g}°"),
        (augmentation.shift_pixels / zoom, "shifted by up to {:.2g} pixels"),
        (augmentation.zoom * 100, "stretched by up to {:g} % a side"),
        (augmentation.shear_degrees, "slanted by up to {:g}°"),
        (augmentation.elastic_pixels / zoom, "bent by about {:.2g} pixels"),
        (augmentation.stroke_pixels, "strokes up to {:.2g} pixels thicker or thinner a side"),
        (augmentation.mixup * 100, "mixed with up to {:g} % of another digit"),
    ]
    return [text.format(amount) for amount, text in parts if amount]


def network_section(evidence: RunArtifacts) -> Section:
    """Layers, shapes, parameters and arithmetic."""
    section = Section("network", "The network")
    recognizer = evidence.recognizer
    if recognizer is None:
        section.say("The recognizer cannot be read, so its layers are not known.")
        return section
    member = recognizer.members[0]
    size = member.preprocessing.size or recognizer.image_size
    layers = summarize(member.model.cpu(), size)
    parameters = sum(layer.parameters for layer in layers)
    arithmetic = sum(layer.multiply_adds for layer in layers)
    several = len(recognizer.members) > 1
    section.say(
        f"{'The first member is' if several else 'It is'} {member.config.name}: "
        f"{parameters:,} parameters, {arithmetic:,} multiplications for one image of "
        f"{size} × {size}." + (f" There are {len(recognizer.members)} members." if several else "")
    )
    rows = [
        (
            layer.name,
            layer.kind,
            " × ".join(map(str, layer.shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
        )
        for layer in layers
    ]
    header = ("layer", "kind", "output", "parameters", "multiply-adds")
    section.tables.append(Table("Layers, in the order in which an image passes", header, rows))
    return section


def training_section(evidence: RunArtifacts) -> Section:
    """Loss, accuracy and learning rate."""
    section = Section("training", "Training")
    if not evidence.history:
        section.say("The table of epochs is missing, so there are no curves.")
        return section
    if evidence.recipe.ensemble.members > 1:
        section.say("These are the curves of the first member.")
    recognizer = evidence.recognizer
    kept = None if recognizer is None else recognizer.provenance["epoch"]
    images = "augmented images" if changes(evidence.recipe) else "images"
    section.say(
        f"Training accuracy is counted on {images} while the weights still move, so it may well "
        "lie below validation."
    )
    section.draw(
        "training",
        "Loss, accuracy and learning rate over the epochs",
        figures.training_curves(evidence.history, kept, evidence.intervals or ()),
    )
    return section


# Small things that several of the above need


def _expected(evidence: RunArtifacts) -> Evaluation | None:
    held_out = evidence.held_out
    if held_out is None or held_out.labels is None:
        return None
    return evaluate_probabilities(held_out.probabilities, held_out.labels, held_out.classes)


def _read_right(score: Score) -> str:
    low, high = score.interval
    return (
        f"{score.correct:,} of {score.n:,} were read right: {score.accuracy:.4f} "
        f"(95 % interval {low:.4f}–{high:.4f})"
    )


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


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
            f"{folder.tensorboard}: cannot be written to ({os_error_message(error)}), expected a writable "
            "folder"
        ) from error
