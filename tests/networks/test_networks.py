import pytest
import torch

from tenfold.config import NetworkConfig
from tenfold.errors import RecipeError
from tenfold.networks import NETWORKS, build
from tenfold.networks.layers import fuse_conv_bn, summarize

# From the authors' own tables; ours and the simplified LeNet-5 counted by hand below.
PUBLISHED_PARAMETERS = {
    "surma": 42_579_946,
    "deotte": 326_410,  # Keras counts 832 running statistics on top
    "mlp": 784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10,
    "pocket": 9_042,
    "lenet5": 156 + 2_416 + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_a_logit_for_each_class(name):
    network = build(NetworkConfig(name=name), image_size=28, n_classes=7, seed=0).eval()
    with torch.inference_mode():
        assert network(torch.rand(3, 1, 28, 28)).shape == (3, 7)


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_published_networks_have_their_published_size(name, parameters):
    network = build(NetworkConfig(name=name), image_size=28, n_classes=10, seed=0)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("size", [20, 32])
@pytest.mark.parametrize("name", ["mlp", "lenet5", "thelastdev", "compact", "pocket"])
def test_other_image_sizes_work(name, size):
    network = build(NetworkConfig(name=name), image_size=size, n_classes=10, seed=0).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 1, size, size)).shape == (2, 10)


def test_images_that_are_too_small_get_a_sentence():
    with pytest.raises(RecipeError, match="recipe deotte: its layers shrink 8 × 8"):
        build(NetworkConfig(name="deotte"), image_size=8, n_classes=10, seed=0)


def test_an_empty_layer_is_a_sentence_and_no_warning():
    with pytest.raises(RecipeError, match="recipe deotte: its layers shrink 24 × 24"):
        build(NetworkConfig(name="deotte"), image_size=24, n_classes=10, seed=0)


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    choices = NetworkConfig(name="compact")
    one, same, other = (
        build(choices, image_size=28, n_classes=10, seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classes.weight"], other["classes.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_summary_counts_what_is_there():
    network = build(NetworkConfig(name="compact", width=8), image_size=28, n_classes=10, seed=0)
    layers = summarize(network, 28)
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())
    first = layers[0]
    assert (first.name, first.kind) == ("conv1.0", "convolution 4 × 4 stride 2")
    assert first.shape == (8, 14, 14)
    assert first.multiply_adds == 14 * 14 * 8 * 16
    assert layers[-1].shape == (10,)
    assert network.training


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_normalisation_away_changes_no_answer(name):
    network = build(NetworkConfig(name=name), image_size=28, n_classes=10, seed=0)
    images = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    network(images)  # moves the running statistics
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
            torch.nn.init.uniform_(layer.bias, -1, 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.inference_mode():
        answers = fuse_conv_bn(network)(images)
        torch.testing.assert_close(answers, network.eval()(images), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_folding_leaves_no_normalisation_after_a_convolution():
    network = build(NetworkConfig(name="compact"), image_size=28, n_classes=10, seed=0)
    assert not [x for x in fuse_conv_bn(network).modules() if isinstance(x, torch.nn.BatchNorm2d)]
    assert [x for x in network.modules() if isinstance(x, torch.nn.BatchNorm2d)]
