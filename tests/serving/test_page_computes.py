"""What the page computes, against Python: the network, and MNIST's normalisation."""

import base64
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tenfold import data, load
from tenfold.export import export_onnx
from tenfold.images import stroke_width, to_mnist
from tenfold.images.ink import find_ink
from tenfold.models import BOX
from tenfold.networks import build
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.recognizer import Member, Recognizer
from tenfold.serving.browser_network import browser_network
from tenfold.serving.page import bundle

PREDICT = """([json, base64]) => {
  const network = $network.readNetwork(JSON.parse(json));
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const found = [];
  for (let from = 0; from < bytes.length; from += 784) {
    found.push([...$network.predict(network, bytes.subarray(from, from + 784))]);
  }
  return found;
}"""
NORMALIZE = """(inks) => inks.map(([base64, width, height]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const ink = { values: new Float32Array(bytes.buffer), width, height };
  return [[...$normalize.toMnist(ink)], $normalize.strokeWidth(ink)];
})"""
FIND_INK = """([values, width, height]) =>
  [...$picture.findInk(Uint8ClampedArray.from(values), width, height).values]"""


@pytest.fixture(scope="module")
def run(browser):
    """Call a JavaScript function that sees a module and all that it imports."""
    page = browser.new_page()
    yield lambda name, function, argument: page.evaluate(
        f"(argument) => {{ {bundle(name)} return ({function})(argument); }}", argument
    )
    page.close()


@pytest.fixture(scope="module")
def ensemble_file(tmp_path_factory):
    """A pocket network and a compact one that see different images, and a temperature."""
    members = []
    for name, preprocessing in [
        ("pocket", Preprocessing(zoom=1.15)),
        ("tiny", Preprocessing(0.13, 0.31, zoom=1.2, size=24)),
    ]:
        config, size = Recipe.load(name).network, preprocessing.size or 28
        model = build(config, image_size=size, n_classes=10, seed=0).eval()
        members.append(Member(model, config, preprocessing))
    path = tmp_path_factory.mktemp("ensemble") / "ensemble.onnx"
    export_onnx(Recognizer(members, data.DIGITS, 28, temperature=0.5), path, tta=False)
    return path


def to_base64(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


@pytest.mark.parametrize(("which", "n"), [("box", 1000), ("ensemble", 50)])
def test_probabilities_are_those_of_onnxruntime(run, mnist, ensemble_file, which, n):
    path = BOX if which == "box" else ensemble_file
    images = mnist[1].images[:n]
    network = json.dumps(browser_network(path.read_bytes(), path.name))
    found = run("network", PREDICT, [network, to_base64(images)])
    expected = load(path).predictor().predict_proba(images)
    difference = np.abs(np.array(found) - expected).max()
    # Weights of float32 are rounded to float16 in the page, those of the box are so already.
    assert difference <= (1e-4 if which == "box" else 2e-3)


def test_drawings_are_normalised_as_in_python(run, digits):
    inks = list(drawings(digits))
    arguments = [[to_base64(ink), ink.shape[1], ink.shape[0]] for ink in inks]
    found = run("normalize", NORMALIZE, arguments)
    for ink, (pixels, width) in zip(inks, found, strict=True):
        assert width == pytest.approx(stroke_width(ink), rel=1e-4)
        expected = to_mnist(ink).ravel().astype(int)
        assert np.abs(np.array(pixels) - expected).max() <= 1  # the last bit of a sum


def drawings(digits):
    """Yield ink from small to large, with thin strokes and thick ones; the first has none."""
    yield np.zeros((30, 40), np.float32)
    for index, scale in enumerate([0.5, 1, 2, 3, 5, 10]):
        side = round(28 * scale)
        large = Image.fromarray(digits.images[index]).resize((side, side))
        yield np.asarray(large, np.float32) / 255
    for size, width in [(300, 3), (300, 30), (90, 2), (60, 1), (16, 1)]:
        picture = Image.new("L", (size, size))
        draw = ImageDraw.Draw(picture)
        draw.arc((2, 2, size // 2, size - 4), 20, 300, fill=255, width=width)
        draw.line((3, 3, size // 2, size // 3), fill=200, width=width)
        yield np.asarray(picture, np.float32) / 255


@pytest.mark.parametrize("is_bright", [False, True])
def test_ink_of_a_picture_is_where_python_finds_it(run, digits, is_bright):
    large = np.asarray(Image.fromarray(digits.images[3]).resize((140, 140)), np.float32) / 255
    noise = np.random.default_rng(0).normal(0, 3, large.shape)
    grey = 60 + 150 * large + noise if is_bright else 220 - 150 * large + noise
    pixels = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 4, axis=2)
    found = run("picture", FIND_INK, [pixels.ravel().tolist(), 140, 140])
    expected = find_ink(pixels[..., :3]).strength
    assert np.abs(np.array(found).reshape(140, 140) - expected).mean() < 0.02


def test_a_blank_picture_holds_no_ink(run):
    pixels = np.random.default_rng(0).integers(228, 236, (40, 50, 1)).repeat(4, axis=2)
    assert not any(run("picture", FIND_INK, [pixels.ravel().tolist(), 50, 40]))
