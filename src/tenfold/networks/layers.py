"""The few pieces that several networks share."""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU: float [N, inputs, H, W] to [N, outputs, H', W'].

    The convolution has no bias of its own: the normalisation would subtract it again.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def initialize_like_keras(network: nn.Module) -> None:
    """Draw weights as Keras does by default: Glorot uniform, biases zero.

    The published networks were trained from there; PyTorch's own default is narrower for wide
    dense layers. Keras also averages batch statistics over 100 batches (momentum 0.99) and adds
    1e-3 to the variance.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.01
            layer.eps = 1e-3


def folded(network: nn.Module) -> nn.Module:
    """Return a copy for prediction in which convolutions do the normalisation that follows them.

    With fixed statistics, batch normalisation only scales and shifts each filter's answer; so
    do a scaled filter and a bias, without another walk through memory.
    """
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for index, (first, second) in enumerate(pairwise(block)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                block[index] = fuse_conv_bn_eval(first, second)
                block[index + 1] = nn.Identity()
    return network
