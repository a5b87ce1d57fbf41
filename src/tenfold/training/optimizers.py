"""From a recipe's words to PyTorch's optimizers."""

from collections.abc import Iterable

import torch
from torch import nn

from tenfold.recipe import Optimizer


def build(choices: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer of `network`.

    Weight decay spares biases and normalisation: pulling a scale towards zero regularises
    nothing. RMSprop smooths by 0.9 with epsilon 1e-8, as Keras and both articles have it.
    """
    groups = _groups(network.parameters(), choices.weight_decay)
    rate, momentum = choices.learning_rate, choices.momentum
    if choices.name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    if choices.name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, alpha=0.9, eps=1e-8, momentum=momentum)
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0)


def _groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    everything = list(parameters)
    return [
        {"params": [p for p in everything if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in everything if p.ndim <= 1], "weight_decay": 0.0},
    ]
