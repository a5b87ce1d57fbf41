import pytest
import torch

from tenfold.training.strokes import bezier, draw


def test_a_dot_has_the_area_of_its_circle_and_a_soft_edge():
    ink = draw(torch.tensor([[[14.0, 10.0]]]), torch.tensor([3.0]), 28)[0]
    assert ink.sum().item() == pytest.approx(torch.pi * 9, rel=0.05)
    assert ink[9:11, 13:15].min() == 1
    rows, columns = ink.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 12, 11, 16)


def test_a_pen_of_no_width_draws_nothing():
    points = torch.rand(2, 5, 2) * 28
    ink = draw(points, torch.tensor([1.0, -0.5]), 28)
    assert ink[0].max() > 0.9
    assert ink[1].max() == 0


def test_two_control_points_are_a_line_and_three_bend_towards_the_middle_one():
    line = bezier(torch.tensor([[[2.0, 3.0], [10.0, 7.0]]]), 5)
    assert torch.allclose(line[0, :, 0], torch.tensor([2.0, 4, 6, 8, 10]))
    assert torch.allclose(line[0, :, 1], torch.tensor([3.0, 4, 5, 6, 7]))
    bow = bezier(torch.tensor([[[0.0, 0.0], [4.0, 8.0], [8.0, 0.0]]]), 3)
    assert torch.allclose(bow[0], torch.tensor([[0.0, 0], [4, 4], [8, 0]]))


def test_a_stroke_has_no_gaps():
    ink = draw(bezier(torch.tensor([[[3.0, 14.0], [25.0, 14.0]]])), torch.tensor([0.7]), 28)[0]
    assert ink[13:15, 3:25].amax(dim=0).min() > 0.5
