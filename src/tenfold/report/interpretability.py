"""What a network sees: its filters, its feature maps, and what in an image decided."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.recognizer import Member
from tenfold.report import figures
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.html import Section

MOST_CLASSES = 12


def interpretability(evidence: RunArtifacts, digit: str | None) -> Section:
    """Filters, feature maps and what decided."""
    section = Section("seeing", "What it sees")
    recognizer, examples = evidence.recognizer, evidence.examples
    if recognizer is None or examples is None:
        section.say("Without recognizer and examples there is nothing to look at.")
        return section
    if len(recognizer.members) > 1:
        section.say("Filters, maps and what decided are those of the first member.")
    member = recognizer.members[0]
    network = member.model.cpu().eval()
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        section.say("This network has no convolutions, so it has no filters to show.")
    else:
        name, image = examples.one_of(digit)
        filters = convolutions[0].weight.detach()[:, 0].numpy()
        section.draw("filters", "The filters of the first layer", figures.filters(filters))
        stages = feature_maps(member, image)
        shows = f"An image of class {name} and the feature maps of each convolution"
        section.draw("feature-maps", shows, figures.feature_maps(image, stages))
    labels = examples.images.require_labels()
    first = np.array([np.flatnonzero(labels == index)[0] for index in np.unique(labels)])[
        :MOST_CLASSES
    ]
    images = examples.images.images[first]
    answers = recognizer.predict_proba(images).argmax(axis=1)
    maps = attributions(member, images, answers)
    captions = [f"answer: {recognizer.classes[answer]}" for answer in answers]
    section.say(
        "What decided is found by occlusion (Zeiler and Fergus 2014, through captum): a patch of "
        "paper covers one place after the other, and the answer's score falls or rises."
    )
    shows = "An image of each class, and below it what spoke for and against its answer"
    section.draw("attribution", shows, figures.attribution(images, maps, captions))
    return section


def feature_maps(member: Member, image: NDArray[np.uint8]) -> list[tuple[str, NDArray[np.float32]]]:
    """Catch what each convolution of `member` answers to `image`, uint8 [S, S].

    Returns:
        The name of each convolution and its maps, float32 [C, h, w], before normalisation and
        activation, in the order in which the image passes.
    """
    network = member.model.cpu().eval()
    names = {module: name for name, module in network.named_modules()}
    stages: list[tuple[str, NDArray[np.float32]]] = []

    def catch(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        stages.append((names[module].removesuffix(".0"), output[0].numpy().copy()))

    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    handles = [convolution.register_forward_hook(catch) for convolution in convolutions]
    try:
        with torch.inference_mode():
            network(member.preprocessing(torch.from_numpy(image[None].copy())))
    finally:
        for handle in handles:
            handle.remove()
    return stages


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

    network = member.model.cpu().eval()

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
