"""Figures: the data in them, their texts, and that everything fits."""

import io
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as png
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, OutputError
from tenfold.metrics import Score, calibration_bins, risk_coverage
from tenfold.recipe import Recipe
from tenfold.report import figures
from tenfold.report.figures.style import AMBER, BLUE, DPI, FULL_INCHES, HALF_INCHES, drawing, mosaic
from tenfold.report.run_report import augmentation_caption

DIGITS = tuple("0123456789")
LETTERS = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
CLOTHES = ("T-shirt/top", "Trouser", "Ankle boot")


def texts(figure: Figure) -> list[str]:
    """All texts of the figure that are not empty."""
    found = (artist for artist in figure.findobj(Text) if isinstance(artist, Text))
    return [text.get_text() for text in found if text.get_text()]


def unwrapped(text: str) -> str:
    """A title or note without its line breaks."""
    return text.replace("\n", " ")


def image_in(figure: Figure, panel: int = 0) -> np.ndarray:
    """The values of the image in one panel."""
    return np.asarray(figure.axes[panel].images[0].get_array())


def history(n_epochs: int) -> list[dict[str, float | int | None]]:
    return [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "train_accuracy": 1 - 0.3 / epoch,
            "valid_loss": 0.8 / epoch,
            "valid_accuracy": 1 - 0.2 / epoch,
            "learning_rate": 0.01 / epoch,
            "elapsed_s": 13.0 * epoch,
        }
        for epoch in range(1, n_epochs + 1)
    ]


def random_maps(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, side, side))


FIGURES: dict[str, Callable[[Dataset], Figure]] = {
    "balance": lambda d: figures.class_balance(
        {name: 10 + i for i, name in enumerate(LETTERS)}, dict.fromkeys(LETTERS, 2), "Letters"
    ),
    "balance_clothes": lambda d: figures.class_balance(dict.fromkeys(CLOTHES, 9), None, "Clothes"),
    "samples": lambda d: figures.sample_sheet(d.images, d.require_labels(), DIGITS),
    "samples_62": lambda d: figures.sample_sheet(
        d.images[:, ::2, ::2], d.require_labels(), LETTERS
    ),
    "augmentation": lambda d: figures.augmentation_preview(d.images[0], d.images[1:20], "Others"),
    "augmentation_all": lambda d: figures.augmentation_preview(
        d.images[0], d.images[1:33], augmentation_caption(Recipe.load("quick"))
    ),
    "curves_1": lambda d: figures.training_curves(history(1), best_epoch=1),
    "curves_100": lambda d: figures.training_curves(history(100), best_epoch=60),
    "confusion_2": lambda d: figures.confusion_matrix(np.array([[5, 1], [0, 7]]), ("a", "b")),
    "confusion_62": lambda d: figures.confusion_matrix(np.full((62, 62), 3), LETTERS),
    "feature_maps": lambda d: figures.feature_maps(
        d.images[0], [("stem", random_maps(32, 28)), ("pool", random_maps(3, 1))]
    ),
    "curves_steps": lambda d: figures.training_curves(history(6), 6, history(60)[5:]),
    "responses": lambda d: figures.responses(d.images[:77].reshape(7, 11, 28, 28), "conv5", 77),
    "predicted": lambda d: figures.predicted_classes(
        {name: 9 + i for i, name in enumerate(DIGITS)}, dict.fromkeys(DIGITS, 100)
    ),
    "ink": lambda d: figures.class_ink(
        d.images[:10] / 255, np.tile([0.05, 0.1, 0.2], (10, 1)), DIGITS
    ),
    "ink_clothes": lambda d: figures.class_ink(
        np.full((3, 28, 28), np.nan), np.full((3, 3), 0.2), CLOTHES
    ),
    "attribution": lambda d: figures.attribution(d.images[:10], random_maps(10, 28), DIGITS),
    "attribution_1": lambda d: figures.attribution(d.images[:1], random_maps(1, 28), "7"),
    "scores": lambda d: figures.scores({name: Score(95, 100) for name in CLOTHES}, "Clothes"),
    "scores_one": lambda d: figures.scores({"a run with a long name": Score(3, 3)}, "One run"),
    "reliability": lambda d: figures.reliability(
        calibration_bins(np.linspace(0.2, 1, 3000) ** 0.1, np.arange(3000) % 50 > 0), 0.01
    ),
    "reliability_sure": lambda d: figures.reliability(
        calibration_bins(np.ones(9), np.ones(9, bool)), 0
    ),
    "risk_coverage": lambda d: figures.risk_coverage(
        *risk_coverage(np.linspace(0, 1, 3000), np.arange(3000) % 90 > 0)
    ),
    "risk_coverage_3": lambda d: figures.risk_coverage(
        *risk_coverage(np.array([0.2, 0.5, 0.9]), np.array([False, True, True]))
    ),
    "ensemble_size": lambda d: figures.ensemble_size(
        {count: np.linspace(0.99, 0.9901, 5) + 1e-4 * count for count in range(1, 41)}, 28_000
    ),
    "disagreement": lambda d: figures.disagreement(np.arange(20).reshape(2, 10) % 7),
    "disagreement_30": lambda d: figures.disagreement(np.arange(300).reshape(30, 10) % 7),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_saved_as_a_png_of_its_size(
    name: str, digits: Dataset, tmp_path: Path
) -> None:
    figure = FIGURES[name](digits)
    path = tmp_path / "new" / f"{name}.png"
    figures.save(figure, path)

    width, height = figure.get_size_inches()
    pixels = png.imread(path)
    assert pixels.shape[:2] == (int(height * DPI), int(width * DPI))
    assert (pixels[-1] == 1).all(), "the margin is white"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


BLANK = {"ink_clothes"}  # they have panels without an image


@pytest.mark.parametrize("name", sorted(FIGURES.keys() - BLANK))
def test_every_panel_shows_data(name: str, digits: Dataset) -> None:
    figure = FIGURES[name](digits)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for text in figure.findobj(Text):
        text.set_visible(False)
    for axes in figure.axes:
        axes.spines[:].set_visible(False)
        axes.tick_params(which="both", length=0)
        axes.grid(False)
    pixels = png.imread(io.BytesIO(figures.as_png(figure)))[..., :3]
    height, width = pixels.shape[:2]
    for axes in figure.axes:
        left, bottom, right, top = (
            axes.get_window_extent().extents / figure.bbox.extents[[2, 3] * 2]
        )
        rows = slice(int((1 - top) * height), int((1 - bottom) * height))
        panel = pixels[rows, int(left * width) : int(right * width)]
        assert panel.min() < 0.9, "nothing is drawn but texts, ticks and a grid"


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_crosses_the_edge_of_its_figure(name: str, digits: Dataset) -> None:
    figure = FIGURES[name](digits)
    figure.draw_without_rendering()
    # A tick outside of its axis has a label that is not drawn.
    ticks = [
        label
        for axes in figure.axes
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels())
    ]
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_text() and text not in ticks:
            left, bottom, right, top = text.get_window_extent().extents
            assert left >= -1, text
            assert bottom >= -1, text
            assert right <= figure.bbox.x1 + 1, text
            assert top <= figure.bbox.y1 + 1, text


def test_a_figure_cannot_be_saved_over_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    path.mkdir()
    with pytest.raises(OutputError, match=r"curves\.png: is no ordinary file"):
        figures.save(figures.training_curves(history(2)), path)
    assert list(tmp_path.iterdir()) == [path], "no partial file is left"


def test_drawing_restores_the_settings_of_matplotlib(digits: Dataset) -> None:
    before = dict(rcParams)
    with drawing(4, 3, "Title", ""):
        assert dict(rcParams) != before
    figures.sample_sheet(digits.images, digits.require_labels(), DIGITS)
    assert dict(rcParams) == before


def test_importing_the_report_imports_no_matplotlib() -> None:
    code = "import sys, tenfold.report.figures; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_class_balance_shows_counts_and_the_uniform_count() -> None:
    counts, held_out = {"0": 3000, "1": 1000}, {"0": 30, "1": 10}
    figure = figures.class_balance(counts, held_out, "More zeros than ones")
    found = set(texts(figure))
    assert figure.get_suptitle() == "More zeros than ones"
    assert {"3,030", "1,010"} <= found
    assert "4,000 for training, 40 for validation" in figure.get_supxlabel()
    bars = [bar.get_height() for bar in figure.axes[0].patches]
    assert bars == [3030, 1010, 30, 10]
    assert figure.axes[0].patches[2].get_y() == 3000
    assert set(np.asarray(figure.axes[0].lines[0].get_ydata())) == {2020}


def test_predicted_classes_are_compared_with_their_share_in_training() -> None:
    figure = figures.predicted_classes({"0": 30, "1": 70}, {"0": 500, "1": 500})
    bars = [bar.get_height() for bar in figure.axes[0].patches]
    assert bars == [30, 70]
    (lines,) = figure.axes[0].collections
    assert [segment[0][1] for segment in lines.get_segments()] == [50, 50]


def test_the_strongest_responses_are_in_the_row_of_their_map() -> None:
    images = np.arange(6, dtype=np.uint8).reshape(3, 2, 1, 1) * 40
    shown = image_in(figures.responses(images, "conv5", 6))[::2, ::2] * 255
    np.testing.assert_allclose(shown, [[0, 40, 0, 160, 200], [80, 120, 0, 0, 0]])


def test_class_balance_of_one_part_has_one_panel() -> None:
    figure = figures.class_balance({"0": 1, "1": 0}, None, "Two classes")
    assert len(figure.axes) == 1
    assert figure.get_supxlabel().startswith("Dashed")


def test_sample_sheet_shows_each_class_in_its_row(digits: Dataset) -> None:
    labels = digits.require_labels()
    figure = figures.sample_sheet(digits.images, labels, DIGITS)
    shown = (image_in(figure) * 255).round().astype(np.uint8)
    step = 28 + 2
    for label in range(10):
        of_class = digits.images[labels == label]
        for column in range(12):
            top, left = label * step, column * step
            tile = shown[top : top + 28, left : left + 28]
            assert (of_class == tile).all(axis=(1, 2)).any()
    assert [name.get_text() for name in figure.axes[0].get_yticklabels()] == list(DIGITS)
    assert unwrapped(figure.get_suptitle()) == "12 random images of each of the 10 classes"
    assert figure.get_supxlabel() == "Drawn from 2,000 images."


def test_sample_sheet_leaves_missing_images_blank(digits: Dataset) -> None:
    one = np.flatnonzero(digits.require_labels() == 1)[:1]
    figure = figures.sample_sheet(digits.images[one], np.array([1]), ("0", "1"))
    shown = image_in(figure)
    assert shown[:28].max() == 0
    assert shown[30:, 30:].max() == 0
    assert shown[30:, :28].max() > 0
    assert "Blank cells: the class has fewer images." in figure.get_supxlabel()


def test_augmentation_preview_marks_the_original(digits: Dataset) -> None:
    original = digits.images[0]
    figure = figures.augmentation_preview(original, digits.images[1:6], "Rotated by up to 10°")
    left, right = figure.axes
    assert left.get_title(loc="left") == "original"
    assert left.spines["top"].get_visible()
    assert not right.spines["top"].get_visible()
    np.testing.assert_allclose(image_in(figure, 0), original / 255)
    assert figure.get_suptitle() == "One training image and 5 augmented variants"
    assert figure.get_supxlabel() == "Rotated by up to 10°"


def test_augmentation_preview_scales_floats(digits: Dataset) -> None:
    variants = digits.images[1:4]
    as_bytes = figures.augmentation_preview(digits.images[0], variants, "")
    normalized = (variants / 255 - 0.13) / 0.31
    as_floats = figures.augmentation_preview(digits.images[0], normalized, "")
    np.testing.assert_allclose(image_in(as_bytes, 1), image_in(as_floats, 1), atol=1e-6)


def test_training_curves_mark_the_selected_epoch() -> None:
    figure = figures.training_curves(history(10), best_epoch=4)
    assert figure.get_suptitle() == "Epoch 4 of 10 selected: validation accuracy 0.9500"
    assert "selected: epoch 4" in texts(figure)
    assert "Training time: 2:10." in figure.get_supxlabel()
    for axes in figure.axes:
        assert np.asarray(axes.lines[-1].get_xdata()).tolist() == [4, 4]


def test_training_curves_label_each_line_at_its_end() -> None:
    found = set(texts(figures.training_curves(history(10))))
    assert {"training 0.1000", "validation 0.0800"} <= found
    assert {"training 0.9700", "validation 0.9800"} <= found


def test_better_is_up_in_accuracy_and_down_in_loss() -> None:
    loss, accuracy, _ = figures.training_curves(history(10)).axes
    assert loss.transData.transform((1, 0.1))[1] < loss.transData.transform((1, 0.5))[1]
    ticks = {
        tick.get_text(): at
        for tick, at in zip(accuracy.get_yticklabels(), accuracy.get_yticks(), strict=True)
    }
    assert ticks["0.98"] == pytest.approx(0.02)
    heights = accuracy.transData.transform([(1, ticks["0.98"]), (1, ticks["0.8"])])[:, 1]
    assert heights[0] > heights[1]


@pytest.mark.parametrize("missing", ["absent", "none"])
def test_training_curves_without_validation(missing: str) -> None:
    rows = history(3)
    for row in rows:
        for key in ("valid_loss", "valid_accuracy"):
            if missing == "none":
                row[key] = None
            else:
                del row[key]
    figure = figures.training_curves(rows, best_epoch=3)
    assert figure.get_suptitle() == "Training accuracy 0.9000 after 3 epochs"
    assert not any(text.startswith("validation") for text in texts(figure))


def test_training_curves_with_no_error_and_with_divergence() -> None:
    rows = history(4)
    rows[1]["train_loss"] = float("nan")
    rows[2]["train_loss"] = float("inf")
    rows[3]["train_accuracy"] = 1.0
    figure = figures.training_curves(rows)
    assert {"training 1.0000", "≥ 0.9999"} <= set(texts(figure))


@pytest.mark.parametrize(("accuracy", "loss"), [(0.0, 1e9), (1.0, 0.0), (0.5, 1.0)])
def test_every_point_is_between_the_ends_of_its_axis(accuracy: float, loss: float) -> None:
    row = {"epoch": 1, "train_loss": loss, "train_accuracy": accuracy, "learning_rate": 0.1}
    for axes in figures.training_curves([row]).axes[:2]:
        low, high = sorted(axes.get_ylim())
        assert low < high
        assert low <= np.asarray(axes.lines[0].get_ydata())[0] <= high


def test_a_single_epoch_is_drawn_as_dots() -> None:
    figure = figures.training_curves(history(1))
    assert {line.get_marker() for axes in figure.axes for line in axes.lines} == {"o"}
    figure.draw_without_rendering()
    first, last = figure.axes[2].get_xlim()
    assert [tick for tick in figure.axes[2].get_xticks() if first <= tick <= last] == [1]


def test_training_curves_need_an_epoch() -> None:
    with pytest.raises(DataError, match="no epochs, expected at least one"):
        figures.training_curves([])


def test_confusion_matrix_shows_counts_and_no_colour_on_the_diagonal() -> None:
    confusion = np.array([[980, 0, 3], [1, 1130, 4], [0, 12, 1020]])
    figure = figures.confusion_matrix(confusion, ("0", "1", "2"))
    (axes,) = figure.axes
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert {(0, 0): "980", (2, 0): "3", (1, 2): "12"}.items() <= written.items()
    assert (1, 0) not in written, "zeros are not written"
    shown: np.ndarray = np.ma.asarray(axes.images[0].get_array())
    assert np.ma.getmaskarray(shown).tolist() == np.eye(3, dtype=bool).tolist()
    assert figure.get_suptitle() == "20 of 3,150 images misclassified,\nmost often 2 as 1: 12 times"


def test_confusion_matrix_without_errors() -> None:
    figure = figures.confusion_matrix(np.diag([4, 5]), ("a", "b"))
    assert figure.get_suptitle() == "9 images, all classified correctly"


def test_confusion_matrix_of_many_classes_writes_the_largest_counts() -> None:
    confusion = np.ones((62, 62), dtype=np.int64)
    confusion[3, 5] = 77
    figure = figures.confusion_matrix(confusion, LETTERS)
    numbers = [text for text in texts(figure) if text.isdigit() and text not in LETTERS]
    assert numbers == ["77"]
    assert "Counts up to 1 are not shown." in figure.get_supxlabel()


def test_feature_maps_are_blue_where_positive_and_amber_where_negative(digits: Dataset) -> None:
    maps = np.stack([np.full((56, 56), value) for value in (1.0, -1.0, 0.0)])
    shown = image_in(figures.feature_maps(digits.images[0], [("stem", maps)]), 1)
    positive, negative, zero = shown[0, 0], shown[0, 60], shown[0, 120]
    np.testing.assert_allclose(positive, to_rgb(BLUE))
    np.testing.assert_allclose(negative, to_rgb(AMBER))
    assert zero.tolist() == [1, 1, 1]


def test_feature_maps_need_something_to_show(digits: Dataset) -> None:
    with pytest.raises(DataError, match="no layers to draw feature maps of"):
        figures.feature_maps(digits.images[0], [])


def test_feature_maps_name_their_layers(digits: Dataset) -> None:
    layers = [("stem", random_maps(32, 28)), ("head", np.zeros((4, 7, 7)))]
    found = set(texts(figures.feature_maps(digits.images[0], layers)))
    assert {"stem: the first 16 of 32 maps, 28 × 28", "head: 4 maps, 7 × 7"} <= found


def test_mosaic_arranges_images_in_rows() -> None:
    images = np.arange(1, 4).reshape(3, 1, 1)
    np.testing.assert_array_equal(
        mosaic(images, columns=2, gap=(1, 1), fill=-1), [[1, -1, 2], [-1, -1, -1], [3, -1, 0]]
    )


def test_scores_are_listed_with_their_errors() -> None:
    figure = figures.scores({"a": Score(95, 100), "b": Score(3, 3)}, "Two runs", "On some images.")
    assert {"0.9500   5 of 100 wrong", "1.0000   0 of 3 wrong"} <= set(texts(figure))
    assert figure.get_supxlabel() == "On some images. Bars: 95% Wilson intervals."


def test_reliability_draws_each_bin_at_its_confidence_and_accuracy() -> None:
    confidence = np.repeat([0.8, 0.95], 100)
    is_correct = np.arange(200) % 10 > 0
    figure = figures.reliability(calibration_bins(confidence, is_correct), 0.0567)
    title = "Reliability diagram: expected calibration error 0.0567"
    assert unwrapped(figure.get_suptitle()) == title
    upper, lower = figure.axes
    dots = [line.get_xydata()[0] for line in upper.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, [[0.8, 0.9], [0.95, 0.9]])
    assert (upper.get_xlim(), upper.get_xscale(), upper.get_yscale()) == (
        (0, 1), "linear", "linear",
    )  # fmt: skip
    assert [text.get_text() for text in lower.texts] == ["100", "100"]


@pytest.mark.parametrize("n_wrong", [0, 2, 30, 150, 400, 999])
def test_risk_coverage_marks_the_error_rate_at_some_coverages(n_wrong: int) -> None:
    """Whatever the accuracy, no label is over another, or below the axes."""
    confidence = np.linspace(0, 1, 1000)
    figure = figures.risk_coverage(*risk_coverage(confidence, np.arange(1000) >= n_wrong))
    (axes,) = figure.axes
    marked = {text.get_text() for text in axes.texts}
    assert f"100%: {n_wrong / 1000:.2%} wrong" in marked
    if n_wrong == 30:
        assert marked == {"90%: 0.00% wrong", "95%: 0.00% wrong", "99%: 2.02% wrong",
                          "100%: 3.00% wrong"}  # fmt: skip
    figure.draw_without_rendering()
    boxes = sorted(text.get_window_extent().extents[[1, 3]].tolist() for text in axes.texts)
    assert len(boxes) == 4
    assert boxes[0][0] >= axes.get_window_extent().y0 - 2
    assert all(below[1] <= above[0] + 1 for below, above in pairwise(boxes))


@pytest.mark.parametrize("name", FIGURES)
def test_figures_have_one_of_two_widths(name: str, digits: Dataset) -> None:
    assert FIGURES[name](digits).get_figwidth() in {FULL_INCHES, HALF_INCHES}


ODD_NAMES = (r"$\frac{$", "\x1b[2J", "x" * 3000, "bad\udcff", "_0")


def by_classes(classes: tuple[str, ...]) -> list[Callable[[], Figure]]:
    """Every figure that shows something of each class, of made-up data for these classes."""
    count = len(classes)
    rng = np.random.default_rng(0)
    labels = np.arange(count)
    images = rng.integers(0, 256, (count, 8, 8)).astype(np.uint8)
    confusion = rng.integers(0, 5, (count, count))
    return [
        lambda: figures.class_balance(dict.fromkeys(classes, 3), dict.fromkeys(classes, 1), "All"),
        lambda: figures.sample_sheet(images, labels, classes),
        lambda: figures.class_ink(images / 255, np.tile([0.1, 0.2, 0.3], (count, 1)), classes),
        lambda: figures.confusion_matrix(confusion, classes),
        lambda: figures.scores({name: Score(5, 9) for name in classes}, "By class"),
    ]


@pytest.mark.timeout(60)
def test_the_time_to_draw_does_not_grow_with_the_number_of_classes() -> None:
    for draw in by_classes(tuple(f"class {index}" for index in range(1000))):
        figure = draw()
        figures.as_png(figure)
        assert len(figure.axes) <= 2
        assert " of 1,000 " in unwrapped(f"{figure.get_supxlabel()} {figure.get_suptitle()}")


@pytest.mark.parametrize("index", range(5))
def test_any_name_of_a_class_can_be_drawn(index: int) -> None:
    figure = by_classes(ODD_NAMES)[index]()
    figures.as_png(figure)
    shown = " ".join(texts(figure))
    assert r"$\frac{$" in shown
    assert r"\x1b[2J" in shown
    assert "x" * 40 not in shown


def test_of_many_classes_the_most_confused_are_drawn() -> None:
    confusion = np.eye(100, dtype=np.int64) * 10
    confusion[90, 91] = confusion[95, 3] = 7
    names = [f"c{index}" for index in range(100)]
    found = texts(figures.confusion_matrix(confusion, names))
    assert {"c90", "c95", "c0"} <= set(found)
    assert "c70" not in found
    scores = {name: Score(9 if index < 90 else 3, 9) for index, name in enumerate(names)}
    assert {"c90", "c99"} <= set(texts(figures.scores(scores, "By class")))


def test_mean_images_stand_above_the_names_of_their_classes(digits: Dataset) -> None:
    """In one row, each as wide as high, whether there are two or sixty."""
    for count in (2, 10, 62):
        means = digits.images[:count] / 255
        figure = figures.class_ink(means, np.full((count, 3), 0.2), LETTERS[:count])
        figure.draw_without_rendering()
        images, ink = figure.axes
        row = image_in(figure)
        cell = row.shape[1] // count
        for index in range(count):
            part = row[:, index * cell : (index + 1) * cell]
            np.testing.assert_allclose(part.sum(), means[index].sum())
        one, other = (axes.transData.transform([(0, 0), (1, 0)])[:, 0] for axes in (images, ink))
        np.testing.assert_allclose(one, other, atol=0.1 * (other[1] - other[0]))
        width = (one[1] - one[0]) * 28 / cell
        height = np.diff(images.transData.transform([(0, 0), (0, 1)])[:, 1])[0]
        assert width == pytest.approx(height, rel=0.01)
