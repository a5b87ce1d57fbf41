"""What a network looks at, on networks of which it is known."""

import numpy as np
import torch
from torch import nn

from tenfold.config import NetworkConfig
from tenfold.preprocessing import Preprocessing
from tenfold.recognizer import Member
from tenfold.report.interpretability import attributions


class OnePixel(nn.Module):
    """Its logit of class 1 is the value of pixel (10, 20); that of class 0 is the negative."""

    def forward(self, images):
        value = images[:, 0, 10, 20]
        return torch.stack([-value, value], dim=1)


def test_an_occlusion_map_marks_what_the_logit_depends_on():
    member = Member(OnePixel(), NetworkConfig(), Preprocessing())
    images = np.full((2, 28, 28), 255, np.uint8)
    for_it, against_it = attributions(member, images, np.array([1, 0]))
    assert for_it[10, 20] == for_it.max() > 0
    np.testing.assert_allclose(against_it, -for_it, rtol=1e-6)
    near = np.zeros((28, 28), bool)
    near[6:15, 16:25] = True  # covered together with it by some patch of five pixels
    assert not for_it[~near].any()
    assert np.isfinite(for_it).all()
