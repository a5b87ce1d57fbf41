import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from tenfold.errors import DataError, ImageError
from tenfold.images import decode, decode_all

from .pages import png

SCENE = np.full((40, 60, 3), 230, np.uint8)
SCENE[5:15, 10:30] = (20, 30, 90)  # a block at the top left


def encoded(image_format, image=None, **options):
    stream = io.BytesIO()
    (image or Image.fromarray(SCENE)).save(stream, image_format, **options)
    return stream.getvalue()


def block(picture):
    """The box around what is dark: left, top, right, bottom."""
    rows, columns = np.nonzero(picture.pixels.mean(axis=2) < 128)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_every_format_gives_the_same_picture(image_format):
    picture = decode(encoded(image_format, **({"quality": 95} if image_format == "JPEG" else {})))
    assert (picture.pixels.shape, picture.pixels.dtype) == ((40, 60, 3), np.uint8)
    assert (picture.width, picture.height, picture.notes) == (60, 40, ())
    assert np.abs(picture.pixels.astype(int) - SCENE).mean() < 6


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(SCENE).convert("L"),
        Image.fromarray(SCENE).convert("1", dither=Image.Dither.NONE),
        Image.fromarray(SCENE).convert("P"),
        Image.fromarray(SCENE).convert("CMYK"),
        Image.fromarray(SCENE).convert("F"),
        Image.fromarray(SCENE).convert("I"),
        Image.fromarray(SCENE[..., 0].astype(np.uint16) * 257),
    ],
    ids=lambda image: image.mode,
)
def test_every_mode_is_read(image):
    assert block(decode(image)) == (10, 5, 30, 15)


@pytest.mark.parametrize(("mode", "factor"), [("TIFF", 257), ("PNG", 257), ("PNG", 16)])
def test_sixteen_bits_keep_their_contrast(mode, factor):
    grey = Image.fromarray(SCENE[..., 0].astype(np.uint16) * factor)
    picture = decode(encoded(mode, grey))
    assert block(picture) == (10, 5, 30, 15)
    assert np.ptp(picture.pixels) > 150


@pytest.mark.parametrize(
    "array",
    [
        SCENE,
        SCENE[..., 0],
        SCENE[..., :1],
        SCENE[..., 0] / 255,
        SCENE.astype(np.float32),
        SCENE[..., 0] > 128,
        np.dstack([SCENE, np.full((40, 60), 255, np.uint8)]),
    ],
)
def test_arrays_are_pictures(array):
    assert block(decode(array)) == (10, 5, 30, 15)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((3, 4, 2), np.uint8), r"is uint8 \[3, 4, 2\]"),
        (np.zeros((0, 4), np.uint8), r"is uint8 \[0, 4\]"),
        (np.zeros(9), r"is float64 \[9\]"),
        (np.full((4, 4), np.nan), "negative or not finite"),
        (np.full((4, 4), -1), "negative or not finite"),
    ],
)
def test_other_arrays_are_an_error(array, found):
    with pytest.raises(ImageError, match=found):
        decode(array)


@pytest.mark.parametrize(
    ("orientation", "box"),
    [
        (1, (10, 5, 30, 15)),
        (2, (30, 5, 50, 15)),
        (3, (30, 25, 50, 35)),
        (6, (25, 10, 35, 30)),
        (8, (5, 30, 15, 50)),
    ],
)
def test_exif_turns_the_picture_upright(orientation, box):
    image = Image.fromarray(SCENE)
    exif = image.getexif()
    exif[0x0112] = orientation
    picture = decode(png(image, exif=exif))
    assert block(picture) == box
    assert (picture.height, picture.width) == picture.pixels.shape[:2]


@pytest.mark.parametrize(("stroke", "dark"), [((0, 0, 0), True), ((255, 255, 255), False)])
def test_transparent_is_paper(stroke, dark):
    strokes = np.zeros((40, 60, 4), np.uint8)
    strokes[5:15, 10:30] = (*stroke, 255)
    pixels = decode(png(strokes)).pixels
    assert (pixels[10, 20] == stroke).all()
    assert (pixels[30, 50] == (255 if dark else 0)).all()


def test_a_photo_with_transparent_corners_keeps_its_paper():
    photo = np.dstack([SCENE, np.full((40, 60), 255, np.uint8)])
    photo[-8:, -8:, 3] = 0
    assert np.abs(decode(png(photo)).pixels[-1, -1].astype(int) - 230).max() <= 1


def test_all_transparent_is_blank():
    assert np.ptp(decode(np.zeros((9, 9, 4), np.uint8)).pixels) == 0


def test_of_an_animation_the_first_frame_is_read_and_said():
    later = Image.new("RGB", (60, 40), "white")
    content = encoded("GIF", save_all=True, append_images=[later, Image.new("RGB", (60, 40))])
    picture = decode(content)
    assert block(picture) == (10, 5, 30, 15)
    assert picture.notes == ("the first of 3 frames is read",)


def test_a_large_picture_is_scaled_down_and_its_size_kept():
    picture = decode(encoded("JPEG", Image.fromarray(SCENE).resize((6000, 4000))))
    assert max(picture.pixels.shape) == 1024
    assert (picture.width, picture.height) == (6000, 4000)
    assert block(picture)[0] * picture.scale == pytest.approx(1000, abs=12)


def header_of_png(width, height):
    """A PNG that claims a size and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + crc + b"\0\0\0\0IDAT" + bytes(40)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty, expected a picture"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF"),
        (b"label,pixel0\n1,0\n", "is text, expected a picture"),
        (bytes(range(256)), "is no picture"),
        (header_of_png(40_000, 40_000), "claims more than"),
        (header_of_png(12_000, 12_000), "is 12,000 × 12,000 pixels, expected"),
        (header_of_png(60, 40), "is damaged or cut short"),
        (encoded("PNG")[:100], "is damaged or cut short"),
        (encoded("JPEG")[:-200], "is damaged or cut short"),
        (encoded("ICNS", Image.new("RGB", (128, 128))), "is no picture"),
    ],
    ids=["empty", "pdf", "text", "bytes", "bomb", "large", "header", "png", "jpeg", "other"],
)
def test_what_is_no_picture_is_a_sentence(tmp_path, content, found):
    path = tmp_path / "page.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=found) as caught:
        decode(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, DataError)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(ImageError, match=r"none.png: cannot be read \(no such file"):
        decode(tmp_path / "none.png")


def test_heic_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = b"\0\0\0\x18ftypheic" + bytes(40)
    with pytest.raises(ImageError, match=r"pip install 'tenfold\[heic\]'"):
        decode(content)


def test_heic_is_read():
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(SCENE)).save(stream, quality=95)
    found = block(decode(stream.getvalue()))
    assert np.abs(np.subtract(found, (10, 5, 30, 15))).max() <= 1


def test_streams_and_standard_input(monkeypatch):
    assert block(decode(io.BytesIO(encoded("PNG")))) == (10, 5, 30, 15)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encoded("PNG"))))
    assert decode("-").name == "standard input"


def test_each_source_is_answered_and_folders_are_opened(tmp_path):
    folder, empty = tmp_path / "pages", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    for name in ("page10.png", "page2.PNG", "page1.jpg"):
        (folder / name).write_bytes(encoded("PNG"))
    (folder / "notes.txt").write_text("no picture")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    found = list(decode_all([broken, folder, empty, str(folder / "page1.jpg")]))
    assert [isinstance(each, ImageError) for each in found] == [True, *[False] * 3, True, False]
    assert [each.name.rsplit("/")[-1] for each in found[1:4]] == [
        "page1.jpg", "page2.PNG", "page10.png",
    ]  # fmt: skip
    assert "is a folder without pictures" in str(found[4])
