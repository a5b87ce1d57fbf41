"""Recognizer: what predicts. It carries its own preprocessing, so that training and prediction
cannot drift apart; one published pipeline fell from 0.966 to 0.82 on exactly that.
"""  # noqa: D205 - two thoughts, one breath

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.choices import Network
from tenfold.data.dataset import Dataset
from tenfold.errors import DataError, RecognizerError
from tenfold.files import RunFolder, is_there
from tenfold.machine import Machine
from tenfold.networks import build
from tenfold.networks.layers import folded
from tenfold.preprocessing import Preprocessing, plain_grid
from tenfold.tensors import checksum, load_tensors, save_tensors

FORMAT = "tenfold-recognizer-3"
# Of 128, 256, 512 and 1,024 the fastest by 3 to 5 % with tiny, quick and standard.
PREDICT_BATCH = 512
# Below this probability a network looks again. Five looks at every image cost four times as much
# and gave the same answers to all of 12,000 held-out digits, with five networks (decision 7).
SURE = 0.9


@dataclass(frozen=True)
class Member:
    """One trained network and what it must be fed.

    Attributes:
        network: float [N, 1, S, S] to logits [N, classes].
        choices: how it is built.
        preprocessing: applied to every image.
    """

    network: nn.Module
    choices: Network
    preprocessing: Preprocessing

    def probabilities(self, images: Tensor, view_shift: float | None = None) -> Tensor:
        """Return float32 [N, classes] for uint8 [N, S, S].

        With `view_shift`, an image that the network is not `SURE` of gets four more looks, moved
        by so many of its pixels to each side, and the mean of all five is the answer.
        """
        answers = self._answers(self.preprocessing(images))
        if view_shift is None or not (unsure := answers.amax(dim=1) < SURE).any():
            return answers
        again, size = images[unsure], images.shape[-1]
        grid = plain_grid(self.preprocessing.size or size, images.device)
        # Grid coordinates run from -1 to 1, and preprocessing divides them by its zoom.
        step = view_shift * 2 / size * (self.preprocessing.zoom or 1.0)
        moves = torch.tensor([[step, 0], [-step, 0], [0, step], [0, -step]], device=images.device)
        looks = [answers[unsure]] + [
            self._answers(self.preprocessing(again, (grid + move).expand(len(again), -1, -1, -1)))
            for move in moves
        ]
        answers[unsure] = torch.stack(looks).mean(dim=0)
        return answers

    def _answers(self, seen: Tensor) -> Tensor:
        logits: Tensor = self.network(seen)
        return logits.float().softmax(dim=1)


@dataclass(frozen=True)
class Recognizer:
    """One or more trained networks with all that is needed to use them.

    Attributes:
        members: their probabilities are averaged.
        classes: what each output is called.
        image_size: height and width in pixels of the images it was trained on.
        temperature: divides the logarithms of the averaged probabilities; above 1 it makes the
            recognizer less sure of itself. It changes no answer. See
            `tenfold.training.calibration`.
        view_shift: in pixels; where it is not None, a network that is not sure of an image looks
            again, at the image moved by so much to each side, and averages its five answers.
        precision: of its arithmetic, as the recipe chose it: "auto", "bf16" or "fp32".
        weights: how they are saved: "float32", or "float16" if they are rounded to it.
        provenance: recipe and data that it came from, as JSON values.
    """

    members: Sequence[Member]
    classes: tuple[str, ...]
    image_size: int
    temperature: float = 1.0
    view_shift: float | None = None
    precision: str = "auto"
    weights: str = "float32"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def probabilities(
        self,
        images: Dataset | NDArray[np.uint8],
        machine: Machine | None = None,
        *,
        on_progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> NDArray[np.float32]:
        """Return the probability of each class for each image: float32 [N, classes].

        Args:
            images: a Dataset or uint8 [N, S, S].
            machine: where to compute; detected if not given, with the recognizer's precision.
            on_progress: is told after each batch how many images are done, and of how many.

        Raises:
            DataError: the images are not of the size that the recognizer was trained on.
        """
        result = np.empty((len(_pixels(images)), len(self.classes)), np.float32)
        for batch, votes in self._votes(images, machine, on_progress):
            result[batch] = votes.mean(dim=0)
        return tempered(result, self.temperature)

    def probabilities_and_votes(
        self,
        images: Dataset | NDArray[np.uint8],
        machine: Machine | None = None,
        *,
        on_progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return what `probabilities` does, and what each member answered alone: int64 [M, N]."""
        n = len(_pixels(images))
        result = np.empty((n, len(self.classes)), np.float32)
        answers = np.empty((len(self.members), n), np.int64)
        for batch, votes in self._votes(images, machine, on_progress):
            result[batch] = votes.mean(dim=0)
            answers[:, batch] = votes.argmax(dim=2)
        return tempered(result, self.temperature), answers

    def _votes(
        self,
        images: Dataset | NDArray[np.uint8],
        machine: Machine | None,
        on_progress: Callable[[int, int], None],
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield, batch by batch, its place and each member's probabilities [M, batch, classes]."""
        pixels = _pixels(images)
        self._check_size(images, pixels)
        machine = machine or Machine.detect(self.precision)
        members = [
            replace(member, network=machine.place(folded(member.network)))
            for member in self.members
        ]

        def voted(batch: slice) -> Tensor:
            seen = machine.tensor(np.ascontiguousarray(pixels[batch]))
            with torch.inference_mode(), machine.autocast():
                votes = [member.probabilities(seen, self.view_shift) for member in members]
            return torch.stack(votes).cpu()

        starts = range(0, len(pixels), PREDICT_BATCH)
        batches = [slice(start, min(start + PREDICT_BATCH, len(pixels))) for start in starts]
        for batch, votes in zip(batches, machine.side_by_side(voted, batches), strict=True):
            yield batch, votes
            on_progress(batch.stop, len(pixels))

    def predict(
        self, images: Dataset | NDArray[np.uint8], machine: Machine | None = None
    ) -> NDArray[np.str_]:
        """Return the most probable class of each image by name: str [N]."""
        return self.names_of(self.probabilities(images, machine).argmax(axis=1))

    def names_of(self, labels: NDArray[np.int64]) -> NDArray[np.str_]:
        """Turn indices of classes into their names."""
        return np.array(self.classes)[labels]

    def _check_size(self, images: Dataset | NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
        size = self.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size):
            name = images.name if isinstance(images, Dataset) else "images"
            raise DataError(
                f"{name}: holds {pixels.dtype} images of {' × '.join(map(str, pixels.shape[1:]))} "
                f"pixels, expected uint8 {size} × {size} as this recognizer was trained on"
            )

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, whole or not at all; no pickle.

        Raises:
            OutputError: the file cannot be written.
        """
        about = {
            "members": [
                {
                    "network": member.choices.model_dump(),
                    "preprocessing": asdict(member.preprocessing),
                }
                for member in self.members
            ],
            "classes": list(self.classes),
            "image_size": self.image_size,
            "temperature": self.temperature,
            "view_shift": self.view_shift,
            "precision": self.precision,
            "weights": self.weights,
            "provenance": dict(self.provenance),
        }
        save_tensors(path, self._tensors(), FORMAT, about)

    def fingerprint(self) -> str:
        """Sha256 over all weights: equal networks, equal fingerprint."""
        return checksum("", self._tensors())

    def is_finite(self) -> bool:
        """Tell whether every weight is a number, as it would be kept."""
        return all(bool(tensor.isfinite().all()) for tensor in self._tensors().values())

    def rounded(self, weights: str) -> "Recognizer":
        """Return it with all weights rounded to "float16", or as it is for "float32"."""
        if weights == "float32":
            return self
        members = [
            replace(member, network=copy.deepcopy(member.network).half().float())
            for member in self.members
        ]
        return replace(self, members=members, weights=weights)

    def _tensors(self) -> dict[str, Tensor]:
        kept_as = getattr(torch, self.weights)
        return {
            f"{index}.{name}": (tensor.to(kept_as) if tensor.is_floating_point() else tensor)
            .detach()
            .cpu()
            .contiguous()
            for index, member in enumerate(self.members)
            for name, tensor in member.network.state_dict().items()
        }

    @classmethod
    def load(cls, path: Path | str) -> "Recognizer":
        """Read a recognizer from its file, or from the run folder that holds one.

        Raises:
            RecognizerError: it is missing, damaged, or not a recognizer.
        """
        path = Path(path)
        if is_there(path) and path.is_dir():
            path = RunFolder(path).recognizer
        tensors, about = load_tensors(path, FORMAT)
        try:
            members = [
                _read_member(description, _with_prefix(tensors, f"{index}."), about)
                for index, description in enumerate(about["members"])
            ]
            return cls(
                members,
                tuple(about["classes"]),
                about["image_size"],
                about["temperature"],
                about["view_shift"],
                about["precision"],
                about["weights"],
                about["provenance"],
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RecognizerError(
                f"{path}: its description does not fit its weights ({error})"
            ) from error


def _pixels(images: Dataset | NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images.images if isinstance(images, Dataset) else images


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Divide the logarithms of float32 [N, classes] by `temperature` and normalise again."""
    if temperature == 1.0:
        return probabilities
    tiny = np.finfo(np.float32).tiny
    sharpened = np.maximum(probabilities, tiny).astype(np.float64) ** (1 / temperature)
    normal: NDArray[np.float32] = (sharpened / sharpened.sum(axis=1, keepdims=True)).astype("f4")
    return normal


def _read_member(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> Member:
    choices = Network.model_validate(description["network"])
    preprocessing = Preprocessing(**description["preprocessing"])
    size, n_classes = preprocessing.size or about["image_size"], len(about["classes"])
    network = build(choices, image_size=size, n_classes=n_classes, seed=0)
    network.load_state_dict(tensors)
    return Member(network.eval(), choices, preprocessing)


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
