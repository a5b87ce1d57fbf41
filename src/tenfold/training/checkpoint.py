"""The state of a training run between two steps, and its way to disk and back.

Randomness is a function of seed and step (see `batches.derive_seed`) and the learning rate of step and
history, so weights, optimizer, step and history are all there is.
"""

import copy
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.data.dataset import Dataset
from tenfold.device import Device
from tenfold.errors import RecognizerError
from tenfold.files import (
    load_arrays,
    output_folder,
    path_exists,
    save_arrays,
    write_json,
    write_text,
)
from tenfold.formatting import pluralize
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.training import checkpoint
from tenfold.training.callbacks import Epoch, IntervalMetrics

FORMAT = "tenfold-checkpoint-2"


@dataclass
class State:
    """All that changes while training runs.

    Attributes:
        network: the one that is trained.
        average: its moving average, or None.
        optimizer: with its moments.
        step: steps done.
        history: finished epochs.
        stretches: finished stretches of a few steps.
        sums: float64 [2, 3] of the running epoch and the running stretch: loss times images,
            correct answers, images.
        train_s: seconds of training in the running epoch.
    """

    network: nn.Module
    average: nn.Module | None
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: list[Epoch] = field(default_factory=list)
    intervals: list[IntervalMetrics] = field(default_factory=list)
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, 3, dtype=torch.float64))
    train_s: float = 0.0


def save(path: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Write `state` whole or not at all. `identity` says whose run it is.

    Raises:
        OutputError: the file cannot be written.
    """
    about = {
        "identity": dict(identity),
        "step": state.step,
        "train_s": state.train_s,
        "history": [asdict(epoch) for epoch in state.history],
        "stretches": [asdict(stretch) for stretch in state.intervals],
    }
    tensors = {
        name: tensor.detach().cpu().contiguous().numpy() for name, tensor in _tensors(state).items()
    }
    save_arrays(path, tensors, FORMAT, about)


def restore(path: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Bring `state`, freshly built, to where the checkpoint at `path` left off.

    Raises:
        RecognizerError: the file is damaged, or belongs to another run than `identity`.
    """
    arrays, about = load_arrays(path, FORMAT)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for key, value in identity.items():
        if about["identity"].get(key) != value:
            raise RecognizerError(
                f"{path}: belongs to a run that differs in {key}, expected the same to go on "
                "(only training.max_epochs may change)"
            )
    _restore_optimizer(state.optimizer, tensors)
    with torch.no_grad():
        for name, target in _tensors(state).items():
            if not name.startswith("optimizer."):
                target.copy_(tensors[name])
    state.step = about["step"]
    state.train_s = about["train_s"]
    state.history = [Epoch(**row) for row in about["history"]]
    state.intervals = [IntervalMetrics(**row) for row in about["stretches"]]


def _tensors(state: State) -> dict[str, Tensor]:
    """Name every tensor of the state; they share memory with it."""
    tensors = {"sums": state.sums}
    tensors |= {f"network.{name}": t for name, t in state.network.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{name}": t for name, t in state.average.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = value
    return tensors


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, kind = name.split(".")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                # Fused kernels walk weights and moments in memory order: the layouts must agree.
                tensor = torch.empty_like(parameter).copy_(tensor)  # noqa: PLW2901
            moments.setdefault(int(index), {})[kind] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


# A checkpoint within an epoch is due after this many seconds, or later where saving is slow:
# at most a twentieth of the time goes into it.
CHECKPOINT_INTERVAL_S = 10.0
CHECKPOINT_SHARE = 0.05


class RunWriter:
    """Keeps checkpoint, metrics and recognizer; without a folder, the recognizer in memory.

    Args:
        out: the run folder, made if need be; None keeps no files.
        recipe: of the run.
        train: the images that are learned.
        valid: the images held out, or None.
        teacher: whom the run learns from besides, or None.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(
        self,
        out: Path | None,
        recipe: Recipe,
        train: Dataset,
        valid: Dataset | None,
        teacher: Recognizer | None = None,
    ) -> None:
        self.folder = None if out is None else RunFolder(output_folder(out))
        self._recipe, self._train, self._valid = recipe, train, valid
        self._identity = {} if out is None else _identity(recipe, train, valid, teacher)
        self._in_memory: Recognizer | None = None
        self._saved_at, self._save_s = time.monotonic(), 0.0

    def restore(self, state: State, *, resume: bool) -> bool:
        """Bring `state` to where the folder's checkpoint left off; say whether there was one.

        Raises:
            OutputError: the folder holds a run, and `resume` is not wanted.
            RecognizerError: the checkpoint is damaged or of another run.
        """
        if self.folder is None:
            return False
        if not resume:
            self.folder.check_is_free()
        if not self.folder.checkpoint.exists():
            return False
        checkpoint.restore(self.folder.checkpoint, state, self._identity)
        self._write_metrics(state)  # a kill may have come between the two files
        return True

    def describe(self, device: Device, checks: Mapping[str, Any] | None) -> None:
        """Write what the run is made of: recipe, machine, data.

        Raises:
            RecognizerError: the folder holds what was made of something else.
        """
        if self.folder is None:
            return
        self._check_same(self.folder)
        valid = None if self._valid is None else _facts(self._valid)
        data = {"train": _facts(self._train), "valid": valid, "checks": checks}
        if path_exists(self.folder.recipe) and _choices(
            Recipe.load(self.folder.recipe)
        ) != _choices(self._recipe):
            self.folder.remove_stale_outputs()  # a longer run has others
        write_text(self.folder.recipe, self._recipe.to_toml())
        write_json(self.folder.environment, device.to_json())
        write_json(self.folder.data, data)

    def _check_same(self, folder: RunFolder) -> None:
        """Make sure that what is about to be replaced was made by the same choices, of the same."""
        if not (path_exists(folder.recognizer) or path_exists(folder.members)):
            return
        if path_exists(folder.recipe):
            before = Recipe.load(folder.recipe)
            if _fixed(before) != _fixed(self._recipe):
                raise RecognizerError(
                    f"{folder.path}: holds a run by another recipe, expected the one that it began "
                    "with (only training.max_epochs and the number of several members may change)"
                )
            if (before.ensemble.members == 1) != (self._recipe.ensemble.members == 1):
                raise RecognizerError(
                    f"{folder.path}: holds a run of {pluralize(before.ensemble.members, 'network')}, "
                    f"not {self._recipe.ensemble.members}: whether there are several is settled "
                    "when a run begins, expected another folder"
                )
        if path_exists(folder.data) and _learned(folder.data) != self._train.content_hash():
            raise RecognizerError(
                f"{folder.path}: holds a run that learned from other images than "
                f"{self._train.name}, expected the same to go on with it"
            )

    def keep(self, recognizer: Recognizer) -> None:
        """Hold on to `recognizer` as the one that the run leaves, so far."""
        if self.folder is None:
            self._in_memory = copy.deepcopy(recognizer)
            for member in self._in_memory.members:
                member.model.eval()  # as it is when it comes from a file
        else:
            recognizer.save(self.folder.recognizer)

    def kept(self) -> Recognizer:
        """Return the recognizer that was kept last."""
        if self.folder is not None:
            return Recognizer.load(self.folder.recognizer)
        assert self._in_memory is not None
        return self._in_memory

    def save(self, state: State) -> None:
        """Write the checkpoint, then the table of epochs made from it."""
        if self.folder is None:
            return
        started = time.monotonic()
        checkpoint.save(self.folder.checkpoint, state, self._identity)
        self._write_metrics(state)
        self._saved_at = time.monotonic()
        self._save_s = self._saved_at - started

    def is_save_due(self) -> bool:
        """Tell whether the last checkpoint is old enough for another within the epoch."""
        interval = max(CHECKPOINT_INTERVAL_S, self._save_s / CHECKPOINT_SHARE)
        return time.monotonic() - self._saved_at >= interval

    def _write_metrics(self, state: State) -> None:
        assert self.folder is not None
        for path, rows in (
            (self.folder.metrics, state.history),
            (self.folder.steps, state.intervals),
        ):
            write_text(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows))


def _choices(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude=METADATA_FIELDS)


def _fixed(recipe: Recipe) -> dict[str, Any]:
    """Return all choices that a run keeps when it goes on."""
    choices = _choices(recipe)
    del choices["training"]["max_epochs"], choices["ensemble"]["members"]
    return choices


def _learned(path: Path) -> str:
    """Return the fingerprint of the images that a run learned from.

    Raises:
        RecognizerError: the file does not tell it.
    """
    try:
        found: str = json.loads(path.read_text("utf-8"))["train"]["sha256"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RecognizerError(f"{path}: is damaged, expected what the run learned from") from error
    return found


def _identity(
    recipe: Recipe, train: Dataset, valid: Dataset | None, teacher: Recognizer | None
) -> dict[str, Any]:
    """Say what must be equal for a run to go on: all choices but the length, and the data."""
    choices = _choices(recipe)
    del choices["training"]["max_epochs"]
    return {
        "recipe": choices,
        "training data": train.content_hash(),
        "validation data": None if valid is None else valid.content_hash(),
        "teacher": None if teacher is None else teacher.content_hash(),
    }


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "images": len(dataset),
        "image_size": dataset.image_size,
        "classes": dataset.class_counts(),
        "sha256": dataset.content_hash(),
    }
