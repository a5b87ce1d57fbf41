"""The run folder while training fills it: checkpoints, the best model, and whose run it is.

save_checkpoint, load_checkpoint   the state of training, to disk and back
Checkpoint     a callback that saves the state
BestModel      a callback that keeps the recognizer of the best epoch
RunIdentity    what must be equal for a run to be resumed
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import create_model, model_validator
from torch import Tensor

from tenfold.artifact import (
    ArtifactSchema,
    Count,
    Seconds,
    check_arrays,
    load_artifact,
    parse_json,
    read_text,
    refusing,
    validate_artifact,
)
from tenfold.data.dataset import Dataset
from tenfold.device import Device
from tenfold.errors import RecognizerError
from tenfold.files import (
    output_folder,
    path_exists,
    save_arrays,
    write_json,
    write_text,
)
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.recognizer import Recognizer
from tenfold.recognizer_file import tensor_spec
from tenfold.run_folder import RUN_FORMAT, RunFolder
from tenfold.training.callbacks import (
    Callback,
    EpochMetrics,
    IntervalMetrics,
    TrainingProgress,
)
from tenfold.training.optimizers import parameters_of
from tenfold.training.state import TrainState

FORMAT = "tenfold-checkpoint-3"
# A checkpoint within an epoch is due after this many seconds, or later where saving is slow:
# at most a twentieth of the time goes into it.
CHECKPOINT_INTERVAL_S = 10.0
MAX_CHECKPOINT_FRACTION = 0.05
# What the optimizers keep of each weight, in its shape, besides the number of its steps.
MOMENTS = ("exp_avg", "exp_avg_sq", "momentum", "momentum_buffer", "square_avg")


class _Row(ArtifactSchema, extra="forbid", allow_inf_nan=True):
    """Metrics; a loss may overflow in the steps before training is given up."""


def _schema_of(row: type) -> type[_Row]:
    """Return the schema of a dataclass of metrics."""
    names: dict[str, Any] = {each.name: (each.type, ...) for each in fields(row)}
    return create_model(row.__name__, __base__=_Row, **names)


EPOCH_ROW, INTERVAL_ROW = _schema_of(EpochMetrics), _schema_of(IntervalMetrics)


class CheckpointFile(ArtifactSchema):
    """The description in a checkpoint."""

    step: Count
    train_s: Seconds
    history: list[dict[str, Any]]
    intervals: list[dict[str, Any]]

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        for rows, schema in ((self.history, EPOCH_ROW), (self.intervals, INTERVAL_ROW)):
            for row in rows:
                validate_artifact(row, schema)
        return self


def save_checkpoint(path: Path, state: TrainState) -> None:
    """Write `state` whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = state.tensors()
    for index, moments in state.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = value
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    metadata = {
        "step": state.step,
        "train_s": state.train_s,
        "history": [asdict(epoch) for epoch in state.history],
        "intervals": [asdict(interval) for interval in state.intervals],
    }
    save_arrays(path, arrays, FORMAT, metadata)


def load_checkpoint(path: Path, state: TrainState) -> None:
    """Bring `state`, freshly built, to where the checkpoint at `path` left off.

    Raises:
        RecognizerError: the file is damaged, or of another network.
    """
    arrays, metadata = load_artifact(path, FORMAT, CheckpointFile)
    targets = state.tensors()
    with refusing(path):
        check_arrays(arrays, _specs(targets, state.optimizer), {})
        _check_progress(metadata, state)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        _load_optimizer(state.optimizer, tensors)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])
    state.step = metadata["step"]
    state.train_s = metadata["train_s"]
    state.history = [EpochMetrics(**row) for row in metadata["history"]]
    state.intervals = [IntervalMetrics(**row) for row in metadata["intervals"]]


def _specs(targets: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """Return dtype and shape of every tensor in a checkpoint, as for `check_arrays`."""
    specs = {name: tensor_spec(tensor) for name, tensor in targets.items()}
    for index, parameter in enumerate(parameters_of(optimizer)):
        specs |= {f"optimizer.{index}.{name}?": tensor_spec(parameter) for name in MOMENTS}
        specs[f"optimizer.{index}.step?"] = "float32 []"
    return specs


def _check_progress(metadata: Mapping[str, Any], state: TrainState) -> None:
    """Make sure that the epochs are counted as the steps are.

    Raises:
        ValueError: they are not.
    """
    step, epochs = metadata["step"], [row["epoch"] for row in metadata["history"]]
    done = len(epochs) * state.loader.steps_per_epoch
    if epochs != list(range(1, len(epochs) + 1)) or not 0 <= step - done <= (
        state.loader.steps_per_epoch
    ):
        raise ValueError(f"step {step} does not follow {len(epochs)} epochs")


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = parameters_of(optimizer)
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


class Checkpoint(Callback):
    """Saves the state after each epoch, every few seconds in between, and on an interrupt.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.checkpoint
        self._saved_at, self._save_s = time.monotonic(), 0.0

    def on_step_end(self, state: TrainingProgress) -> None:
        """Save if the last checkpoint is old enough; this is not counted as training time."""
        interval_s = max(CHECKPOINT_INTERVAL_S, self._save_s / MAX_CHECKPOINT_FRACTION)
        if time.monotonic() - self._saved_at >= interval_s:
            assert isinstance(state, TrainState)
            state.lap()
            self._save(state)
            state.start_clock()

    def on_epoch_end(self, state: TrainState) -> None:
        """Save."""
        self._save(state)

    def on_interrupt(self, state: TrainState) -> None:
        """Save."""
        self._save(state)

    def _save(self, state: TrainState) -> None:
        started = time.monotonic()
        save_checkpoint(self._path, state)
        self._saved_at = time.monotonic()
        self._save_s = self._saved_at - started


class BestModel(Callback):
    """Keeps the recognizer that training returns: of the best epoch, or of the last.

    After each epoch the run folder holds the one that is kept so far, without a temperature, for
    those who want to use it before training ends and for a process that resumes.

    Args:
        folder: the run folder; None keeps it in memory alone.
    """

    def __init__(self, folder: RunFolder | None) -> None:
        self._folder = folder
        self._best: Recognizer | None = None

    def on_epoch_end(self, state: TrainState) -> None:
        """Keep the recognizer of this epoch, if it is the last one or the best so far."""
        if state.best_epoch() != state.epoch:
            return
        recognizer = state.recognizer()
        if state.recipe.training.checkpoint_selection == "best":
            self._best = _copy(recognizer)  # of the last one, the state has a copy
        if self._folder is not None:
            recognizer.save(self._folder.recognizer)

    def result(self, state: TrainState) -> Recognizer:
        """Return the recognizer that is kept, in evaluation mode; it has no temperature yet."""
        if self._best is not None:
            return self._best
        if state.recipe.training.checkpoint_selection == "last" or self._folder is None:
            return _copy(state.recognizer())
        # Of a process before this one, which may have calibrated it.
        return replace(Recognizer.load(self._folder.recognizer), temperature=1.0)


def _copy(recognizer: Recognizer) -> Recognizer:
    """Return a copy that training does not change any more, as it would come from its file."""
    copied = copy.deepcopy(recognizer)
    for member in copied.members:
        member.model.eval()
    return copied


@dataclass(frozen=True)
class RunIdentity:
    """What must be equal for a run to be resumed.

    Attributes:
        recipe: every choice but the length and the number of members, as JSON values.
        is_ensemble: whether it trains several networks.
        train: facts of the training set: name, size, classes and "sha256", its content hash.
        valid: those of the validation set; None without.
        teacher_sha256: of the weights of the teacher; None without.
    """

    recipe: Mapping[str, Any]
    is_ensemble: bool
    train: Mapping[str, Any]
    valid: Mapping[str, Any] | None
    teacher_sha256: str | None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        train_set: Dataset,
        valid_set: Dataset | None = None,
        teacher: Recognizer | None = None,
    ) -> "RunIdentity":
        """Describe the run that is about to begin or to be resumed."""
        return cls(
            recipe=_fixed_fields(recipe),
            is_ensemble=recipe.ensemble.members > 1,
            train=_facts(train_set),
            valid=None if valid_set is None else _facts(valid_set),
            teacher_sha256=None if teacher is None else teacher.content_hash(),
        )

    @classmethod
    def read(cls, folder: RunFolder) -> "RunIdentity":
        """Read what identifies the run in `folder`.

        Raises:
            RecognizerError: a file is missing or damaged.
            RecipeError: the recipe is damaged.
        """
        recipe = Recipe.load(folder.recipe)
        try:
            data = parse_json(read_text(folder.data))
            data["train"]["sha256"], data["valid"] and data["valid"]["sha256"]
            return cls(
                recipe=_fixed_fields(recipe),
                is_ensemble=recipe.ensemble.members > 1,
                train=data["train"],
                valid=data["valid"],
                teacher_sha256=data["teacher_sha256"],
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RecognizerError(
                f"{folder.data}: is missing or damaged, expected what the run was trained on"
            ) from error

    def check(self, folder: RunFolder) -> None:
        """Make sure that what was trained in `folder`, if anything, is this run.

        Raises:
            RecognizerError: it is another one, of another version of tenfold, or damaged.
        """
        folder.check_format()
        trained = (folder.checkpoint, folder.recognizer, folder.members)
        if not any(map(path_exists, trained)):
            return
        if not path_exists(folder.recipe):
            raise RecognizerError(
                f"{folder.recipe}: is missing, expected the recipe that this run was trained by"
            )
        before = RunIdentity.read(folder)
        if before.is_ensemble != self.is_ensemble:
            found, wanted = (
                "several networks" if each.is_ensemble else "one network" for each in (before, self)
            )
            raise RecognizerError(
                f"{folder.path}: holds a run of {found}, and {wanted} cannot resume it; expected "
                "another folder"
            )
        for name, one, other in (
            ("recipe", before.recipe, self.recipe),
            ("training data", before.train["sha256"], self.train["sha256"]),
            ("validation data", _sha256(before.valid), _sha256(self.valid)),
            ("teacher", before.teacher_sha256, self.teacher_sha256),
        ):
            if one != other:
                raise RecognizerError(
                    f"{folder.path}: holds a run that differs in {name}, expected the same to "
                    "resume it (only training.max_epochs and the number of several members may "
                    "change), or another folder"
                )


def write_metadata(
    folder: RunFolder,
    recipe: Recipe,
    identity: RunIdentity,
    device: Device,
    checks: Mapping[str, Any] | None,
) -> None:
    """Write what the run is made of: recipe, environment, data.

    What a shorter run left of predictions and reports is removed: they would not fit any more.

    Args:
        folder: made if need be.
        recipe: every choice.
        identity: of the run; what is in the folder has passed its `check`.
        device: where it computes.
        checks: what the checks of the data found.

    Raises:
        OutputError: a file cannot be written.
    """
    output_folder(folder.path)
    if path_exists(folder.recipe) and _choices(Recipe.load(folder.recipe)) != _choices(recipe):
        folder.remove_stale_outputs()
    write_text(folder.recipe, recipe.to_toml())
    write_json(folder.environment, {"format": RUN_FORMAT, **device.to_json()})
    data = {"train": identity.train, "valid": identity.valid, "checks": checks}
    write_json(folder.data, {**data, "teacher_sha256": identity.teacher_sha256})


def _choices(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude=METADATA_FIELDS)


def _fixed_fields(recipe: Recipe) -> dict[str, Any]:
    """Return all choices that a run keeps when it is resumed."""
    choices = _choices(recipe)
    del choices["training"]["max_epochs"], choices["ensemble"]["members"]
    return choices


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "images": len(dataset),
        "image_size": dataset.image_size,
        "classes": dataset.class_counts(),
        "sha256": dataset.content_hash(),
    }


def _sha256(facts: Mapping[str, Any] | None) -> Any:
    return None if facts is None else facts["sha256"]
