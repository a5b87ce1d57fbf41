"""Frames: where a digit is put before a network sees it."""

import pytest
import torch
import torch.nn.functional as F

from tenfold.preprocessing import ALIGNMENTS, Preprocessing, identity_grid


def slanted(images: torch.Tensor, by: float) -> torch.Tensor:
    maps = torch.tensor([[1.0, by, 0.0], [0.0, 1.0, 0.0]]).expand(len(images), -1, -1)
    grid = F.affine_grid(maps, [len(images), 1, 28, 28], align_corners=False)
    moved = F.grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0]
    return moved.round().to(torch.uint8)


def test_deskew_undoes_slant_and_shift(digits):
    images = torch.from_numpy(digits.images[:60])
    alignment = Preprocessing(alignment="deskew")
    straight = alignment(images)
    bent = alignment(slanted(images, 0.25).roll(1, 2))
    apart = (bent - straight).abs().mean()
    assert apart < 0.25 * (slanted(images, 0.25) / 255 - images / 255).abs().mean()
    across = straight.sum(dim=2) @ (torch.arange(28.0) - 13.5) / straight.sum(dim=(2, 3))
    assert across.abs().max() < 0.2  # the ink is centred


def test_a_box_is_twenty_pixels_each_way(digits):
    seen = Preprocessing(alignment="bounding_box")(torch.from_numpy(digits.images[:60]))[:, 0]
    for axis in (1, 2):
        marked = (seen > 0.1).any(dim=axis)
        first = marked.float().argmax(dim=1)
        last = 27 - marked.flip(1).float().argmax(dim=1)
        # Within the interpolation of one pixel, which a thin digit's stretching makes wide.
        assert set(first.tolist()) <= {2, 3, 4, 5}
        assert set(last.tolist()) <= {22, 23, 24, 25}


def test_a_box_is_drawn_around_the_ink():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 4:24, 2:7] = 255  # 20 high, 5 wide, far to the left
    seen = Preprocessing(alignment="bounding_box")(image)[0, 0]
    assert torch.allclose(seen[5:23, 6:22], torch.ones(18, 16), atol=1e-5)
    assert seen[:, :2].max() < 1e-5  # an edge is as soft as the stretching makes it
    assert seen[:, 26:].max() < 1e-5


@pytest.mark.parametrize("alignment", sorted(ALIGNMENTS))
def test_blank_paper_stays_blank_and_joins_a_warp(alignment, digits):
    blank = torch.zeros(2, 28, 28, dtype=torch.uint8)
    assert torch.equal(Preprocessing(alignment=alignment)(blank), torch.zeros(2, 1, 28, 28))
    # Joined with a warp that moves nothing, also in the precision of networks, it is the alignment.
    images = torch.from_numpy(digits.images[:20])
    plain = Preprocessing(alignment=alignment, zoom=1.2)(images)
    grid = identity_grid(28, images.device).expand(20, -1, -1, -1)
    with torch.autocast("cpu", torch.bfloat16):
        joined = Preprocessing(alignment=alignment, zoom=1.2)(images, grid)
        alone = Preprocessing(alignment=alignment, zoom=1.2)(images)
    torch.testing.assert_close(joined, plain)
    torch.testing.assert_close(alone, plain)


def test_a_alignment_that_is_not_known_is_refused():
    with pytest.raises(
        ValueError, match="alignment is 'round', expected None, deskew, bounding_box"
    ):
        Preprocessing(alignment="round")
