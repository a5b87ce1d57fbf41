import numpy as np
import pytest
from PIL import Image, ImageFilter

from tenfold.images import decode, find_ink, segment

from . import pages
from .pages import INK, PAPER, enlarge, grain, ink_on_paper, likeness, place, row_of, to_pixels

RNG = np.random.default_rng(0)
CHALK, BOARD = (220, 220, 210), (40, 60, 50)


def on_a_table(page):
    """A sheet that lies askew on dark wood."""
    height, width = page.shape[:2]
    wood = np.full((int(1.6 * height), int(1.6 * width), 3), (70, 50, 40), np.uint8)
    wood[height // 3 : height // 3 + height, width // 4 : width // 4 + width] = to_pixels(page)
    turned = Image.fromarray(wood).rotate(4, Image.Resampling.BICUBIC, fillcolor=(70, 50, 40))
    return np.asarray(turned, float)


def with_table_at_the_side(page):
    rows, columns = np.mgrid[: page.shape[0], : page.shape[1]]
    return np.where((columns - 0.1 * rows > 0.88 * page.shape[1])[..., None], 50.0, page)


def framed(page):
    page = page.copy()
    inner = page[24:-24, 24:-24].copy()
    page[20:-20, 20:-20] = INK
    page[24:-24, 24:-24] = inner
    return page


def blurred(page):
    return np.asarray(Image.fromarray(to_pixels(page)).filter(ImageFilter.GaussianBlur(2)), float)


def half_in_the_dark(page):
    page = page.copy()
    page[:, 150:] *= 0.5
    return page


PAGES = {
    "plain": ink_on_paper,
    "lamp and shadow": lambda strokes: grain(pages.shadow(ink_on_paper(strokes)), RNG),
    "hard shadow": lambda strokes: half_in_the_dark(ink_on_paper(strokes)),
    "tinted paper, red pen": lambda strokes: ink_on_paper(strokes, (250, 235, 150), (200, 40, 40)),
    "colours of one brightness": lambda strokes: ink_on_paper(strokes, (0, 150, 160), (250, 80, 0)),
    "ruled": lambda strokes: grain(pages.ruled(ink_on_paper(strokes), colour=(90, 110, 150)), RNG),
    "squared": lambda strokes: grain(
        pages.ruled(ink_on_paper(strokes), colour=(110, 130, 170), squared=True), RNG
    ),
    "pencil": lambda strokes: grain(ink_on_paper(strokes, ink=(175, 175, 175)), RNG, 4),
    "blackboard": lambda strokes: grain(ink_on_paper(strokes, BOARD, CHALK), RNG),
    "blackboard, shadow": lambda strokes: pages.shadow(ink_on_paper(strokes, BOARD, CHALK), 0.6),
    "sheet on a table": lambda strokes: on_a_table(ink_on_paper(strokes)),
    "table at the side": lambda strokes: with_table_at_the_side(ink_on_paper(strokes)),
    "framed": lambda strokes: framed(ink_on_paper(strokes)),
    "blurred": lambda strokes: blurred(ink_on_paper(strokes)),
    "noisy": lambda strokes: grain(ink_on_paper(strokes), RNG, 15),
}


@pytest.mark.parametrize("kind", PAGES)
def test_a_digit_is_found_on_every_page(digits, kind):
    likenesses = []
    for image in digits.images[:12]:
        strokes = place(enlarge(image), 240, 300, *RNG.integers(40, 90, 2))
        found = segment(decode(to_pixels(PAGES[kind](strokes))))
        assert len(found.digits) == 1
        likenesses.append(likeness(found.digits[0].image, image))
    assert np.median(likenesses) > 0.9
    assert min(likenesses) > 0.8


def test_a_jpeg_of_low_quality_is_read(digits):
    strokes = place(enlarge(digits.images[0]), 240, 300, 60, 90)
    found = segment(decode(pages.jpeg(ink_on_paper(strokes), quality=10)))
    assert len(found.digits) == 1
    assert likeness(found.digits[0].image, digits.images[0]) > 0.93


def test_the_box_is_in_pixels_of_the_original(digits):
    strokes = place(enlarge(digits.images[0], 560), 1200, 1500, 350, 750)
    found = segment(decode(to_pixels(ink_on_paper(strokes)))).digits[0]
    rows, columns = np.nonzero(strokes > 0.5)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract(found.box, expected)).max() <= 12


def of_each_class(digits, classes):
    """One image of each class, in that order."""
    return [digits.images[np.flatnonzero(digits.labels == each)[2]] for each in classes]


def test_lines_are_read_from_left_to_right_and_top_to_bottom(digits):
    images = of_each_class(digits, [7, 2, 0, 1, 4, 9])
    lines = np.vstack([row_of(images[:3], gap=20), row_of(images[3:], gap=20)])
    tilted = Image.fromarray(to_pixels(ink_on_paper(lines))).rotate(
        4, Image.Resampling.BICUBIC, fillcolor=PAPER
    )
    found = segment(decode(tilted)).digits
    assert [(digit.line, digit.position) for digit in found] == [
        (line, position) for line in (0, 1) for position in (0, 1, 2)
    ]
    lefts = [digit.box[0] for digit in found]
    assert lefts == sorted(lefts[:3]) + sorted(lefts[3:])
    for digit, image in zip(found, images, strict=True):
        assert likeness(digit.image, image) > 0.7  # they are turned


def test_the_bar_of_a_5_belongs_to_it():
    page = np.zeros((200, 200))
    rows, columns = np.mgrid[:200, :200]
    bowl = (np.abs(np.hypot(rows - 125, columns - 95) - 35) < 6) & ((columns > 85) | (rows > 140))
    page[bowl] = page[70:95, 80:92] = 1
    page[48:60, 82:135] = 1  # the bar floats above
    assert len(segment(decode(to_pixels(ink_on_paper(page)))).digits) == 1


def test_specks_and_a_comma_are_no_digits(digits):
    page = row_of(of_each_class(digits, [3, 8]), gap=40)
    page[20:23, 30:33] = page[100:102, 300:303] = 1
    page[140:160, 165:172] = 1
    assert len(segment(decode(to_pixels(ink_on_paper(page)))).digits) == 2


def test_a_digit_cut_close_keeps_the_bar_that_runs_from_edge_to_edge(digits):
    seven = np.zeros((120, 80))
    seven[0:2] = 1
    for row in range(120):
        column = int(76 - 0.45 * row)
        seven[row, column : column + 3] = 1
    found = segment(decode(to_pixels(ink_on_paper(seven))))
    assert len(found.digits) == 1
    assert found.digits[0].box == (0, 0, 80, 120)


def nearest(digits):
    """A classifier for tests: how well an image correlates with digits of each class."""
    flat = digits.images.reshape(len(digits), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)

    def classify(images):
        given = images.reshape(len(images), -1).astype(np.float32)
        given -= given.mean(axis=1, keepdims=True)
        given /= np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-6)
        best = (given @ flat.T).clip(0, 1)
        scores = [best[:, digits.labels == each].max(axis=1) for each in range(10)]
        return np.stack(scores, axis=1) ** 4

    return classify


def test_digits_that_touch_are_taken_apart(digits):
    touching = of_each_class(digits, [0, 6])
    ink = [strokes[:, strokes.any(axis=0)] for strokes in map(enlarge, touching)]
    page = np.pad(np.hstack([ink[0], np.zeros((112, 1)), ink[1]]), 40)
    page[94:98, 40 + ink[0].shape[1] - 12 : 40 + ink[0].shape[1] + 14] = 1  # joined by a bridge
    picture = decode(to_pixels(ink_on_paper(page)))
    assert len(segment(picture).digits) == 1
    found = segment(picture, nearest(digits)).digits
    assert len(found) == 2
    assert [
        likeness(digit.image, image) > 0.85 for digit, image in zip(found, touching, strict=True)
    ]


def test_a_broken_8_is_put_together(digits):
    eight = of_each_class(digits, [8])[0]
    strokes = place(enlarge(eight, 224), 320, 320, 50, 50)
    used = np.flatnonzero(strokes.any(axis=0))
    strokes[:, used.mean().astype(int) - 4 :][:, :8] = 0
    picture = decode(to_pixels(ink_on_paper(strokes)))
    assert len(segment(picture).digits) == 2
    found = segment(picture, nearest(digits)).digits
    assert len(found) == 1
    assert likeness(found[0].image, eight) > 0.8


def test_one_digit_stays_one_digit_with_a_classifier(digits):
    for image in digits.images[:60]:
        strokes = place(enlarge(image), 160, 160, 20, 20)
        found = segment(decode(to_pixels(ink_on_paper(strokes))), nearest(digits))
        assert len(found.digits) == 1


def test_small_pictures_keep_their_greys():
    grey = np.zeros((8, 8), np.uint8)
    grey[1:7, 3] = [60, 120, 250, 250, 120, 60]
    found = segment(decode(grey)).images
    assert found.shape == (1, 28, 28)
    assert len(np.unique(found)) > 10


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((50, 60), np.uint8),
        np.full((50, 60), 255, np.uint8),
        np.full((300, 400, 3), 128, np.uint8),
        np.zeros((1, 1), np.uint8),
        np.zeros((1, 400), np.uint8),
        to_pixels(grain(np.full((300, 400, 3), 200.0), np.random.default_rng(1))),
        to_pixels(grain(pages.shadow(np.full((300, 400, 3), 220.0)), np.random.default_rng(1))),
    ],
    ids=["black", "white", "grey", "one pixel", "one row", "grain", "shadow"],
)
def test_without_ink_there_are_no_digits(pixels):
    found = segment(decode(pixels), lambda images: np.ones((len(images), 10), np.float32))
    assert found.digits == ()
    assert found.images.shape == (0, 28, 28)
    assert found.images.dtype == np.uint8


def test_polarity_is_told(digits):
    strokes = place(enlarge(digits.images[0]), 200, 200, 40, 40)
    assert not find_ink(to_pixels(ink_on_paper(strokes))).bright_ink
    assert find_ink(to_pixels(ink_on_paper(strokes, BOARD, CHALK))).bright_ink
