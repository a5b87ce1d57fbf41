"""The table of networks, and `build`."""

import pytest
import torch

from tenfold.config import NetworkConfig
from tenfold.errors import RecipeError
from tenfold.networks import NETWORKS, build


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_one_logit_per_class(name):
    model = build(NetworkConfig(name=name), image_size=28, n_classes=7, seed=0).eval()
    with torch.inference_mode():
        assert model(torch.rand(3, 1, 28, 28)).shape == (3, 7)


@pytest.mark.parametrize("size", [20, 32])
@pytest.mark.parametrize("name", ["mlp", "lenet5", "thelastdev", "compact", "pocket"])
def test_other_image_sizes_work(name, size):
    model = build(NetworkConfig(name=name), image_size=size, n_classes=10, seed=0).eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 1, size, size)).shape == (2, 10)


@pytest.mark.parametrize("size", [8, 24])  # 24 leaves a layer empty, which PyTorch warns of
def test_images_that_are_too_small_raise_a_recipe_error(size):
    with pytest.raises(RecipeError, match=f"recipe deotte: its layers shrink {size} × {size}"):
        build(NetworkConfig(name="deotte"), image_size=size, n_classes=10, seed=0)


def test_only_the_seed_determines_the_weights():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    config = NetworkConfig(name="compact")
    one, same, other = (
        build(config, image_size=28, n_classes=10, seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classes.weight"], other["classes.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_new_network_is_in_training_mode():
    model = build(NetworkConfig(name="compact"), image_size=28, n_classes=10, seed=0)
    assert model.training


def test_options_reach_the_constructor():
    config = NetworkConfig(name="mlp", hidden=(5, 3), dropout=0.25)
    model = build(config, image_size=4, n_classes=2, seed=0)
    assert model.get_submodule("dense1").weight.shape == (5, 16)
    assert model.get_submodule("dense2").weight.shape == (3, 5)
    assert model.get_submodule("dropout2").p == 0.25
