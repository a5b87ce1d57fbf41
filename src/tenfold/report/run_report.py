"""The report of a run, from the files in its folder; a section leaves out what is missing."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.errors import OutputError
from tenfold.files import os_error_message, output_folder, write_text
from tenfold.formatting import format_duration
from tenfold.kaggle import leaderboard_position
from tenfold.metrics import CALIBRATION_BINS, Score, evaluate_probabilities
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.error_analysis import ensemble_section, errors_section, label_issues_section
from tenfold.report.html import Section, join_items, render
from tenfold.report.interpretability import interpretability_section, network_section
from tenfold.run_folder import RunFolder
from tenfold.training import augment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREVIEW_VARIANTS = 32
EVENTS_SUFFIX = ".report"  # of the TensorBoard event file that a report writes
TENSORBOARD_FIGURES = ("confusion", "samples")

logger = logging.getLogger(__name__)


def write_report(run: Path, *, digit: str | None = None) -> Path:
    """Write `report.html` and `figures/*.png` into the run folder.

    Args:
        run: the run folder.
        digit: the class whose image augmentation and feature maps show; by default the first.

    Returns:
        The path of the page.

    Raises:
        RecognizerError: `run` is no run folder.
        DataError: there is no image of class `digit`.
        OutputError: the folder cannot be written to.
    """
    artifacts = RunArtifacts.read(run)
    if digit is not None and artifacts.examples is not None:
        artifacts.examples.image_of(digit)  # raises before anything is drawn
    folder = artifacts.folder
    figures_folder = output_folder(folder.figures)
    sections: list[Section] = []
    for section in run_sections(artifacts, digit):
        logger.info(f"report: {section.title.lower()}")
        sections.append(section)
    recipe = artifacts.recipe
    title = f"Run report: {recipe.name}"
    subtitle = f"Run {folder.path.resolve().name}. {recipe.description}".strip()
    write_text(folder.report, render(title, subtitle, sections, figures_folder))
    _write_tensorboard(folder, sections)
    return folder.report


def run_sections(artifacts: RunArtifacts, digit: str | None) -> Iterator[Section]:
    """Yield all sections in their order on the page.

    Args:
        artifacts: what the run left.
        digit: the class whose image augmentation and feature maps show; None takes the first.
    """
    yield summary_section(artifacts)
    yield data_section(artifacts)
    yield augmentation_section(artifacts, digit)
    yield network_section(artifacts)
    yield training_section(artifacts)
    yield interpretability_section(artifacts, digit)
    yield errors_section(artifacts)
    yield label_issues_section(artifacts)
    if artifacts.recipe.ensemble.members > 1:
        yield ensemble_section(artifacts)


def summary_section(artifacts: RunArtifacts) -> Section:
    """Scores, and the conditions of the run."""
    section = Section("summary", "Summary")
    recipe, rows = artifacts.recipe, []
    if artifacts.score is not None:
        test = Score(artifacts.score["correct"], artifacts.score["n"])
        section.add_text(f"On the test images, {_describe(test)}.")
        position = leaderboard_position(test.accuracy).summary()
        section.add_text(f"Compared with known leaderboard scores, {position}.")
        rows.append(("test score", str(test)))
    validation = artifacts.validation
    if validation is not None and validation.labels is not None:
        evaluation = evaluate_probabilities(
            validation.probabilities, validation.labels, validation.classes
        )
        if artifacts.score is None:
            section.add_text(
                f"On the held-out images, {_describe(evaluation.score)}. This is the predicted "
                "leaderboard score."
            )
        rows += [
            ("validation score", str(evaluation.score)),
            ("validation loss, in nats", f"{evaluation.loss:.4f}"),
            (
                "validation calibration error",
                f"{evaluation.calibration_error:.4f} ({CALIBRATION_BINS} bins)",
            ),
        ]
        section.add_text(
            recipe.validation_caveat() or "The held-out images were not used for model selection."
        )
    else:
        section.add_text("No images were held out, so the run cannot predict its own score.")
    rows += [("recipe", f"{recipe.name}, seed {recipe.seed}"), *_conditions(artifacts)]
    section.add_table("The run at a glance", ("", "value"), rows)
    if artifacts.missing:
        section.add_text(
            f"Incomplete run: {'; '.join(artifacts.missing)}. What depends on these files is left "
            "out below."
        )
    return section


def _describe(score: Score) -> str:
    low, high = score.interval
    return (
        f"{score.correct:,} of {score.n:,} predictions are correct: accuracy {score.accuracy:.4f} "
        f"(95% interval {low:.4f}–{high:.4f})"
    )


def _conditions(artifacts: RunArtifacts) -> Iterator[tuple[str, str]]:
    """Yield times, device and versions as rows of the summary."""
    if artifacts.summary is not None:
        yield "training time", format_duration(artifacts.summary["train_s"])
        if (total_s := artifacts.summary["total_s"]) is not None:
            yield "total time, without this report", format_duration(total_s)
    if (environment := artifacts.environment) is not None:
        yield "device", f"{environment['device_name']} ({environment['system']})"
        versions = ", ".join(f"{name} {value}" for name, value in environment["versions"].items())
        yield "versions", f"Python {environment['python']}, {versions}"


def data_section(artifacts: RunArtifacts) -> Section:
    """What the checks found, class counts, and samples."""
    section = Section("data", "Data")
    data, examples = artifacts.data, artifacts.examples
    if data is not None and (checks := data["checks"]) is not None:
        _add_checks(section, checks)
    if data is not None:
        train, valid = data["train"], data["valid"]
        title = "Images per class" + ("" if valid is None else ", by training and validation")
        counts = None if valid is None else valid["classes"]
        drawn = figures.class_balance(train["classes"], counts, title)
        alt_text = f"Bars of the number of images per class: {join_items(train['classes'])}"
        section.add_figure("classes", alt_text, drawn)
    if examples is not None:
        images = examples.images
        drawn = figures.sample_sheet(
            images.images, images.require_labels(), images.classes, drawn_from=examples.n
        )
        section.add_figure("samples", "Random images of each class, one row per class", drawn)
        drawn = figures.class_ink(examples.means, examples.ink, images.classes)
        section.add_figure("ink", "The mean image of each class, and its range of ink", drawn)
    return section


def _add_checks(section: Section, checks: Mapping[str, Any]) -> None:
    """Add problems, notes, and a table of statistics by file."""
    for problem in checks["problems"]:
        section.add_text(f"Problem: {problem}.")
    for note in checks["notes"]:
        section.add_text(f"Note: {note}.")
    if checks["problems"] or checks["notes"]:
        section.add_text("Problems and notes count images from 0, figures count rows from 1.")
    else:
        section.add_text("The checks found no problems.")
    files = [checks["train"]] + ([checks["test"]] if checks["test"] else [])
    rows: list[list[str]] = []
    for title, key in (
        ("images", "rows"),
        ("height and width in pixels", "image_size"),
        ("smallest pixel value", "pixel_min"),
        ("largest pixel value", "pixel_max"),
        ("mean pixel value", "pixel_mean"),
        ("standard deviation of pixel values", "pixel_std"),
        ("share of non-zero pixels", "ink_fraction"),
        ("χ² of equal class counts", "chi_square"),
    ):
        rows.append([title, *(_format_number(file[key]) for file in files)])
    for title, key in (("blank images", "blank"), ("groups of identical images", "duplicates")):
        rows.append([title, *(str(len(file[key])) for file in files)])
    section.add_table("Statistics by file", ["", *(file["name"] for file in files)], rows)
    if checks["test"]:
        section.add_text(f"Images that are in both files: {len(checks['overlap'])}.")


def _format_number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def augmentation_section(artifacts: RunArtifacts, digit: str | None) -> Section:
    """The settings of augmentation, and one image with augmented variants."""
    section = Section("augmentation", "Augmentation")
    recipe, owner = artifacts.recipe, "the recipe"
    if recipe.ensemble.members > 1:
        if recipe.ensemble.member_overrides:
            owner = "the first member"
            section.add_text(
                "Members differ, see the table under Ensemble members. This is the augmentation "
                "of the first member."
            )
        recipe = recipe.member(0)
    section.add_text(f"{augmentation_caption(recipe)}.")
    values = recipe.augmentation.model_dump()
    rows = [(name.replace("_", " "), f"{value:g}") for name, value in values.items()]
    section.add_table(f"Settings of {owner}", ("setting", "value"), rows)
    if artifacts.examples is not None:
        _, image = artifacts.examples.image_of(digit)
        alt_text = f"One image, and {PREVIEW_VARIANTS} augmented variants of it"
        section.add_figure("augmentation", alt_text, augmentation_preview(image, recipe))
    return section


def augmentation_preview(image: NDArray[np.uint8], recipe: Recipe) -> "Figure":
    """Draw augmented variants of one image, uint8 [S, S], as the first training step draws them."""
    generator = torch.Generator().manual_seed(recipe.seed)
    warp = augment.sampling_grid(recipe.augmentation, PREVIEW_VARIANTS, len(image), generator)
    copies = torch.from_numpy(image.copy()).expand(PREVIEW_VARIANTS, -1, -1)
    copies = augment.stroke_width_jitter(recipe.augmentation, copies, generator)
    config = recipe.preprocessing
    preprocessing = Preprocessing(zoom=config.zoom, alignment=config.alignment)
    variants = preprocessing(copies, warp)[:, 0].numpy()
    return figures.augmentation_preview(image, variants, augmentation_caption(recipe))


def augmentation_caption(recipe: Recipe) -> str:
    """Return the augmentation in words: "Rotated by up to 8°, shifted by up to 1.2 pixels"."""
    effects = augmentation_effects(recipe)
    if not effects:
        return "This recipe has no augmentation"
    decay = recipe.augmentation.strength_decay
    decayed = f"; the strength falls by {100 * decay:g}% until the last step" if decay else ""
    return ", ".join(effects).capitalize() + decayed


def augmentation_effects(recipe: Recipe) -> list[str]:
    """Return what augmentation does to an image, one phrase for each effect.

    Pixels are those of the image as given, before the zoom of preprocessing.
    """
    augmentation, zoom = recipe.augmentation, recipe.preprocessing.zoom or 1.0
    effects = [
        (augmentation.rotation_degrees, "rotated by up to {:g}°"),
        (augmentation.shift_pixels / zoom, "shifted by up to {:.2g} pixels"),
        (augmentation.zoom * 100, "scaled by up to {:g}% per axis"),
        (augmentation.shear_degrees, "sheared by up to {:g}°"),
        (augmentation.elastic_pixels / zoom, "elastically deformed by about {:.2g} pixels"),
        (augmentation.stroke_pixels, "strokes up to {:.2g} pixels thicker or thinner per side"),
        (augmentation.mixup * 100, "mixed with up to {:g}% of another image"),
    ]
    return [text.format(amount) for amount, text in effects if amount]


def training_section(artifacts: RunArtifacts) -> Section:
    """Loss, accuracy and learning rate."""
    section = Section("training", "Training")
    if not artifacts.history:
        section.add_text("The metrics of the epochs are missing, so there are no curves.")
        return section
    if artifacts.recipe.ensemble.members > 1:
        section.add_text("These are the curves of the first member.")
    recognizer = artifacts.recognizer
    best_epoch = None if recognizer is None else recognizer.provenance.get("epoch")
    images = "augmented images" if augmentation_effects(artifacts.recipe) else "images"
    section.add_text(
        f"Training accuracy is measured on {images} while the weights still change, so it may be "
        "below validation accuracy."
    )
    drawn = figures.training_curves(artifacts.history, best_epoch, artifacts.intervals or ())
    section.add_figure("training", "Loss, accuracy and learning rate over the epochs", drawn)
    return section


def _write_tensorboard(folder: RunFolder, sections: Sequence[Section]) -> None:
    """Add two figures to TensorBoard, in place of those of an earlier report."""
    from matplotlib.image import imread  # noqa: PLC0415 - slow to import
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow to import

    drawn = {figure.name for section in sections for figure in section.figures}
    try:
        for earlier in folder.tensorboard.glob(f"*{EVENTS_SUFFIX}"):
            earlier.unlink()
        with SummaryWriter(str(folder.tensorboard), filename_suffix=EVENTS_SUFFIX) as writer:
            for name in TENSORBOARD_FIGURES:
                if name in drawn:
                    image = imread(folder.figures / f"{name}.png")[..., :3]
                    writer.add_image(name, image, dataformats="HWC")
    except OSError as error:
        raise OutputError(
            f"{folder.tensorboard}: cannot be written to ({os_error_message(error)}), expected a "
            "writable folder"
        ) from error
