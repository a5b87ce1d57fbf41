"""What classic methods are fed: pixels, upright pixels, or gradients.

Deskewing undoes the slant of handwriting (LeCun, Bottou, Bengio and Haffner, 'Gradient-based
learning applied to document recognition', Proceedings of the IEEE 1998, section III.A); histograms
of oriented gradients (Dalal and Triggs, CVPR 2005) say which way strokes run, and forget where.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tenfold.errors import ExperimentError

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
    size = ink.shape[-1]
    along = (torch.arange(size) + 0.5) * 2 / size - 1  # as `grid_sample` counts
    mass = ink.sum(dim=(1, 2)).clamp(min=1e-6)
    across = (ink.sum(dim=1) * along).sum(dim=1) / mass
    down = (ink.sum(dim=2) * along).sum(dim=1) / mass
    x, y = along - across[:, None], along - down[:, None]  # [N, S] each, from the centre of ink
    joint = torch.einsum("nyx,ny,nx->n", ink, y, x) / mass
    height = torch.einsum("nyx,ny->n", ink, y**2) / mass
    slant = joint / height.clamp(min=1e-6)
    one, zero = torch.ones_like(slant), torch.zeros_like(slant)
    # An output pixel (x, y) is taken from where the slanted ink has it.
    maps = torch.stack([one, slant, across, zero, one, down], dim=1).reshape(-1, 2, 3)
    grid = F.affine_grid(maps, [len(ink), 1, size, size], align_corners=False)
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
