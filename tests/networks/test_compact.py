"""Our own networks."""

import pytest
import torch

from tenfold.config import NetworkConfig
from tenfold.networks import build


def test_pocket_has_9042_weights():
    model = build(NetworkConfig(name="pocket"), image_size=28, n_classes=10, seed=0)
    assert sum(p.numel() for p in model.parameters()) == 9_042


@pytest.mark.parametrize("name", ["compact", "pocket"])
def test_one_set_of_weights_takes_images_of_any_size_from_4(name):
    """Progressive sizes rest on this."""
    model = build(NetworkConfig(name=name), image_size=28, n_classes=10, seed=0).eval()
    with torch.inference_mode():
        for size in (4, 20, 33):
            assert model(torch.rand(2, 1, size, size)).shape == (2, 10)


def test_compact_has_dropout_only_where_it_is_asked_for():
    plain, dropping = (
        build(NetworkConfig(name="compact", dropout=p), image_size=28, n_classes=10, seed=0)
        for p in (None, 0.4)
    )
    assert not [m for m in plain.modules() if isinstance(m, torch.nn.Dropout)]
    assert [m.p for m in dropping.modules() if isinstance(m, torch.nn.Dropout)] == [0.4]
