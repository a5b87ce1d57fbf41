"""The exponential moving average of a network's weights, which generalises better than the last."""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn


@torch.no_grad()
def move(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move `average` a little towards `network`: weights and batch statistics alike.

    The first steps move faster, so that the average does not remember the random start.

    Args:
        average: changed in place.
        network: as it is after this step.
        decay: what is left of the old average at each step, once warm.
        step: counted from 0.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    targets, sources = [], []
    for target, source in zip(_tensors(average), _tensors(network), strict=True):
        if target.is_floating_point():
            targets.append(target)
            sources.append(source)
        else:
            target.copy_(source)  # the count of batches
    torch._foreach_lerp_(targets, sources, weight)


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    """Yield weights and statistics; `state_dict` would take ten times as long, at every step."""
    return chain(network.parameters(), network.buffers())
