"""Pictures of pen strokes: characters that people wrote on a tablet, and scribbles."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline

LONGER_SIDE = 100  # pixels of a picture, without the margin
PEN = 12  # pixels, which are 2.4 of the 20 that a digit of MNIST has

CHARS74K_SHA256 = "2603e6fa7845c845899919bae44c09886a63a977ff9b21c72ef9c9613c31224d"
CHARS74K_SOURCE = (
    "char74k.json of github.com/aparrish/chars74k-json-dump, the handwritten part of Chars74K "
    "(T. de Campos, B. Babu and M. Varma, VISAPP 2009): 55 people, 62 characters each"
)

Stroke = NDArray[np.floating]  # [P, 2], x and y of the points that the pen went through


def draw(strokes: Sequence[Stroke]) -> NDArray[np.uint8]:
    """Draw with a round pen, ink bright on dark: uint8 [H, W], the longer side of fixed length."""
    points = np.concatenate(strokes)
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    zoom = LONGER_SIDE / max(extent.max(), 1)
    width, height = np.ceil(extent * zoom).astype(int) + 2 * PEN
    picture = Image.new("L", (int(width), int(height)))
    pen = ImageDraw.Draw(picture)
    for stroke in strokes:
        path = [(x, y) for x, y in (stroke - low) * zoom + PEN]
        pen.line(path, fill=255, width=PEN)
        for x, y in path:  # round ends and joints
            pen.circle((x, y), PEN / 2, fill=255)
    return np.asarray(picture)


def read_chars74k(path: Path) -> dict[str, list[list[Stroke]]]:
    """Return the strokes of every writer by character: 0 to 9, A to Z, a to z."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != CHARS74K_SHA256:
        raise SystemExit(
            f"{path} has sha256 {found}, expected {CHARS74K_SHA256}: {CHARS74K_SOURCE}"
        )
    return {
        character: [[np.array(stroke, float) for stroke in strokes] for strokes in writers]
        for character, writers in sorted(json.loads(content).items())
    }


def scribbles(n: int, rng: Generator) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures of smooth curves, each through five to nine random points."""
    for count in rng.integers(5, 10, size=n):
        corners = np.arange(count)
        curve = CubicSpline(corners, rng.random((count, 2)))
        yield draw([LONGER_SIDE * curve(np.linspace(0, count - 1, 20 * count))])
