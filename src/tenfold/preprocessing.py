"""From stored pixels to what a network sees, the same in training and in prediction.

All that moves pixels is one sampling grid, so that an image is interpolated once: the alignment of
the digit, then the grid of augmentation, then the zoom.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

INK_THRESHOLD = 0.1  # fainter pixels are noise when a box is drawn around a digit
BOX_FRACTION = (
    20 / 28
)  # of the image's side; MNIST's digits were scaled to it, by their longer side


@dataclass(frozen=True)
class Preprocessing:
    """What is done to every image.

    Attributes:
        mean, std: of the training images' pixels on the scale 0 to 1; 0 and 1 leave that scale.
        zoom: enlarge the centre by this factor; None leaves the image as it is.
        size: height and width in pixels of what the network sees; None leaves the image's own.
        alignment: what is done to the position of the digit first: a name of `ALIGNMENTS`; None
            leaves it as it is.
    """

    mean: float = 0.0
    std: float = 1.0
    zoom: float | None = None
    size: int | None = None
    alignment: str | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown alignment: the network would see images that it was not trained on."""
        if self.alignment is not None and self.alignment not in ALIGNMENTS:
            known = ", ".join(ALIGNMENTS)
            raise ValueError(f"alignment is {self.alignment!r}, expected None, {known}")

    def __call__(self, images: Tensor, grid: Tensor | None = None) -> Tensor:
        """Turn uint8 [N, S, S] into float32 [N, 1, size, size].

        Args:
            images: pixels from 0 to 255.
            grid: where augmentation samples each output pixel, float [N, size, size, 2] in the
                coordinates of `torch.nn.functional.grid_sample`. It is combined with alignment
                and zoom, so an image is interpolated once.
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
    along = _pixel_centres(size, device)
    down, across = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([across, down], dim=-1)[None]


def _transform_grid(grid: Tensor, maps: Tensor) -> Tensor:
    """Apply each image's affine map [N, 2, 3] to its grid [N, H, W, 2].

    Sums and not a product of matrices: that would be in bfloat16 where networks are. For the same
    reason `identity_grid` is not `affine_grid`, which then misses by up to a fortieth of a pixel.
    """
    x, y = grid.unbind(dim=-1)
    to_x, to_y = (row[:, :, None, None].unbind(dim=1) for row in maps.unbind(dim=1))
    return torch.stack([a * x + b * y + c for a, b, c in (to_x, to_y)], dim=-1)


# Alignments: the affine map from where a digit should be to where it is, float32 [N, 2, 3] for
# `torch.nn.functional.affine_grid`, computed from its ink, float32 [N, S, S] from 0 to 1.


def deskew(ink: Tensor) -> Tensor:
    """Centre the ink and undo its slant, by its moments.

    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, 'Gradient-based learning applied to document
    recognition', Proceedings of the IEEE 1998, section III.A.
    """
    along = _pixel_centres(ink.shape[-1], ink.device)
    mass = ink.sum(dim=(1, 2)).clamp(min=1e-6)
    across = (ink.sum(dim=1) * along).sum(dim=1) / mass
    down = (ink.sum(dim=2) * along).sum(dim=1) / mass
    x, y = along - across[:, None], along - down[:, None]  # [N, S] each, from the centre of ink
    joint = (ink * y[:, :, None] * x[:, None, :]).sum(dim=(1, 2)) / mass
    height = (ink.sum(dim=2) * y.square()).sum(dim=1) / mass
    slant = joint / height.clamp(min=1e-6)
    one, zero = torch.ones_like(slant), torch.zeros_like(slant)
    # An output pixel (x, y) is taken from where the slanted ink has it.
    return torch.stack([one, slant, across, zero, one, down], dim=1).reshape(-1, 2, 3)


def bounding_box(ink: Tensor) -> Tensor:
    """Stretch the box around the ink to `BOX_FRACTION`, in height and in width: a 1 becomes a bar.

    Networks that see digits of another width err elsewhere: D. Ciresan, U. Meier and
    J. Schmidhuber, 'Multi-column deep neural networks for image classification', CVPR 2012.
    """
    along = _pixel_centres(ink.shape[-1], ink.device)
    edge = 1 / ink.shape[-1]  # from a pixel's centre
    marked = ink > INK_THRESHOLD
    ends = []
    for has_ink in (marked.any(dim=1), marked.any(dim=2)):
        least = along.where(has_ink, 1.0).amin(dim=1) - edge
        most = along.where(has_ink, -1.0).amax(dim=1) + edge
        empty = ~has_ink.any(dim=1)
        ends.append(
            (least.masked_fill(empty, -BOX_FRACTION), most.masked_fill(empty, BOX_FRACTION))
        )
    (left, right), (top, bottom) = ends
    zero = torch.zeros_like(left)
    wide = [(right - left) / 2 / BOX_FRACTION, zero, (left + right) / 2]
    high = [zero, (bottom - top) / 2 / BOX_FRACTION, (top + bottom) / 2]
    return torch.stack([*wide, *high], dim=1).reshape(-1, 2, 3)


def _pixel_centres(size: int, device: torch.device) -> Tensor:
    """Return the pixel centres along a side in the coordinates of `grid_sample`: float32 [size]."""
    return (torch.arange(size, device=device) + 0.5) * 2 / size - 1


ALIGNMENTS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "deskew": deskew,
    "bounding_box": bounding_box,
}
