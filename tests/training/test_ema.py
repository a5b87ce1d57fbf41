import pytest
import torch
from torch import nn

from tenfold.training.optimizers import update_ema


def test_it_follows_slowly_and_faster_at_first():
    average, network = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.zeros_(average.weight)
    nn.init.ones_(network.weight)
    update_ema(average, network, decay=0.9, step=1000)
    assert average.weight.item() == pytest.approx(0.1)
    update_ema(average, network, decay=0.9, step=1000)
    assert average.weight.item() == pytest.approx(0.19)
    update_ema(average, network, decay=0.9, step=0)  # keeps a tenth of what it was
    assert average.weight.item() == pytest.approx(1 - 0.81 / 10)
    assert network.weight.item() == 1


def test_statistics_follow_and_counts_are_copied():
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    network(torch.full((4, 2), 3.0))
    update_ema(average, network, decay=0.5, step=1000)
    assert average.running_mean is not None
    assert network.running_mean is not None
    torch.testing.assert_close(average.running_mean, network.running_mean / 2)
    assert average.num_batches_tracked == network.num_batches_tracked == 1
