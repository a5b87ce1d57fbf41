"""The networks, and the table from name to constructor.

Every network takes normalised images, float [N, 1, S, S], and gives logits, float [N, classes].
"""

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import nn

from tenfold.config import NetworkConfig
from tenfold.errors import RecipeError
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
    constructor = NETWORKS[config.name]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an empty layer, which is refused below
        torch.default_generator.manual_seed(seed)
        try:
            model = constructor(image_size, n_classes, **config.options)
            with torch.no_grad():
                model.eval()(torch.zeros(1, 1, image_size, image_size))
        except RuntimeError as error:
            raise RecipeError(
                config.name,
                [
                    f"its layers shrink {image_size} × {image_size} images to nothing or need more "
                    f"memory than there is ({str(error).splitlines()[0]})"
                ],
            ) from error
    return model.train()
