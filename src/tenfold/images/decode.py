"""Pictures from files, bytes, Pillow and NumPy: upright, on paper, of bounded size."""

import io
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tenfold.errors import ImageError

Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[Any]

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".heic", ".heif"),
)
STDIN = "-"
MAX_PIXELS = 100_000_000
MAX_BYTES = 200_000_000
WORKING_SIDE = 1024  # pixels of the long side that are kept
_EXPECTED = "a picture: PNG, JPEG, WebP, TIFF, BMP, GIF or HEIC"
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, ready to be searched for digits.

    Attributes:
        name: the file's, for messages.
        pixels: uint8 [H, W, 3], upright; scaled down if it was longer than 1,024 pixels.
        width: of the upright original in pixels.
        height: of the upright original in pixels.
        notes: what was odd and is good to know: "the first of 12 frames is read".
    """

    name: str
    pixels: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """Pixels of the original for each one that was kept; at least 1."""
        return max(self.width, self.height) / int(max(self.pixels.shape[:2]))


def decode(source: Source, name: str | None = None, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Return the picture in `source`.

    What is transparent becomes paper: white under dark strokes, black under bright ones.

    Args:
        source: a path, or "-" for standard input; a file's bytes, or a stream of them; a Pillow
            image; or an array [H, W] or [H, W, 1, 3 or 4], of uint8, or numbers from 0 to 1 or 255.
        name: for messages; the path by default.
        max_pixels: that a picture may have; a larger one is refused before it is decoded.

    Raises:
        ImageError: it is missing, damaged, too large, or no picture.
    """
    name = name or _name_of(source)
    if isinstance(source, np.ndarray):
        return _from_image(_array_to_image(source, name), name, max_pixels)
    if isinstance(source, Image.Image):
        return _from_image(source, name, max_pixels)
    with _open_image(_read_bytes(source, name), name, max_pixels) as image:
        return _from_image(image, name, max_pixels)


def decode_all(sources: Iterable[Source]) -> Iterator[Picture | ImageError]:
    """Yield the picture in each source, or the error of that one; the others are read all the same.

    A folder stands for the pictures in it, "page2.png" before "page10.png".
    """
    for source in sources:
        try:
            expanded: list[Source] = list(_expand(source))
        except ImageError as error:
            yield error
            continue
        for each in expanded:
            try:
                yield decode(each)
            except ImageError as error:
                yield error


def _expand(source: Source) -> Iterable[Source]:
    """Return the source, or the pictures in a folder.

    Raises:
        ImageError: the folder holds no pictures, or cannot be read.
    """
    if not isinstance(source, str | Path) or source == STDIN or not Path(source).is_dir():
        return [source]
    try:
        paths = [path for path in Path(source).iterdir() if path.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise ImageError(f"{source}: cannot be read ({error.strerror})") from error
    paths = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    if not paths:
        raise ImageError(f"{source}: is a folder without pictures, expected {', '.join(SUFFIXES)}")
    return sorted(paths, key=_natural_key)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]


def _name_of(source: Source) -> str:
    """Return what messages call a source."""
    if isinstance(source, str | Path):
        return "standard input" if source == STDIN else str(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return str(name) if isinstance(name, str | Path) else "picture"


def _read_bytes(source: str | Path | bytes | BinaryIO, name: str) -> bytes:
    """Read a whole file, unless it is too large."""
    try:
        if isinstance(source, bytes):
            content = source
        elif source == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        elif isinstance(source, str | Path):
            with Path(source).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        else:
            content = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ImageError(f"{name}: cannot be read ({reason}), expected {_EXPECTED}") from error
    if len(content) > MAX_BYTES:
        raise ImageError(f"{name}: is larger than {MAX_BYTES // 10**6} MB, expected {_EXPECTED}")
    return content


def _open_image(content: bytes, name: str, max_pixels: int) -> Image.Image:
    """Open a file's content as an image of an allowed format, before its pixels are decoded."""
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        return _open_heic(content, name, max_pixels)
    try:
        with warnings.catch_warnings():
            # The size is checked by `_from_image`.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: claims more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, expected at "
            f"most {MAX_PIXELS:,}"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: {_describe(content)}, expected {_EXPECTED}") from error
    except Exception as error:  # a damaged header makes decoders raise almost anything
        raise ImageError(f"{name}: is damaged ({error}), expected {_EXPECTED}") from error


def _open_heic(content: bytes, name: str, max_pixels: int) -> Image.Image:
    """Open an iPhone's photo."""
    try:
        import pillow_heif  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImageError(
            f"{name}: is HEIC, which needs one more package: pip install 'tenfold[heic]'"
        ) from error
    try:
        heif = pillow_heif.open_heif(io.BytesIO(content))
        _check_size(heif.size, name, max_pixels)
        image: Image.Image = heif.to_pillow()
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{name}: is damaged ({error}), expected {_EXPECTED}") from error
    return image


def _describe(content: bytes) -> str:
    """Say what a file is that is no picture."""
    if not content:
        return "is empty"
    if content.lstrip()[:5] == b"%PDF-":
        return "is a PDF, and its pages would have to be saved as pictures first"
    head = content[:512]
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "is text"
    return "is no picture, or a damaged one"


def _check_size(size: tuple[int, int], name: str, max_pixels: int = MAX_PIXELS) -> None:
    width, height = size
    if width * height > max_pixels or min(size) < 1:
        raise ImageError(
            f"{name}: is {width:,} × {height:,} pixels, expected at least 1 and at most "
            f"{max_pixels:,} in all"
        )


def _from_image(image: Image.Image, name: str, max_pixels: int) -> Picture:
    """Decode the pixels of the first frame, and turn them upright."""
    _check_size(image.size, name, max_pixels)
    try:
        frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
        orientation = image.getexif().get(_ORIENTATION, 1)
        width, height = image.size
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))  # a JPEG is decoded at 1/2, 1/4 or 1/8
        small = _shrink(_to_rgb(image))
        small = ImageOps.exif_transpose(_with_orientation(small, orientation))
    except ImageError:
        raise
    except Exception as error:  # damaged pixels make decoders raise almost anything
        raise ImageError(f"{name}: is damaged or cut short ({error}), expected all") from error
    if orientation in range(5, 9):
        width, height = height, width
    notes = (f"the first of {frames} frames is read",) if frames > 1 else ()
    return Picture(name, np.asarray(small), width, height, notes)


def _with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    """Return `image` with that EXIF orientation and no other."""
    image.info.pop("exif", None)
    image.getexif().clear()
    image.getexif()[_ORIENTATION] = orientation
    return image


def _shrink(image: Image.Image) -> Image.Image:
    """Scale down to the working size by averaging."""
    scale = WORKING_SIDE / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in RGB, on paper where it is transparent."""
    if image.mode.startswith("I") or image.mode == "F":
        return _values_to_image(np.asarray(image)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    return _on_paper(_shrink(image.convert("RGBA")))


def _on_paper(image: Image.Image) -> Image.Image:
    """Put an RGBA image on paper of a colour that its strokes stand out from."""
    pixels = np.asarray(image)
    opaque = pixels[..., 3] >= 128
    colours = pixels[opaque][:, :3]
    if len(colours) == 0:
        return Image.new("RGB", image.size, "white")
    brightness = colours.mean(axis=1)
    low, high = np.percentile(brightness, [1, 99])
    if opaque.mean() > 1 / 3 and high - low > 48:  # paper with ink on it, and transparent corners
        paper = tuple(int(value) for value in np.median(colours, axis=0))
    else:
        paper = (255,) * 3 if brightness.mean() < 128 else (0,) * 3
    under = Image.new("RGBA", image.size, (*paper, 255))
    return Image.alpha_composite(under, image).convert("RGB")


def _values_to_image(values: NDArray[Any]) -> Image.Image:
    """Return [H, W] of any numbers from 0 as a grey image."""
    numbers = np.asarray(values, np.float64)
    peak = float(numbers.max(initial=0))
    if np.issubdtype(values.dtype, np.floating):
        full = 1.0 if peak <= 1 else max(peak, 255.0)
    else:
        full = 255.0 if peak <= 255 else max(peak, 4095.0)  # scanners give 12 to 16 bits
    return Image.fromarray((numbers.clip(0) * (255 / full)).round().astype(np.uint8))


def _array_to_image(array: NDArray[Any], name: str) -> Image.Image:
    """Return an array as an image.

    Raises:
        ImageError: its shape or its values are not those of a picture.
    """
    expected = "expected [H, W] or [H, W, 3 or 4], uint8 or numbers from 0 to 1 or 255"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not is_picture or array.size == 0 or array.dtype.kind not in "buif":
        raise ImageError(f"{name}: is {array.dtype} {list(array.shape)}, {expected}")
    _check_size((array.shape[1], array.shape[0]), name)
    if array.dtype.kind == "b":
        return Image.fromarray(array.astype(np.uint8) * 255)
    if not np.isfinite(array).all() or array.min() < 0:
        raise ImageError(f"{name}: has pixels that are negative or not finite, {expected}")
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    flat = _values_to_image(array.reshape(len(array), -1))
    return Image.fromarray(np.asarray(flat).reshape(array.shape))
