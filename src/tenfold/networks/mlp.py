"""Dense layers alone: the first network of most courses, and of the logbook (128-128-10)."""

from collections.abc import Sequence

from torch import nn

from tenfold.networks.layers import initialize_like_keras


def mlp(
    image_size: int, n_classes: int, *, hidden: Sequence[int] = (128, 128), dropout: float = 0.0
) -> nn.Sequential:
    """Build a multilayer perceptron: float [N, 1, S, S] to logits [N, n_classes]."""
    network = nn.Sequential()
    network.add_module("flatten", nn.Flatten())
    inputs = image_size**2
    for index, units in enumerate(hidden, start=1):
        network.add_module(f"dense{index}", nn.Linear(inputs, units))
        network.add_module(f"relu{index}", nn.ReLU())
        if dropout:
            network.add_module(f"dropout{index}", nn.Dropout(dropout))
        inputs = units
    network.add_module("classes", nn.Linear(inputs, n_classes))
    initialize_like_keras(network)
    return network
