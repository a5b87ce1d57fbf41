"""The few pieces that several networks share."""

import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
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


def fuse_conv_bn(network: nn.Module) -> nn.Module:
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


_KINDS = {
    nn.Conv2d: "convolution",
    nn.Linear: "dense",
    nn.BatchNorm2d: "batch norm",
    nn.MaxPool2d: "max pool",
    nn.AvgPool2d: "average pool",
    nn.AdaptiveMaxPool2d: "global max",
    nn.Dropout: "dropout",
    nn.Flatten: "flatten",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
}


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        name: its place in the network, "conv1.0".
        kind: "convolution", "dense", …, with kernel and stride where it has them.
        shape: of its output for one image: (channels, height, width) or (units,).
        parameters: weights that training changes.
        multiply_adds: multiplications with addition for one image (convolution and dense only,
            the rest is small beside them).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def summarize(network: nn.Module, image_size: int) -> list[Layer]:
    """List the layers of `network` in the order in which an image passes them."""
    layers: list[Layer] = []
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shape = tuple(output.shape[1:])
        weights = [p for p in module.parameters(recurse=False) if p.requires_grad]
        layers.append(
            Layer(
                name=names[module],
                kind=_kind(module),
                shape=shape,
                parameters=sum(p.numel() for p in weights),
                multiply_adds=_multiply_adds(module, shape),
            )
        )

    leaves = [module for module in network.modules() if not list(module.children())]
    handles = [module.register_forward_hook(note) for module in leaves]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 1, image_size, image_size))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return layers


def _kind(module: nn.Module) -> str:
    kind = _KINDS.get(type(module), type(module).__name__.lower())
    if isinstance(module, nn.Conv2d):
        kind += f" {module.kernel_size[0]} × {module.kernel_size[1]}"
        kind += f" stride {module.stride[0]}" if module.stride[0] > 1 else ""
    elif isinstance(module, nn.Dropout):
        kind += f" {module.p:g}"
    return kind


def _multiply_adds(module: nn.Module, shape: tuple[int, ...]) -> int:
    if isinstance(module, nn.Conv2d):
        places = shape[-2] * shape[-1]
        return places * module.weight.numel()
    if isinstance(module, nn.Linear):
        return module.weight.numel()
    return 0
