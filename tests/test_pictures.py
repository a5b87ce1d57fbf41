"""Pictures of digits through the model in the box: from the command line and from Python."""

import csv
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

import tenfold
from tenfold.cli import main
from tenfold.decision import Decision
from tenfold.errors import DataError, ImageError
from tenfold.models import load
from tenfold.pictures import COLUMNS, is_picture, read_images


def write(digits, indices, height=60, gap=40, size=None):
    """Write digits in a line on paper, as a picture: uint8 [H, W]."""
    tiles = [
        np.asarray(Image.fromarray(digits.images[index]).resize((height, height)))
        for index in indices
    ]
    width = size or len(tiles) * (height + gap) + gap
    paper = np.full((height + 2 * gap, width), 235, np.uint8)
    for position, tile in enumerate(tiles):
        left = gap + position * (height + gap)
        paper[gap : gap + height, left : left + height] -= (tile * (200 / 255)).astype(np.uint8)
    return paper


@pytest.fixture(scope="module")
def box():
    return load()


@pytest.fixture(scope="module")
def number(digits):
    """Six digits in a line, and what they are."""
    indices = [int(np.flatnonzero(digits.labels == label)[3]) for label in (4, 0, 7, 1, 9, 2)]
    return write(digits, indices), "407192"


def command(monkeypatch, capsys, *arguments):
    """Run `tenfold` in this process; return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["tenfold", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_a_line_of_digits_is_read_in_order_with_boxes(number):
    picture, text = number
    (found,) = read_images(picture)
    assert found.text == str(found) == text
    assert [digit.position for digit in found.digits] == list(range(6))
    assert {digit.line for digit in found.digits} == {0}
    lefts, rights = zip(*[(digit.box[0], digit.box[2]) for digit in found.digits], strict=True)
    for position, (left, right) in enumerate(zip(lefts, rights, strict=True)):
        assert 40 + position * 100 <= left < right <= 102 + position * 100
    assert found.explain().size[0] > 600


def test_predict_takes_pictures_in_every_form(box, number, tmp_path):
    picture, text = number
    expected = [int(digit) for digit in text]
    Image.fromarray(picture).save(tmp_path / "number.png")
    for form in (
        picture,
        np.stack([picture] * 3, axis=-1),
        Image.fromarray(picture),
        tmp_path / "number.png",
        str(tmp_path / "number.png"),
        (tmp_path / "number.png").read_bytes(),
    ):
        np.testing.assert_array_equal(box.predict(form), expected)
    assert box.predict_proba(picture).shape == (6, 10)


def test_stored_images_are_not_searched_for_digits(box, digits):
    stored = digits.images[:50]
    alone = np.concatenate([box.predict(image) for image in stored])
    np.testing.assert_array_equal(alone, box.predict(stored))
    assert (alone == digits.labels[:50]).mean() >= 0.98
    with pytest.raises(DataError, match="expected uint8 28 × 28"):
        box.predict(np.zeros((5, 20, 20), np.uint8))


def test_no_ink_no_digit_and_not_sure_are_said(box):
    blank, noise = np.full((80, 80), 240, np.uint8), np.full((80, 80), 240, np.uint8)
    noise[20:60, 20:60:4] = 30  # a fence
    noise[20:60:4, 20:60] = 30
    empty, fence = read_images([blank, noise], box)
    assert (empty.digits, empty.text, empty.summary()) == ((), "", "no ink")
    assert fence.summary().startswith(Decision.NO_DIGIT)
    assert empty.explain().size[1] > 100


def test_the_command_reads_pictures_and_goes_on_after_bad_ones(
    number, digits, tmp_path, monkeypatch, capsys
):
    picture, text = number
    Image.fromarray(picture).save(tmp_path / "number.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "more").mkdir()
    for index in (2, 10):
        Image.fromarray(255 - digits.images[index]).save(tmp_path / "more" / f"{index}.png")
    inputs = [tmp_path / "text.png", tmp_path / "number.png", tmp_path / "more"]
    options = ["--out", tmp_path / "table.csv", "--explain", tmp_path / "steps"]
    code, out, err = command(monkeypatch, capsys, "predict", *inputs, *options)
    assert code == 2
    assert "text.png: is text, expected a picture" in err
    names = digits.label_names()
    assert [line.rsplit(": ", 1)[1] for line in out.splitlines()[:3]] == [
        text, names[2], names[10]
    ]  # fmt: skip
    rows = list(csv.reader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert rows[0] == list(COLUMNS)
    assert "".join(row[3] for row in rows[1:7]) == text
    assert len(rows) == 9
    assert sorted(path.name for path in (tmp_path / "steps").iterdir()) == [
        "10.png", "2.png", "number.png"
    ]  # fmt: skip


def test_json_holds_boxes_probabilities_and_sets(number, tmp_path, monkeypatch, capsys):
    picture, text = number
    Image.fromarray(picture).save(tmp_path / "number.png")
    arguments = ("predict", tmp_path / "number.png", "--json", "--set-coverage", "0.99")
    code, out, err = command(monkeypatch, capsys, *arguments)
    assert (code, err) == (0, "")
    (found,) = json.loads(out)["pictures"]
    assert found["text"] == text
    for digit in found["digits"]:
        assert digit["digit"] in digit["set"]
        assert digit["probabilities"][digit["digit"]] == digit["confidence"]
        assert sum(digit["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert len(digit["box"]) == 4


def test_standard_input_is_a_picture(number, monkeypatch, capsys):
    picture, text = number
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    content.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    assert command(monkeypatch, capsys, "predict", "-") == (0, f"standard input: {text}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "number.png", "test.csv"], "test.csv: is no picture, expected one data file"),
        (["predict", "a.csv", "b.csv"], "a.csv: is no picture, expected one data file alone"),
        (["predict", "gone.png"], "gone.png: cannot be read (no such file or directory)"),
        (["predict", "test.csv", "--explain", "x"], "--explain and --set-coverage are for pict"),
        (["predict", "number.png", "--set-coverage", "1", "--json"], "a coverage of 1 cannot be"),
        (["predict", "model.onnx"], "model.onnx: is a model, expected a data file or pictures"),
        (["predict", "gone.onnx", "number.png"], "gone.onnx: there is no such file"),
        (["predict", "empty"], "empty: is a folder without pictures"),
        (["export", "gone", "x.onnx"], "gone: there is no such file"),
        (["export", "gone", "x.bin"], "x.bin: ends in '.bin', expected a name that ends in .onnx"),
        (["export", "gone", "x.onnx", "--weights", "int8"], "expected float32 or float16"),
    ],
)
def test_mistakes_have_a_sentence(number, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(number[0]).save("number.png")
    (tmp_path / "empty").mkdir()
    code, _, err = command(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "number.png"]


def test_a_picture_is_known_by_name_or_content(tmp_path, number, monkeypatch):
    Image.fromarray(number[0]).save(tmp_path / "number", "PNG")
    (tmp_path / "page").write_bytes(b"%PDF-1.7")
    (tmp_path / "table").write_text("pixel0\n0\n")
    assert [is_picture(str(tmp_path / name)) for name in ("number", "page", "table", "gone")] == [
        True, True, False, False
    ]  # fmt: skip
    assert is_picture("gone.JPG")
    for content, answer in ((b"\x89PNG\r\n\x1a\n", True), (b"label,pixel0\n", False)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert is_picture("-") is answer
        assert sys.stdin.buffer.read() == content


def test_from_python_a_bad_picture_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png: cannot be read"):
        tenfold.read_images([tmp_path / "gone.png"])


def test_a_recognizer_of_other_images_reads_no_pictures(box, number, monkeypatch):
    monkeypatch.setattr(box, "image_size", 20)
    with pytest.raises(DataError, match="trained on images of 20 × 20 pixels, expected 28 × 28"):
        box.predict(number[0])
