"""The networks, and the table from name to constructor.

Every network takes normalised images, float [N, 1, S, S], and gives logits, float [N, classes].
"""

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import nn

from tenfold.config import NetworkConfig
from tenfold.errors import RecipeError
from tenfold.formatting import first_line
from tenfold.networks.architectures import compact, deotte, lenet5, mlp, pocket, surma, thelastdev

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "lenet5": lenet5,
    "surma": surma,
    "thelastdev": thelastdev,
    "deotte": deotte,
    "compact": compact,
    "pocket": pocket,
}


def build(config: NetworkConfig, *, image_size: int, n_classes: int, seed: int) -> nn.Module:
    """Make a network with fresh weights drawn from `seed`; the global generator is left alone.

    Args:
        config: the network's name and options.
        image_size: height and width in pixels of the images that it takes.
        n_classes: logits per image.
        seed: the same seed gives the same weights, bit for bit.

    Raises:
        RecipeError: the network cannot take images of this size.
    """
    skeleton = build_skeleton(config, image_size=image_size, n_classes=n_classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            model = NETWORKS[config.name](image_size, n_classes, **config.options)
        except RuntimeError as error:
            needed = sum(each.numel() * each.element_size() for each in skeleton.parameters())
            raise RecipeError(
                config.name,
                [
                    f"its weights need {needed / 2**30:.1f} GiB of memory, more than there is "
                    f"({first_line(error)})"
                ],
            ) from error
    return model.train()


def build_skeleton(config: NetworkConfig, *, image_size: int, n_classes: int) -> nn.Module:
    """Make a network without memory for its weights, on PyTorch's device "meta".

    It has every name and shape. `build` describes the arguments.

    Raises:
        RecipeError: the network cannot take images of this size.
    """
    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
        torch.device("meta"),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")  # of an empty layer, which is refused below
        try:
            model = NETWORKS[config.name](image_size, n_classes, **config.options)
            model.eval()(torch.zeros(1, 1, image_size, image_size))
        except RuntimeError as error:
            raise RecipeError(
                config.name,
                [
                    f"its layers shrink {image_size} × {image_size} images to nothing "
                    f"({first_line(error)})"
                ],
            ) from error
    return model.train()
