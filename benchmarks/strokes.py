"""Pictures of pen strokes: characters that people wrote on a tablet, and scribbles."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from sources import SOURCES

LONGER_SIDE = 100  # pixels of a picture, without the margin
PEN = 12  # pixels, which are 2.4 of the 20 that a digit of MNIST has

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
    """Return the strokes of 55 writers by character: 0 to 9, A to Z, a to z.

    T. de Campos, B. Babu and M. Varma, "Character recognition in natural images", VISAPP 2009.
    """
    characters = json.loads(SOURCES["chars74k"].read(path))
    return {
        character: [[np.array(stroke, float) for stroke in strokes] for strokes in writers]
        for character, writers in sorted(characters.items())
    }


def scribbles(n: int, rng: Generator) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures of smooth curves, each through five to nine random points."""
    for count in rng.integers(5, 10, size=n):
        corners = np.arange(count)
        curve = CubicSpline(corners, rng.random((count, 2)))
        yield draw([LONGER_SIDE * curve(np.linspace(0, count - 1, 20 * count))])
