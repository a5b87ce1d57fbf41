"""The published networks are the size that their authors gave."""

import pytest
import torch
from torch import nn

from tenfold.config import NetworkConfig
from tenfold.networks import build

# From the authors' own tables; the MLP and the simplified LeNet-5 are counted by hand.
PUBLISHED_PARAMETERS = {
    "surma": 42_579_946,
    "thelastdev": 870_634,
    "deotte": 326_410,  # Keras counts 832 running statistics on top
    "mlp": 784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10,
    "lenet5": 156 + 2_416 + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_published_networks_have_their_published_size(name, parameters):
    model = build(NetworkConfig(name=name), image_size=28, n_classes=10, seed=0)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", ["mlp", "thelastdev", "deotte"])
def test_networks_published_for_keras_start_as_keras_does(name):
    model = build(NetworkConfig(name=name), image_size=28, n_classes=10, seed=0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = layer.weight
            fan_in, fan_out = weight[0].numel(), weight.shape[0] * weight[0, 0].numel()
            limit = (6 / (fan_in + fan_out)) ** 0.5  # Glorot uniform
            assert 0.9 * limit < weight.abs().max() <= limit
            assert torch.count_nonzero(layer.bias) == 0
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.momentum, layer.eps) == (0.01, 1e-3)
