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
from tenfold.metrics import CALIBRATION_BINS, evaluate_probabilities
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.error_analysis import ensemble_section, errors_section, label_issues_section
from tenfold.report.head import is_of_digits, rank_rows, run_head, test_score, validation_score
from tenfold.report.html import Section, join_items, render
from tenfold.report.interpretability import interpretability_section, network_section
from tenfold.report.prediction_review import predictions_section
from tenfold.run_folder import RunFolder
from tenfold.training import augment
from tenfold.training.callbacks import Throttle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREVIEW_VARIANTS = 32
PROGRESS_INTERVAL_S = 2.0
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
    progress = ReportProgress()
    sections: list[Section] = []
    for section in run_sections(artifacts, digit):
        progress.on_section(section.title)
        sections.append(section)
    recipe = artifacts.recipe
    page = render(
        f"Run report: {recipe.name}",
        f"Run {folder.path.resolve().name}. {recipe.description}".strip(),
        sections,
        figures_folder,
        head=run_head(artifacts),
        on_progress=progress.on_figure,
    )
    write_text(folder.report, page)
    _write_tensorboard(folder, sections)
    return folder.report


class ReportProgress:
    """Logs what the report is at: at once, and then every two seconds."""

    def __init__(self) -> None:
        logger.info("report: evaluating predictions and drawing figures")
        self._throttle = Throttle(PROGRESS_INTERVAL_S)

    def on_section(self, title: str) -> None:
        """Log the section that is prepared, if it is time."""
        if self._throttle.is_due():
            logger.info("report: %s", title.lower())

    def on_figure(self, done: int, total: int) -> None:
        """Log how many figures are drawn, if it is time."""
        if self._throttle.is_due():
            logger.info("report: drawing %d of %d figures", done, total)


def run_sections(artifacts: RunArtifacts, digit: str | None) -> Iterator[Section]:
    """Yield all sections in their order on the page: what came out, then how.

    Args:
        artifacts: what the run left.
        digit: the class whose image augmentation and feature maps show; None takes the first.
    """
    predictions = artifacts.predictions
    if predictions is not None and predictions.labels is None:
        yield predictions_section(artifacts, predictions)
    yield errors_section(artifacts)
    yield label_issues_section(artifacts)
    if artifacts.recipe.ensemble.members > 1:
        yield ensemble_section(artifacts)
    yield training_section(artifacts)
    yield data_section(artifacts)
    yield augmentation_section(artifacts, digit)
    yield network_section(artifacts)
    yield interpretability_section(artifacts, digit)
    yield details_section(artifacts)


def details_section(artifacts: RunArtifacts) -> Section:
    """Every number of the validation, the conditions of the run, and known results."""
    section = Section("details", "Details", chapter="The competition")
    recipe, validation = artifacts.recipe, artifacts.validation
    rows = [("recipe", f"{recipe.name}, seed {recipe.seed}")]
    test = test_score(artifacts)
    if test is not None:
        rows.append(("test score", str(test)))
    if validation is not None and validation.labels is not None:
        evaluation = evaluate_probabilities(
            validation.probabilities, validation.labels, validation.classes
        )
        rows += [
            ("validation score", str(evaluation.score)),
            ("validation loss, in nats", f"{evaluation.loss:.4f}"),
            (
                "validation calibration error",
                f"{evaluation.calibration_error:.4f} ({CALIBRATION_BINS} bins)",
            ),
        ]
    rows += _conditions(artifacts)
    section.add_table("Scores, times, device and versions", ("", "value"), rows, folded=True)
    known = test or validation_score(artifacts)
    if known is not None and is_of_digits(artifacts):
        header = ("method", "accuracy", "95% interval", "images")
        caption = "Known results without test-label leakage"
        section.add_table(caption, header, rank_rows(known), folded=True)
    return section


def _conditions(artifacts: RunArtifacts) -> Iterator[tuple[str, str]]:
    """Yield times, device and versions as rows of a table."""
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
    section = Section("data", "Data", chapter="The data")
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
        alt_text = "Random images of each class, one row per class"
        section.add_figure("samples", alt_text, drawn, rows=2)
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
    header = ["", *(file["name"] for file in files)]
    section.add_table("Statistics by file", header, rows, folded=True)
    if checks["test"]:
        section.add_text(f"Images present in both files: {len(checks['overlap']) or 'none'}.")


def _format_number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def augmentation_section(artifacts: RunArtifacts, digit: str | None) -> Section:
    """What augmentation does, and one image with augmented variants."""
    section = Section("augmentation", "Augmentation", chapter="Augmentation")
    recipe = artifacts.recipe
    if recipe.ensemble.members > 1:
        if recipe.ensemble.member_overrides:
            section.add_text(
                "Members differ, see the table under Ensemble members. This is the augmentation "
                "of the first member."
            )
        recipe = recipe.member(0)
    caption = augmentation_caption(recipe)
    if artifacts.examples is None or not augmentation_effects(recipe):
        section.add_text(f"{caption}.")
    else:
        section.add_text(
            "Every training image is changed at random in every epoch: the network rarely sees the "
            "same image twice. The pixels below are those of the image as given, before the zoom "
            "of preprocessing."
        )
        _, image = artifacts.examples.image_of(digit)
        alt_text = f"One image, and {PREVIEW_VARIANTS} augmented variants of it. {caption}"
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
    section = Section("training", "Training", chapter="Watching training")
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
    if artifacts.recipe.prediction.tta_shift_pixels is not None:
        section.add_text(
            "These curves evaluate each held-out image once, in place. The predicted score "
            "averages five shifted views where confidence is low, so it can differ."
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
