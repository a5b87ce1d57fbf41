"""Recognizer: what predicts. It carries its own preprocessing, so training and prediction cannot
drift apart; one published pipeline fell from 0.966 to 0.82 on exactly that.

    Member            one trained network and its preprocessing
    Recognizer        members, classes, temperature: saved and loaded
    Predictor         a Recognizer prepared once for many calls, from any number of threads
    RecognizerModule  the same computation as one nn.Module, for export
"""  # noqa: D205 - the summary spans two lines

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenfold.artifact import (
    load_artifact,
    refusing,
)
from tenfold.classifier import Classifier, Images, OnProgress, no_progress, pixels_of
from tenfold.config import NetworkConfig
from tenfold.decision import DecisionRule
from tenfold.device import Device
from tenfold.files import checksum, path_exists, save_arrays
from tenfold.networks.layers import fuse_conv_bn
from tenfold.preprocessing import Preprocessing, identity_grid
from tenfold.recognizer_file import RecognizerFile, read_networks
from tenfold.run_folder import RunFolder

FORMAT: Final = "tenfold-recognizer-5"
# Of 128, 256, 512 and 1,024 the fastest by 3 to 5% with tiny, quick and standard.
PREDICT_BATCH: Final = 512
# Below this probability a network averages over test-time views. Five views of every image cost
# four times as much and gave the same predictions for all of 12,000 held-out digits, with five
# networks (decision 7).
TTA_THRESHOLD: Final = 0.9
TINY: Final = float(np.finfo(np.float32).tiny)  # stands in for 0 where a logarithm is taken


@dataclass(frozen=True)
class Member:
    """One trained network and its preprocessing.

    Attributes:
        model: float [N, 1, S, S] to logits [N, classes].
        config: how it is built.
        preprocessing: applied to every image.
    """

    model: nn.Module
    config: NetworkConfig
    preprocessing: Preprocessing

    def fused(self, device: Device | None = None) -> "Member":
        """Return a copy for prediction, on `device` if one is given; see `fuse_conv_bn`."""
        model = fuse_conv_bn(self.model)
        return replace(self, model=model.cpu() if device is None else device.to_device(model))

    def predict_proba(self, images: Tensor, grid: Tensor | None = None) -> Tensor:
        """Return probabilities, float32 [N, classes], of uint8 [N, S, S].

        `grid` is as for `Preprocessing.__call__`.
        """
        logits: Tensor = self.model(self.preprocessing(images, grid))
        return logits.float().softmax(dim=1)

    def average_views(self, images: Tensor, probabilities: Tensor, shift: float) -> Tensor:
        """Average `probabilities` with those of four views, shifted to each side.

        Args:
            images: uint8 [N, S, S].
            probabilities: of the images in place, float32 [N, classes].
            shift: in pixels of the images.
        """
        size = images.shape[-1]
        grid = identity_grid(self.preprocessing.size or size, images.device)
        # Grid coordinates run from -1 to 1, and preprocessing divides them by its zoom.
        step = shift * 2 / size * (self.preprocessing.zoom or 1.0)
        shifts = torch.tensor([[step, 0], [-step, 0], [0, step], [0, -step]], device=images.device)
        views = [probabilities] + [
            self.predict_proba(images, (grid + each).expand(images.shape[0], -1, -1, -1))
            for each in shifts
        ]
        return torch.stack(views).mean(dim=0)


@dataclass(frozen=True, repr=False)
class Recognizer(Classifier):
    """One or more trained networks with all that is needed to use them.

    Attributes:
        members: their probabilities are averaged.
        classes: the name of each output.
        image_size: height and width in pixels of the images it was trained on.
        temperature: divides the logarithms of the averaged probabilities; above 1 it lowers
            confidence. It changes no prediction. See `tenfold.training.train.fit_temperature`.
        tta_shift: test-time augmentation, in pixels; where it is not None and a member is not
            confident, its probabilities are averaged over five views: in place, and shifted to
            each side.
        precision: of the arithmetic, as the recipe chose it: "auto", "bf16" or "fp32".
        weights_dtype: of the saved weights: "float32", or "float16" if they are rounded to it.
        provenance: recipe and data that it came from, as JSON values.
        decision_rule: when its answer is sure, and when there is no digit; fitted on the images
            that were held out.
    """

    members: Sequence[Member]
    classes: tuple[str, ...]
    image_size: int
    temperature: float = 1.0
    tta_shift: float | None = None
    precision: str = "auto"
    weights_dtype: str = "float32"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    decision_rule: DecisionRule = field(default_factory=DecisionRule)

    def __repr__(self) -> str:
        networks = " + ".join(dict.fromkeys(member.config.name for member in self.members))
        size = self.image_size
        return (
            f"Recognizer({len(self.members)} × {networks}, {len(self.classes)} classes, "
            f"images of {size} × {size})"
        )

    @property
    def card(self) -> Mapping[str, Any]:
        """Where it comes from: its provenance."""
        return self.provenance

    @property
    def bright_ink(self) -> bool:
        """Whether it was trained on bright ink on dark: then most pixels were dark."""
        return all(member.preprocessing.mean <= 0.5 for member in self.members)

    def predictor(self, device: Device | None = None) -> "Predictor":
        """Prepare the networks for prediction, once for many calls."""
        return Predictor(self, device)

    def module(self, *, tta: bool = True) -> "RecognizerModule":
        """Return the whole computation as one module: uint8 [N, S, S] to float32 [N, classes].

        It computes in float32 and has no branch that depends on data, so that it can be exported.

        Args:
            tta: average over test-time views where a member is not confident; False leaves the
                views out, which is five times as fast.
        """
        return RecognizerModule(self, tta_shift=self.tta_shift if tta else None)

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, whole or not at all; no pickle.

        Raises:
            OutputError: the file cannot be written.
        """
        members = [
            {"network": each.config.model_dump(), "preprocessing": asdict(each.preprocessing)}
            for each in self.members
        ]
        metadata = {
            "members": members,
            "classes": list(self.classes),
            "image_size": self.image_size,
            "temperature": self.temperature,
            "tta_shift": self.tta_shift,
            "precision": self.precision,
            "weights_dtype": self.weights_dtype,
            "provenance": dict(self.provenance),
            "decision_rule": self.decision_rule.to_json(),
        }
        save_arrays(path, self._arrays(), FORMAT, metadata)

    def content_hash(self) -> str:
        """Sha256 over all weights: equal networks, equal hash."""
        return checksum("", self._arrays())

    def is_finite(self) -> bool:
        """Whether every weight is finite, as it would be saved."""
        return all(bool(np.isfinite(array).all()) for array in self._arrays().values())

    def cast_weights(self, weights_dtype: str) -> "Recognizer":
        """Return it with all weights rounded to "float16", or as it is for "float32"."""
        if weights_dtype == "float32":
            return self
        members = [
            replace(member, model=copy.deepcopy(member.model).half().float())
            for member in self.members
        ]
        return replace(self, members=members, weights_dtype=weights_dtype)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        dtype = getattr(torch, self.weights_dtype)
        return {
            f"{index}.{name}": (tensor.to(dtype) if tensor.is_floating_point() else tensor)
            .detach()
            .cpu()
            .contiguous()
            .numpy()
            for index, member in enumerate(self.members)
            for name, tensor in member.model.state_dict().items()
        }

    @classmethod
    def load(cls, path: Path | str) -> "Recognizer":
        """Read a recognizer from its file, or from the run folder that holds one.

        Raises:
            RecognizerError: it is missing, damaged, or not a recognizer.
        """
        path = Path(path)
        if path_exists(path) and path.is_dir():
            path = RunFolder(path).recognizer
        arrays, metadata = load_artifact(path, FORMAT, RecognizerFile)
        with refusing(path):
            networks = read_networks(metadata, arrays)
        return cls(
            [Member(*parts) for parts in networks],
            tuple(metadata["classes"]),
            metadata["image_size"],
            metadata["temperature"],
            metadata["tta_shift"],
            metadata["precision"],
            metadata["weights_dtype"],
            metadata["provenance"],
            DecisionRule.from_json(metadata["decision_rule"]),
        )


class Predictor:
    """A recognizer prepared for prediction: fused, on its device, for any number of calls.

    Several threads may call it at once, and PyTorch's thread count is left alone.

    Args:
        recognizer: what predicts.
        device: where to compute; detected if not given, with the recognizer's precision.
    """

    def __init__(self, recognizer: Recognizer, device: Device | None = None) -> None:
        self.recognizer = recognizer
        self.device = device or Device.detect(recognizer.precision)
        self._members = [member.fused(self.device) for member in recognizer.members]

    def predict_proba(
        self, images: Images, *, on_progress: OnProgress = no_progress
    ) -> NDArray[np.float32]:
        """Return the probability of each class for each image: float32 [N, classes].

        Args:
            images: a Dataset, uint8 [N, S, S], or one image, uint8 [S, S], for which N is 1.
            on_progress: is called after each batch with the images done and all images.

        Raises:
            DataError: the images are not of the size that the recognizer was trained on.
        """
        probabilities, _ = self.predict_members(images, on_progress=on_progress)
        return probabilities

    def predict_members(
        self, images: Images, *, on_progress: OnProgress = no_progress
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the probabilities, and what each member predicts alone: int64 [M, N].

        The arguments and errors are those of `predict_proba`.
        """
        pixels = pixels_of(images, self.recognizer.image_size)
        n = len(pixels)
        probabilities = np.empty((n, len(self.recognizer.classes)), np.float32)
        predicted = np.empty((len(self._members), n), np.int64)
        starts = range(0, n, PREDICT_BATCH)
        batches = [pixels[start : start + PREDICT_BATCH] for start in starts]
        results = self.device.parallel_map(self._predict_batch, batches)
        for start, by_member in zip(starts, results, strict=True):
            rows = slice(start, start + by_member.shape[1])
            probabilities[rows] = by_member.mean(dim=0)
            predicted[:, rows] = by_member.argmax(dim=2)
            on_progress(rows.stop, n)
        return apply_temperature(probabilities, self.recognizer.temperature), predicted

    def _predict_batch(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return each member's probabilities: float32 [M, N, classes]."""
        images, by_member = self.device.from_numpy(np.ascontiguousarray(pixels)), []
        with torch.inference_mode(), self.device.autocast():
            for member in self._members:
                logits = member.model(member.preprocessing(images))
                probabilities = logits.float().softmax(dim=1)
                self._average_uncertain(member, images, probabilities)
                by_member.append(probabilities.cpu())
        return torch.stack(by_member)

    def _average_uncertain(self, member: Member, images: Tensor, probabilities: Tensor) -> None:
        """Average over test-time views, in place, where `member` is not confident."""
        shift = self.recognizer.tta_shift
        uncertain = probabilities.amax(dim=1) < TTA_THRESHOLD
        if shift is not None and uncertain.any():
            probabilities[uncertain] = member.average_views(
                images[uncertain], probabilities[uncertain], shift
            )


class RecognizerModule(nn.Module):
    """A recognizer as one module; `Recognizer.module` makes it."""

    def __init__(self, recognizer: Recognizer, tta_shift: float | None) -> None:
        super().__init__()
        self._members = [member.fused() for member in recognizer.members]
        self.models = nn.ModuleList(member.model for member in self._members)
        self.temperature, self.tta_shift = recognizer.temperature, tta_shift
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities, float32 [N, classes], of uint8 [N, S, S]."""
        by_member = torch.stack([self._predict(member, images) for member in self._members])
        # As `apply_temperature`, in operations that every runtime has.
        logits = by_member.mean(dim=0).clamp_min(TINY).log()
        return (logits / self.temperature).softmax(dim=1)

    def _predict(self, member: Member, images: Tensor) -> Tensor:
        probabilities = member.predict_proba(images)
        if self.tta_shift is None:
            return probabilities
        average = member.average_views(images, probabilities, self.tta_shift)
        uncertain = probabilities.amax(dim=1, keepdim=True) < TTA_THRESHOLD
        return torch.where(uncertain, average, probabilities)


def apply_temperature(
    probabilities: NDArray[np.float32], temperature: float
) -> NDArray[np.float32]:
    """Divide the logarithms of float32 [N, classes] by `temperature` and normalise again."""
    if temperature == 1.0:
        return probabilities
    powers = np.maximum(probabilities, TINY).astype(np.float64) ** (1 / temperature)
    normalised: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype("f4")
    return normalised
