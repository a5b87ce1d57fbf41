import pytest
import torch
from torch import nn

from tenfold.config import NetworkConfig, OptimizerConfig
from tenfold.networks import build as build_network
from tenfold.training import optimizers

MUON = OptimizerConfig(name="muon", learning_rate=0.01, muon_learning_rate=0.1, momentum=0.6)


@pytest.fixture
def network():
    settings = NetworkConfig(name="compact", width=8)
    network = build_network(settings, image_size=28, n_classes=10, seed=0)
    return network.to(memory_format=torch.channels_last)


def step(network, optimizer):
    torch.manual_seed(1)
    optimizers.set_lr(optimizer, 1.0)
    optimizer.zero_grad()
    network(torch.rand(32, 1, 28, 28)).square().mean().backward()
    optimizer.step()


def test_newton_schulz_evens_out_the_singular_values():
    matrix = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    matrix[0] *= 30  # one direction that would drown the others
    before, after = (
        torch.linalg.svdvals(matrix),
        torch.linalg.svdvals(optimizers.newton_schulz(matrix)),
    )
    assert before.max() / before.min() > 30
    assert 0.3 < after.min() < after.max() < 1.4
    torch.testing.assert_close(
        optimizers.newton_schulz(matrix.T), optimizers.newton_schulz(matrix).T, rtol=0, atol=1e-5
    )


def test_muon_moves_filters_by_orthogonal_steps_of_the_chosen_length(network):
    weight = network.get_submodule("conv3.0").weight
    optimizer = optimizers.build_optimizer(MUON, network)
    before = weight.detach().clone()
    step(network, optimizer)
    before *= len(before) ** 0.5 / before.norm()  # the length that it fixes first
    moved = (before - weight.detach()).permute(0, 2, 3, 1).flatten(1)
    values = torch.linalg.svdvals(moved)
    assert 0.3 * 0.1 < values.min() < values.max() < 1.4 * 0.1  # the filters' rate is 10 × 0.01


def test_all_other_weights_move_as_adamw_moves_them(network):
    copied = build_network(
        NetworkConfig(name="compact", width=8), image_size=28, n_classes=10, seed=0
    )
    copied.to(memory_format=torch.channels_last)
    adamw = OptimizerConfig(learning_rate=0.01)
    for each, settings in ((network, MUON), (copied, adamw)):
        step(each, optimizers.build_optimizer(settings, each))
    ours, theirs = network.state_dict(), copied.state_dict()
    assert torch.equal(ours["conv1.0.weight"], theirs["conv1.0.weight"])
    assert torch.equal(ours["classes.weight"], theirs["classes.weight"])
    assert not torch.equal(ours["conv2.0.weight"], theirs["conv2.0.weight"])


def test_filters_without_a_gradient_stay(network):
    optimizer = optimizers.build_optimizer(MUON, network)
    before = network.get_submodule("conv2.0").weight.detach().clone()
    optimizers.set_lr(optimizer, 1.0)
    optimizer.step()
    assert torch.equal(network.get_submodule("conv2.0").weight, before)


def test_the_rates_keep_their_ratio(network):
    optimizer = optimizers.build_optimizer(MUON, network)
    optimizers.set_lr(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.002, 0.002, 0.02])


@pytest.mark.parametrize("name", ["adamw", "rmsprop", "sgd"])
def test_weight_decay_spares_biases_and_scales(name):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = optimizers.build_optimizer(OptimizerConfig(name=name, weight_decay=0.1), network)
    decayed, spared = optimizer.param_groups
    assert [weight.ndim for weight in decayed["params"]] == [4]
    assert all(weight.ndim == 1 for weight in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
