"""The network in the report: its layers, feature maps and attributions."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.networks.layers import summarize
from tenfold.recognizer import Member, Recognizer
from tenfold.report import figures
from tenfold.report.artifacts import Examples, RunArtifacts
from tenfold.report.html import Section

MAX_CLASSES = 12  # in the figure of attributions
MIN_MAP_PIXELS, MAX_MAP_LAYERS = 10, 3  # smaller and deeper maps cannot be interpreted
MAX_RESPONSES, IMAGES_PER_MAP = 12, 8
PATCH_PIXELS = 5  # about as wide as a thick stroke
PATCH_STEP = 2  # pixels from one position of the patch to the next


def network_section(artifacts: RunArtifacts) -> Section:
    """Layers, shapes, parameters and multiply-adds."""
    section = Section("network", "Network", chapter="A convolutional network")
    recognizer = artifacts.recognizer
    if recognizer is None:
        section.add_text("The recognizer cannot be read, so its layers are unknown.")
        return section
    member, n_members = recognizer.members[0], len(recognizer.members)
    size = member.preprocessing.size or recognizer.image_size
    layers = summarize(member.model.cpu(), size)
    parameters = sum(layer.parameters for layer in layers)
    multiply_adds = sum(layer.multiply_adds for layer in layers)
    if n_members > 1:
        section.add_text(f"The ensemble has {n_members} networks. This is the first member.")
    section.add_text(
        f"Architecture: {member.config.name}, {parameters:,} parameters, {multiply_adds:,} "
        f"multiply–adds per {size} × {size} image."
    )
    rows = [
        (
            layer.name,
            layer.kind,
            " × ".join(map(str, layer.shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
        )
        for layer in layers
    ]
    header = ("layer", "type", "output shape", "parameters", "multiply-adds")
    section.add_table("Layers, from input to output", header, rows, folded=True)
    return section


def interpretability_section(artifacts: RunArtifacts, digit: str | None) -> Section:
    """Attributions, feature maps, and what the last convolution responds to.

    Args:
        artifacts: what the run left.
        digit: the class whose image the feature maps are of; None takes the first.
    """
    section = Section("interpretability", "What the network sees", chapter="What the layers do")
    recognizer, examples = artifacts.recognizer, artifacts.examples
    if recognizer is None or examples is None:
        section.add_text("This section needs the recognizer and the example images.")
        return section
    if len(recognizer.members) > 1:
        section.add_text("All of these figures are of the first member.")
    member = recognizer.members[0]
    section.add_text(
        "Occlusion maps (Zeiler and Fergus 2014): a blank patch is moved over the image, and the "
        "change in the logit of the predicted class is recorded."
    )
    _add_attributions(section, recognizer, examples)
    if not any(isinstance(layer, nn.Conv2d) for layer in member.model.modules()):
        section.add_text("The network has no convolutions, so there are no feature maps to show.")
        return section
    name, image = examples.image_of(digit)
    maps = feature_maps(member, image)
    large = [each for each in maps if each[1].shape[1] >= MIN_MAP_PIXELS][:MAX_MAP_LAYERS]
    if large:
        drawn = figures.feature_maps(image, large, "Feature maps of the first layers for one image")
        alt_text = f"An image of class {name} and the feature maps of the first convolutions"
        section.add_figure("feature-maps", alt_text, drawn)
    _add_responses(section, member, examples)
    return section


def _add_responses(section: Section, member: Member, examples: Examples) -> None:
    """Add the images that the maps of the last convolution respond to most."""
    images = examples.images.images
    layer, maps = _convolution_outputs(member, images)[-1]
    strongest = maps.max(axis=(2, 3))  # [N, C]
    n_maps, per_map = min(MAX_RESPONSES, strongest.shape[1]), min(IMAGES_PER_MAP, len(images))
    chosen = np.argsort(-strongest[:, :n_maps], axis=0, kind="stable")[:per_map].T
    drawn = figures.responses(images[chosen], layer, len(images))
    alt_text = f"The digits that activate each of {n_maps} maps of {layer} most"
    section.add_figure("responses", alt_text, drawn)


def _add_attributions(section: Section, recognizer: Recognizer, examples: Examples) -> None:
    """Add the occlusion map of one image of each class."""
    labels = examples.images.require_labels()
    first = np.array([np.flatnonzero(labels == index)[0] for index in np.unique(labels)])
    images = examples.images.images[first[:MAX_CLASSES]]
    predicted = recognizer.predict_proba(images).argmax(axis=1)
    maps = attributions(recognizer.members[0], images, predicted)
    captions = [f"predicted {recognizer.classes[index]}" for index in predicted]
    alt_text = "An image of each class, and which parts are evidence for its predicted class"
    section.add_figure("attribution", alt_text, figures.attribution(images, maps, captions))


def feature_maps(member: Member, image: NDArray[np.uint8]) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the output of each convolution of `member` for `image`, uint8 [S, S].

    Returns:
        The name of each convolution and its output, float32 [C, h, w], before normalisation and
        activation, in the order of computation.
    """
    return [(name, maps[0]) for name, maps in _convolution_outputs(member, image[None])]


def _convolution_outputs(
    member: Member, images: NDArray[np.uint8]
) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the name and the output, float32 [N, C, h, w], of each convolution."""
    network = member.model.cpu().eval()
    names = {module: name for name, module in network.named_modules()}
    layers: list[tuple[str, NDArray[np.float32]]] = []

    def record(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layers.append((names[module].removesuffix(".0"), output.numpy().copy()))

    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    handles = [convolution.register_forward_hook(record) for convolution in convolutions]
    try:
        with torch.inference_mode():
            network(member.preprocessing(torch.from_numpy(images.copy())))
    finally:
        for handle in handles:
            handle.remove()
    return layers


def attributions(
    member: Member, images: NDArray[np.uint8], targets: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return for each pixel how much the logit of the target class falls if it is covered.

    A blank patch covers every second position in turn, and each pixel gets the mean fall of the
    logit over the patches that cover it (Zeiler and Fergus, "Visualizing and understanding
    convolutional networks", ECCV 2014, arXiv 1311.2901).

    Args:
        member: the network with its preprocessing.
        images: uint8 [N, S, S].
        targets: int64 [N], the class whose logit is observed, for each image.

    Returns:
        float32 [N, S, S], positive where the ink is evidence for the target class.
    """
    network = member.model.cpu().eval()
    size = images.shape[1]
    patch = min(PATCH_PIXELS, size)
    positions = sorted({*range(0, size - patch, PATCH_STEP), size - patch})
    falls = np.zeros(images.shape, np.float64)
    covers = np.zeros((size, size), np.int64)

    def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of the targets, float32 [K, N], for K copies of the images."""
        copies = len(pixels) // len(images)
        of_classes: NDArray[np.float32] = network(
            member.preprocessing(torch.from_numpy(pixels))
        ).numpy()
        return of_classes[np.arange(len(pixels)), np.tile(targets, copies)].reshape(copies, -1)

    with torch.inference_mode():
        uncovered = logits(images)[0]
        for top in positions:
            covered = np.tile(images, (len(positions), 1, 1, 1))
            for copy, left in enumerate(positions):
                covered[copy, :, top : top + patch, left : left + patch] = 0
            found = uncovered - logits(covered.reshape(-1, size, size))
            for copy, left in enumerate(positions):
                falls[:, top : top + patch, left : left + patch] += found[copy, :, None, None]
                covers[top : top + patch, left : left + patch] += 1
    return (falls / covers).astype(np.float32)
