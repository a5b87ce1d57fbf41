"""Alignment of the digit before a network sees it."""

import pytest
import torch
import torch.nn.functional as F

from tenfold.preprocessing import ALIGNMENTS, Preprocessing, identity_grid


def slanted(images: torch.Tensor, by: float) -> torch.Tensor:
    maps = torch.tensor([[1.0, by, 0.0], [0.0, 1.0, 0.0]]).expand(len(images), -1, -1)
    grid = F.affine_grid(maps, [len(images), 1, 28, 28], align_corners=False)
    moved = F.grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0]
    return moved.round().to(torch.uint8)


def test_deskew_removes_slant_and_shift(digits):
    images = torch.from_numpy(digits.images[:60])
    preprocessing = Preprocessing(alignment="deskew")
    straight = preprocessing(images)
    changed = slanted(images, 0.25)
    difference = (preprocessing(changed.roll(1, 2)) - straight).abs().mean()
    assert difference < 0.25 * (changed / 255 - images / 255).abs().mean()
    mean_x = straight.sum(dim=2) @ (torch.arange(28.0) - 13.5) / straight.sum(dim=(2, 3))
    assert mean_x.abs().max() < 0.2  # the ink is centred


def test_a_bounding_box_becomes_twenty_pixels_each_way(digits):
    aligned = Preprocessing(alignment="bounding_box")(torch.from_numpy(digits.images[:60]))[:, 0]
    for axis in (1, 2):
        has_ink = (aligned > 0.1).any(dim=axis)
        first = has_ink.float().argmax(dim=1)
        last = 27 - has_ink.flip(1).float().argmax(dim=1)
        # Within the interpolation of one pixel, which stretching a thin digit widens.
        assert set(first.tolist()) <= {2, 3, 4, 5}
        assert set(last.tolist()) <= {22, 23, 24, 25}


def test_the_bounding_box_holds_all_ink():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 4:24, 2:7] = 255  # 20 high, 5 wide, far to the left
    aligned = Preprocessing(alignment="bounding_box")(image)[0, 0]
    assert torch.allclose(aligned[5:23, 6:22], torch.ones(18, 16), atol=1e-5)
    assert aligned[:, :2].max() < 1e-5  # stretching makes the edges soft
    assert aligned[:, 26:].max() < 1e-5


@pytest.mark.parametrize("alignment", sorted(ALIGNMENTS))
def test_a_blank_image_stays_blank(alignment):
    blank = torch.zeros(2, 28, 28, dtype=torch.uint8)
    assert torch.equal(Preprocessing(alignment=alignment)(blank), torch.zeros(2, 1, 28, 28))


@pytest.mark.parametrize("alignment", sorted(ALIGNMENTS))
def test_an_identity_grid_changes_nothing_in_any_precision(alignment, digits):
    images = torch.from_numpy(digits.images[:20])
    plain = Preprocessing(alignment=alignment, zoom=1.2)(images)
    grid = identity_grid(28, images.device).expand(20, -1, -1, -1)
    with torch.autocast("cpu", torch.bfloat16):
        with_grid = Preprocessing(alignment=alignment, zoom=1.2)(images, grid)
        without_grid = Preprocessing(alignment=alignment, zoom=1.2)(images)
    torch.testing.assert_close(with_grid, plain)
    torch.testing.assert_close(without_grid, plain)


def test_an_unknown_alignment_is_refused():
    with pytest.raises(
        ValueError, match="alignment is 'round', expected None, deskew, bounding_box"
    ):
        Preprocessing(alignment="round")
