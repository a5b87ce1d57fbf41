"""The run folder as training fills it, so that a kill at any moment loses next to nothing."""

import copy
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tenfold.data.dataset import Dataset
from tenfold.errors import RecognizerError
from tenfold.files import RunFolder, is_there, output_folder, write_json, write_text
from tenfold.machine import Machine
from tenfold.recipe import ABOUT, Recipe
from tenfold.recognizer import Recognizer
from tenfold.training import checkpoint
from tenfold.training.checkpoint import State
from tenfold.wording import counted

# A checkpoint within an epoch is due after this many seconds, or later where saving is slow:
# at most a twentieth of the time goes into it.
CHECKPOINT_INTERVAL_S = 10.0
CHECKPOINT_SHARE = 0.05


class Archive:
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

    def describe(self, machine: Machine, checks: Mapping[str, Any] | None) -> None:
        """Write what the run is made of: recipe, machine, data.

        Raises:
            RecognizerError: the folder holds what was made of something else.
        """
        if self.folder is None:
            return
        self._check_same(self.folder)
        valid = None if self._valid is None else _facts(self._valid)
        data = {"train": _facts(self._train), "valid": valid, "checks": checks}
        if is_there(self.folder.recipe) and _choices(Recipe.load(self.folder.recipe)) != _choices(
            self._recipe
        ):
            self.folder.forget_answers()  # a longer run has others
        write_text(self.folder.recipe, self._recipe.to_toml())
        write_json(self.folder.environment, machine.to_json())
        write_json(self.folder.data, data)

    def _check_same(self, folder: RunFolder) -> None:
        """Make sure that what is about to be replaced was made by the same choices, of the same."""
        if not (is_there(folder.recognizer) or is_there(folder.members)):
            return
        if is_there(folder.recipe):
            before = Recipe.load(folder.recipe)
            if _fixed(before) != _fixed(self._recipe):
                raise RecognizerError(
                    f"{folder.path}: holds a run by another recipe, expected the one that it began "
                    "with (only training.max_epochs and the number of several members may change)"
                )
            if (before.ensemble.members == 1) != (self._recipe.ensemble.members == 1):
                raise RecognizerError(
                    f"{folder.path}: holds a run of {counted(before.ensemble.members, 'network')}, "
                    f"not {self._recipe.ensemble.members}: whether there are several is settled "
                    "when a run begins, expected another folder"
                )
        if is_there(folder.data) and _learned(folder.data) != self._train.fingerprint():
            raise RecognizerError(
                f"{folder.path}: holds a run that learned from other images than "
                f"{self._train.name}, expected the same to go on with it"
            )

    def keep(self, recognizer: Recognizer) -> None:
        """Hold on to `recognizer` as the one that the run leaves, so far."""
        if self.folder is None:
            self._in_memory = copy.deepcopy(recognizer)
            for member in self._in_memory.members:
                member.network.eval()  # as it is when it comes from a file
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
            (self.folder.steps, state.stretches),
        ):
            write_text(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows))


def _choices(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude=ABOUT)


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
        "training data": train.fingerprint(),
        "validation data": None if valid is None else valid.fingerprint(),
        "teacher": None if teacher is None else teacher.fingerprint(),
    }


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "images": len(dataset),
        "image_size": dataset.image_size,
        "classes": dataset.class_counts(),
        "sha256": dataset.fingerprint(),
    }
