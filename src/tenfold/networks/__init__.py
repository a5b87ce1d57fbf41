"""The networks: one family a file, and the table from name to constructor.

Every network takes normalised images, float [N, 1, S, S], and gives logits, float [N, classes].
"""

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import nn

from tenfold.config import NetworkConfig
from tenfold.errors import RecipeError
from tenfold.networks.compact import compact, pocket
from tenfold.networks.published import deotte, lenet5, mlp, surma, thelastdev

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "lenet5": lenet5,
    "surma": surma,
    "thelastdev": thelastdev,
    "deotte": deotte,
    "compact": compact,
    "pocket": pocket,
}


def build(choices: NetworkConfig, *, image_size: int, n_classes: int, seed: int) -> nn.Module:
    """Make a network with fresh weights drawn from `seed`; the global generator is left alone.

    Raises:
        RecipeError: the network cannot take images of this size.
    """
    constructor = NETWORKS[choices.name]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty layer is refused below, in our own words
        torch.default_generator.manual_seed(seed)
        try:
            network = constructor(image_size, n_classes, **choices.options)
            with torch.no_grad():
                network.eval()(torch.zeros(1, 1, image_size, image_size))
        except RuntimeError as error:
            raise RecipeError(
                choices.name,
                [
                    f"its layers shrink {image_size} × {image_size} images to nothing or need more "
                    f"memory than there is ({str(error).splitlines()[0]})"
                ],
            ) from error
    return network.train()
