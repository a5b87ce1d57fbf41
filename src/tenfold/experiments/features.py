"""What classic methods are fed: pixels, upright pixels, or gradients.

Deskewing undoes the slant of handwriting (`tenfold.preprocessing.upright`); histograms of oriented
gradients (Dalal and Triggs, CVPR 2005) say which way strokes run, and forget where.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tenfold.errors import ExperimentError
from tenfold.preprocessing import upright

AT_ONCE = 2000  # images: a few MB
CELLS = 7  # a side: 4 pixels each in an image of 28
ORIENTATIONS = 9


def check_library(names: Sequence[str]) -> None:
    """Make sure that what is named can be computed here.

    Raises:
        ExperimentError: gradients are wanted and scikit-image is not installed.
    """
    if "hog" in names and find_spec("skimage") is None:
        raise ExperimentError("+hog needs scikit-image: pip install 'tenfold[hog]'")


def features(images: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.float32]:
    """Return a row for each image: float32 [N, D].

    Args:
        images: uint8 [N, S, S].
        names: what is done to them in turn, of `FEATURES`; nothing leaves pixels from 0 to 1.
    """
    blocks = []
    for start in range(0, len(images), AT_ONCE):
        block = (images[start : start + AT_ONCE] / 255).astype("f4")
        for name in names:
            block = FEATURES[name](block)
        blocks.append(block.reshape(len(block), -1))
    return np.concatenate(blocks)


def deskewed(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre the ink and undo its slant: float32 [N, S, S] from 0 to 1, likewise returned."""
    ink = torch.from_numpy(images)
    grid = F.affine_grid(upright(ink), list(ink[:, None].shape), align_corners=False)
    straight: NDArray[np.float32] = F.grid_sample(ink[:, None], grid, align_corners=False)[
        :, 0
    ].numpy()
    return straight


def gradients(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return histograms of oriented gradients of float32 [N, S, S]: float32 [N, D].

    7 × 7 cells of 9 directions, normalised over blocks of 2 × 2 cells.
    """
    from skimage.feature import hog  # noqa: PLC0415 - an optional extra

    cell = max(1, images.shape[-1] // CELLS)
    return np.stack(
        [
            hog(
                image,
                orientations=ORIENTATIONS,
                pixels_per_cell=(cell, cell),
                cells_per_block=(2, 2),
                feature_vector=True,
            )
            for image in images
        ]
    ).astype(np.float32)


FEATURES: Final[Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = {
    "deskew": deskewed,
    "hog": gradients,
}
