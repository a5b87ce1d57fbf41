"""What several networks share, and a table of a network's layers."""

import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

LAYER_KINDS = {
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


def initialize_like_keras(model: nn.Module) -> None:
    """Draw weights as Keras does by default: Glorot uniform, biases zero.

    The published networks were trained from there; PyTorch's own default is narrower for wide
    dense layers. Keras also averages batch statistics over 100 batches (momentum 0.99) and adds
    1e-3 to the variance.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.01
            layer.eps = 1e-3


def fuse_conv_bn(model: nn.Module) -> nn.Module:
    """Return a copy for prediction whose convolutions do the normalisation that follows them.

    With fixed statistics, batch normalisation only scales and shifts what each filter gives; a
    scaled filter with a bias does the same without another pass through memory.
    """
    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for index, (first, second) in enumerate(pairwise(block)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                block[index] = fuse_conv_bn_eval(first, second)
                block[index + 1] = nn.Identity()
    return model


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        name: its name in the network, "conv1.0".
        kind: "convolution", "dense", …, with kernel and stride where it has them.
        shape: of its output for one image: (channels, height, width) or (units,).
        parameters: how many weights training changes.
        multiply_adds: multiplications with addition for one image; of convolutions and dense
            layers only, the rest is small beside them.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def summarize(model: nn.Module, image_size: int) -> list[Layer]:
    """List the layers of `model` in the order in which an image passes them."""
    layers: list[Layer] = []
    model = copy.deepcopy(model).to("meta")  # shapes alone: any size costs nothing
    names = {module: name for name, module in model.named_modules()}

    def add_layer(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
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

    leaves = [module for module in model.modules() if not list(module.children())]
    for module in leaves:
        module.register_forward_hook(add_layer)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 1, image_size, image_size, device="meta"))
    return layers


def _kind(module: nn.Module) -> str:
    kind = LAYER_KINDS.get(type(module), type(module).__name__.lower())
    if isinstance(module, nn.Conv2d):
        kind += f" {module.kernel_size[0]} × {module.kernel_size[1]}"
        kind += f" stride {module.stride[0]}" if module.stride[0] > 1 else ""
    elif isinstance(module, nn.Dropout):
        kind += f" {module.p:g}"
    return kind


def _multiply_adds(module: nn.Module, shape: tuple[int, ...]) -> int:
    if isinstance(module, nn.Conv2d):
        positions = shape[-2] * shape[-1]
        return positions * module.weight.numel()
    if isinstance(module, nn.Linear):
        return module.weight.numel()
    return 0
