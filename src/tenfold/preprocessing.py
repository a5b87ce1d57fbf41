"""From stored pixels to what a network sees, the same in training and in prediction.

Everything that moves pixels is combined into one sampling grid, so that an image is interpolated
once: the alignment of the digit, then augmentation, then the zoom.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

INK_THRESHOLD = 0.1  # fainter pixels do not count as ink when a digit's bounding box is found
# Of the image's side: MNIST's digits were scaled to it, by their longer side.
BOX_FRACTION = 20 / 28


@dataclass(frozen=True)
class Preprocessing:
    """What is done to every image.

    Attributes:
        mean: of the training images' pixels on the scale 0 to 1; 0 subtracts nothing.
        std: their standard deviation; 1 leaves the scale.
        zoom: enlarge the centre by this factor; None leaves the image as it is.
        size: height and width, in pixels, of what the network sees; None keeps the image's own.
        alignment: what is done to the digit's position first, a key of `ALIGNMENTS`; None leaves
            it as it is.
    """

    mean: float = 0.0
    std: float = 1.0
    zoom: float | None = None
    size: int | None = None
    alignment: str | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown alignment: the network would see other images than in training."""
        if self.alignment is not None and self.alignment not in ALIGNMENTS:
            known = ", ".join(ALIGNMENTS)
            raise ValueError(f"alignment is {self.alignment!r}, expected None, {known}")

    def __call__(self, images: Tensor, grid: Tensor | None = None) -> Tensor:
        """Turn uint8 [N, S, S] into float32 [N, 1, size, size].

        Args:
            images: pixels from 0 to 255.
            grid: where augmentation samples each output pixel, float [N, size, size, 2] in the
                coordinates of `torch.nn.functional.grid_sample`; alignment and zoom are added.

        Returns:
            Pixels less `mean`, divided by `std`.
        """
        scaled = images[:, None].float() / 255
        resamples = any(each is not None for each in (self.zoom, self.size, self.alignment))
        if grid is None and resamples:
            size = self.size or images.shape[-1]
            grid = identity_grid(size, images.device).expand(images.shape[0], -1, -1, -1)
        if grid is not None:
            grid = grid / (self.zoom or 1.0)
            if self.alignment is not None:
                grid = _transform_grid(grid, ALIGNMENTS[self.alignment](scaled[:, 0].detach()))
            scaled = F.grid_sample(scaled, grid, align_corners=False)
        return (scaled - self.mean) / self.std


def identity_grid(size: int, device: torch.device) -> Tensor:
    """Return the grid that samples every pixel in place: float [1, size, size, 2]."""
    centres = _pixel_centres(size, device)
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1)[None]


def _transform_grid(grid: Tensor, maps: Tensor) -> Tensor:
    """Apply each image's affine map [N, 2, 3] to its grid [N, H, W, 2].

    By sums, because autocast would compute a matrix product in bfloat16. For the same reason
    `identity_grid` does not call `affine_grid`, which then misses by up to a fortieth of a pixel.
    """
    x, y = grid.unbind(dim=-1)
    to_x, to_y = (row[:, :, None, None].unbind(dim=1) for row in maps.unbind(dim=1))
    return torch.stack([a * x + b * y + c for a, b, c in (to_x, to_y)], dim=-1)


# An alignment takes ink, float32 [N, S, S] from 0 to 1, and returns the affine maps from where each
# digit should be to where it is, float32 [N, 2, 3] as for `torch.nn.functional.affine_grid`.


def deskew(ink: Tensor) -> Tensor:
    """Centre the ink and remove its slant, by its moments.

    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, 'Gradient-based learning applied to document
    recognition', Proceedings of the IEEE 1998, section III.A.
    """
    centres = _pixel_centres(ink.shape[-1], ink.device)
    mass = ink.sum(dim=(1, 2)).clamp(min=1e-6)
    mean_x = (ink.sum(dim=1) * centres).sum(dim=1) / mass
    mean_y = (ink.sum(dim=2) * centres).sum(dim=1) / mass
    x, y = centres - mean_x[:, None], centres - mean_y[:, None]  # [N, S] each
    covariance = (ink * y[:, :, None] * x[:, None, :]).sum(dim=(1, 2)) / mass
    variance_y = (ink.sum(dim=2) * y.square()).sum(dim=1) / mass
    slant = covariance / variance_y.clamp(min=1e-6)
    one, zero = torch.ones_like(slant), torch.zeros_like(slant)
    # An output pixel (x, y) is sampled from where the slanted ink has it.
    return torch.stack([one, slant, mean_x, zero, one, mean_y], dim=1).reshape(-1, 2, 3)


def bounding_box(ink: Tensor) -> Tensor:
    """Stretch the box around the ink to `BOX_FRACTION`, in height and in width: a 1 becomes a bar.

    Networks that see digits of another width make other errors: D. Ciresan, U. Meier and
    J. Schmidhuber, 'Multi-column deep neural networks for image classification', CVPR 2012.
    """
    centres = _pixel_centres(ink.shape[-1], ink.device)
    half_pixel = 1 / ink.shape[-1]
    is_ink = ink > INK_THRESHOLD
    edges = []
    for has_ink in (is_ink.any(dim=1), is_ink.any(dim=2)):  # columns, then rows: bool [N, S]
        low = centres.where(has_ink, 1.0).amin(dim=1) - half_pixel
        high = centres.where(has_ink, -1.0).amax(dim=1) + half_pixel
        blank = ~has_ink.any(dim=1)
        edges.append((low.masked_fill(blank, -BOX_FRACTION), high.masked_fill(blank, BOX_FRACTION)))
    (left, right), (top, bottom) = edges
    zero = torch.zeros_like(left)
    map_x = [(right - left) / 2 / BOX_FRACTION, zero, (left + right) / 2]
    map_y = [zero, (bottom - top) / 2 / BOX_FRACTION, (top + bottom) / 2]
    return torch.stack([*map_x, *map_y], dim=1).reshape(-1, 2, 3)


def _pixel_centres(size: int, device: torch.device) -> Tensor:
    """Return the pixel centres along a side in the coordinates of `grid_sample`: float32 [size]."""
    return (torch.arange(size, device=device) + 0.5) * 2 / size - 1


ALIGNMENTS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "deskew": deskew,
    "bounding_box": bounding_box,
}
