"""Fusing batch normalisation, and the table of a network's layers."""

import pytest
import torch

from tenfold.config import NetworkConfig
from tenfold.networks import NETWORKS, build
from tenfold.networks.layers import fuse_conv_bn, summarize


def test_the_summary_counts_parameters_and_arithmetic():
    model = build(NetworkConfig(name="compact", width=8), image_size=28, n_classes=10, seed=0)
    layers = summarize(model, 28)
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in model.parameters())
    first = layers[0]
    assert (first.name, first.kind) == ("conv1.0", "convolution 4 × 4 stride 2")
    assert first.shape == (8, 14, 14)
    assert first.multiply_adds == 14 * 14 * 8 * 16
    assert layers[-1].shape == (10,)


def test_the_summary_leaves_the_model_as_it_was():
    model = build(NetworkConfig(name="deotte"), image_size=28, n_classes=10, seed=0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    summarize(model, 28)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_fusing_batch_normalisation_changes_no_logit(name):
    model = build(NetworkConfig(name=name), image_size=28, n_classes=10, seed=0)
    images = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    model(images)  # moves the running statistics
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
            torch.nn.init.uniform_(layer.bias, -1, 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode():
        logits = fuse_conv_bn(model)(images)
        torch.testing.assert_close(logits, model.eval()(images), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_fusing_leaves_no_batch_normalisation_after_a_convolution():
    model = build(NetworkConfig(name="compact"), image_size=28, n_classes=10, seed=0)
    assert not [x for x in fuse_conv_bn(model).modules() if isinstance(x, torch.nn.BatchNorm2d)]
    assert [x for x in model.modules() if isinstance(x, torch.nn.BatchNorm2d)]
