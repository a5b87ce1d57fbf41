"""The pictures of a run: which there are, what goes into each, and their file names."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.choices import Augmentation
from tenfold.data.dataset import Dataset
from tenfold.files import RunFolder
from tenfold.recipe import Recipe
from tenfold.recognizer import Preprocessing, Recognizer
from tenfold.report import figures
from tenfold.report.metrics import Evaluation
from tenfold.training import augment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREVIEW_VARIANTS = 32


def draw_data(folder: RunFolder, train: Dataset, valid: Dataset | None, recipe: Recipe) -> None:
    """Draw what goes into training: class balance, a sample sheet, one digit augmented."""
    preview = augmentation_preview(train.images[0], recipe)
    _save(folder, "classes", class_balance(train, valid))
    _save(folder, "samples", sample_sheet(train))
    _save(folder, "augmentation", preview)


def draw_training(
    folder: RunFolder,
    history: Sequence[Mapping[str, Any]],
    recognizer: Recognizer,
    image: NDArray[np.uint8],
) -> None:
    """Draw how the epochs in `history` went, and what the network makes of `image`, uint8 [S, S].

    A network without convolutions has no filters and feature maps to show.
    """
    curves = figures.training_curves(history, recognizer.provenance["epoch"])
    _save(folder, "training", curves)
    member = recognizer.members[0]
    network = member.network.cpu().eval()
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    if convolutions:
        first = convolutions[0].weight.detach()[:, 0].numpy()
        stages = _feature_maps(network, convolutions, member.preprocessing, image)
        _save(folder, "filters", figures.filters(first))
        _save(folder, "feature-maps", figures.feature_maps(image, stages))


def draw_answers(
    folder: RunFolder,
    dataset: Dataset,
    probabilities: NDArray[np.float32],
    evaluation: Evaluation,
) -> None:
    """Draw how labelled images were answered: the confusion matrix and the mistakes."""
    gallery = figures.mistakes(
        dataset.images,
        dataset.known_labels(),
        probabilities.argmax(axis=1),
        probabilities.max(axis=1),
        dataset.classes,
    )
    confusion = figures.confusion_matrix(evaluation.confusion, dataset.classes)
    _save(folder, "confusion", confusion)
    _save(folder, "mistakes", gallery)


def class_balance(train: Dataset, valid: Dataset | None = None) -> "Figure":
    """Draw how many images each class has."""
    held_out = None if valid is None else valid.class_counts()
    return figures.class_balance(
        train.class_counts(), held_out, f"Images of each class: {train.name}"
    )


def sample_sheet(dataset: Dataset) -> "Figure":
    """Draw some images of each class."""
    return figures.sample_sheet(dataset.images, dataset.known_labels(), dataset.classes)


def augmentation_preview(image: NDArray[np.uint8], recipe: Recipe) -> "Figure":
    """Draw one digit, uint8 [S, S], many ways, just as training would sample it."""
    generator = torch.Generator().manual_seed(recipe.seed)
    warp = augment.warp(recipe.augmentation, PREVIEW_VARIANTS, len(image), generator)
    copies = torch.from_numpy(image.copy()).expand(PREVIEW_VARIANTS, -1, -1)
    variants = Preprocessing(zoom=recipe.preprocessing.zoom)(copies, warp)[:, 0].numpy()
    return figures.augmentation_preview(image, variants, _caption(recipe.augmentation))


def _save(folder: RunFolder, name: str, figure: "Figure") -> None:
    figures.save(figure, folder.figures / f"{name}.png")


def _caption(augmentation: Augmentation) -> str:
    parts = [
        (augmentation.rotation_degrees, "turned by up to {:g}°"),
        (augmentation.shift_pixels, "shifted by up to {:g} pixels"),
        (augmentation.zoom * 100, "stretched by up to {:g} % a side"),
        (augmentation.shear_degrees, "slanted by up to {:g}°"),
        (augmentation.elastic_pixels, "bent by about {:g} pixels"),
    ]
    said = [text.format(amount) for amount, text in parts if amount]
    return ", ".join(said).capitalize() if said else "This recipe changes nothing"


def _feature_maps(
    network: nn.Module,
    convolutions: Sequence[nn.Conv2d],
    preprocessing: Preprocessing,
    image: NDArray[np.uint8],
) -> list[tuple[str, NDArray[Any]]]:
    """Catch what each convolution answers to `image`, before normalisation and activation."""
    names = {module: name for name, module in network.named_modules()}
    stages: list[tuple[str, NDArray[Any]]] = []

    def catch(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        stages.append((names[module].removesuffix(".0"), output[0].numpy().copy()))

    handles = [convolution.register_forward_hook(catch) for convolution in convolutions]
    try:
        with torch.inference_mode():
            network(preprocessing(torch.from_numpy(image[None].copy())))
    finally:
        for handle in handles:
            handle.remove()
    return stages
