"""Real digits as pen strokes: thinned to lines of one pixel, which are then followed."""

import numpy as np
from PIL import Image
from skimage.morphology import skeletonize

SCALE = 4  # larger pictures have smoother skeletons
NEIGHBOURS = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]


def pen_strokes(image, *, height=200, left=100, top=60):
    """Return the strokes of a digit, uint8 [28, 28], as lists of points (x, y) on the pad.

    Its height becomes `height`, and its top left corner lies at (left, top).
    """
    side = SCALE * len(image)
    large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    strokes = follow(skeletonize(np.asarray(large) > 110))
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = height / max(20.0, (high - low).max())
    corner = np.array([left, top])
    return [((stroke - low)[:, ::-1] * scale + corner).tolist() for stroke in strokes]


def follow(skeleton):
    """Return lines of a skeleton, bool [H, W], as arrays of points [P, 2] (row, column)."""
    left = {tuple(point) for point in np.argwhere(skeleton).tolist()}
    everything, lines = frozenset(left), []
    while left:
        start = min(left, key=lambda point: (degree(point, left), point))
        line = [*joint(start, everything - left), start]
        left.discard(start)
        while following := [point for point in around(line[-1]) if point in left]:
            line.append(min(following, key=lambda point: turn(line, point)))
            left.discard(line[-1])
        line += joint(line[-1], (everything - left) - set(line[-3:]))
        if len(line) >= 6 or not lines:
            lines.append(np.array(line, float)[::2])
    return lines


def around(point):
    return [(point[0] + down, point[1] + right) for down, right in NEIGHBOURS]


def degree(point, pixels):
    return sum(each in pixels for each in around(point))


def joint(point, passed):
    """Return a pixel that was passed before and touches `point`: lines meet there."""
    return [each for each in around(point) if each in passed][:1]


def turn(line, point):
    """Return by how much a line turns at its end to reach `point`."""
    if len(line) < 2:
        return 0.0
    before = np.subtract(line[-1], line[max(0, len(line) - 5)])
    after = np.subtract(point, line[-1])
    return -float(before @ after) / (np.linalg.norm(before) * np.linalg.norm(after) + 1e-9)
