"""What in an image decided: occlusion, by captum."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenfold.recognizer import Member

PATCH_PIXELS = 5  # about as wide as a thick stroke
PATCHES_AT_ONCE = 64


def attributions(
    member: Member, images: NDArray[np.uint8], answers: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Tell for each place of `images` how much the answer's score falls without its ink.

    A patch of paper is laid on every place in turn, and each pixel gets the mean fall of the
    answer's logit over the patches that cover it (Zeiler and Fergus, "Visualizing and
    understanding convolutional networks", ECCV 2014, arXiv 1311.2901).

    Args:
        member: the network that is asked, with its preprocessing.
        images: uint8 [N, S, S].
        answers: int64 [N], the class that each image is asked about.

    Returns:
        float32 [N, S, S], positive where ink spoke for the answer.
    """
    from captum.attr import Occlusion  # noqa: PLC0415 - slow to import

    network = member.network.cpu().eval()

    def logits(pixels: Tensor) -> Tensor:
        result: Tensor = network(member.preprocessing(pixels))
        return result

    patch = min(PATCH_PIXELS, images.shape[1])
    with torch.inference_mode():
        found = Occlusion(logits).attribute(
            torch.from_numpy(images.astype(np.float32)),
            sliding_window_shapes=(patch, patch),
            baselines=0,
            target=torch.from_numpy(answers),
            perturbations_per_eval=max(1, PATCHES_AT_ONCE // len(images)),
        )
    maps: NDArray[np.float32] = found.numpy().astype(np.float32)
    return maps
