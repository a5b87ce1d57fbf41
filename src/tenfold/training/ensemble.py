"""Ensembles: several networks by one recipe, trained side by side.

Each member is a job (`tenfold.jobs`) with a run folder of its own. It holds out another fold, so
images of as many folds as there are members are judged by networks that never saw them: these
out-of-fold probabilities set the temperature and foretell the score.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.config import NetworkConfig
from tenfold.data.dataset import Dataset, load_dataset, save_dataset
from tenfold.device import Device
from tenfold.errors import RecipeError
from tenfold.files import write_json
from tenfold.formatting import pluralize
from tenfold.jobs import LOCAL, Emit, Executor, Job, JobCallback, run_jobs
from tenfold.jobs.job import MANIFEST
from tenfold.jobs.local import free_bytes
from tenfold.networks import build
from tenfold.predictions import Predictions
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback, JobReporter, StepProgress
from tenfold.training.checkpoint import CHECKPOINT_INTERVAL_S, RunWriter
from tenfold.training.train import HeldOutPredictions, TrainResult, fit_single

LABELLED, EXTRA = "labelled.safetensors", "extra.safetensors"


def train_ensemble(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    extra: Dataset | None,
    checks: Mapping[str, Any] | None,
    listener: Callback,
    executor: str | Executor = LOCAL,
) -> TrainResult:
    """Train the members in `folder` that are not trained yet, and average them; not calibrated yet.

    The arguments are those of `tenfold.training.train.learn`.
    """
    members = [recipe.member(index) for index in range(recipe.ensemble.members)]
    device = Device.detect(recipe.training.precision)
    _check_memory(members, labelled, recipe.name)
    RunWriter(folder.path, recipe, labelled, None).describe(device, checks)
    shared = {LABELLED: labelled} | ({} if extra is None else {EXTRA: extra})
    paths = [folder.members / name for name in shared]
    prints = {
        path.name: save_dataset(dataset, path)["sha256"]
        for path, dataset in zip(paths, shared.values(), strict=True)
    }
    jobs = [_job(member, index, len(members), prints) for index, member in enumerate(members)]
    progress = _Progress(jobs, members, listener)
    listener.note(f"training {len(jobs)} members on {device if executor == LOCAL else executor}")
    _tell_unused(folder, jobs, listener)
    stopwatch = _Stopwatch(folder.elapsed, _elapsed_s(folder, jobs))
    progress.stopwatch = stopwatch

    try:
        results = run_jobs(
            jobs,
            folder.members,
            executor=executor,
            input_files=paths,
            callback=progress,
            workers=device.workers,
        )
    finally:
        train_s = stopwatch.keep()
        listener.close()
    for path in paths:
        path.unlink(missing_ok=True)

    runs = [RunFolder(folder.members / job.id) for job in jobs]
    recognizer = _together(runs, results, recipe, labelled)
    recognizer.save(folder.recognizer)
    held_out = None
    if recipe.data.validation is not None:
        held_out = _out_of_fold(labelled, runs)
    return TrainResult(recognizer, held_out, runs[0].history(), train_s)


# Before the members


def _check_memory(members: Sequence[Recipe], labelled: Dataset, name: str) -> None:
    """Refuse an ensemble whose weights alone would not fit: it could be trained, never used.

    Raises:
        RecipeError: the weights of all members need more memory than is free.
    """

    def weigh(choice: NetworkConfig, size: int | None) -> int:
        size = size or labelled.image_size
        network = build(choice, image_size=size, n_classes=len(labelled.classes), seed=0)
        return sum(weight.numel() * weight.element_size() for weight in network.parameters())

    kinds = Counter((member.network, member.preprocessing.size) for member in members)
    needed = sum(count * weigh(*kind) for kind, count in kinds.items())
    free = free_bytes()
    if needed > free:
        problem = (
            f"ensemble.members is {len(members)}, whose weights need {needed / 2**30:.1f} GiB of "
            f"memory, and {free / 2**30:.1f} GiB are free; expected fewer or smaller members"
        )
        raise RecipeError(name, [problem])


def _tell_unused(folder: RunFolder, jobs: Sequence[Job], listener: Callback) -> None:
    """Say so where members of other lengths, or more of them, were trained before."""
    wanted = {job.id for job in jobs}
    others = {path.parent.name for path in folder.members.glob(f"*/{MANIFEST}")} - wanted
    if others:
        finished = pluralize(len(others), "finished member")
        listener.note(f"{finished} of other choices stay in {folder.members} and are not used")


def _elapsed_s(folder: RunFolder, jobs: Sequence[Job]) -> float:
    """Return the seconds that earlier sittings took."""
    if not any((folder.members / job.id).exists() for job in jobs):
        return 0.0  # they were spent on members of other choices
    try:
        return float(json.loads(folder.elapsed.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return 0.0


def _job(member: Recipe, index: int, count: int, data: Mapping[str, str]) -> Job:
    description = {"recipe": member.model_dump(mode="json", exclude=METADATA_FIELDS), "data": data}
    return Job("tenfold.training.ensemble:train_member", description, f"member {index + 1}/{count}")


# A member, in a process of its own


def train_member(description: Mapping[str, Any], folder: Path, emit: Emit) -> dict[str, Any]:
    """Train one member in `folder` and judge the images that it held out: a job.

    Args:
        description: "recipe" of one network, and "data", the fingerprints of the files of images
            that lie beside `folder`.
        folder: becomes a run folder; an unfinished run in it goes on.
        emit: is sent {"moment": ...} now and then.

    Returns:
        "correct" and "n" on the held-out images (0 of 0 if there are none), "epochs", "train_s".
    """
    recipe = Recipe.model_validate(description["recipe"])
    data = {
        name: load_dataset(folder.parent, {"file": name, "sha256": fingerprint})
        for name, fingerprint in description["data"].items()
    }
    run = RunFolder(folder)
    learned = fit_single(
        data[LABELLED], recipe, run, extra=data.get(EXTRA), listener=JobReporter(emit)
    )
    correct, n = 0, 0
    if learned.held_out is not None:
        held_out = learned.held_out
        said = held_out.probabilities.argmax(axis=1)
        correct, n = int((said == held_out.dataset.require_labels()).sum()), len(said)
        Predictions.from_probabilities(
            held_out.dataset, held_out.probabilities, indices=held_out.rows
        ).save(run.held_out)
    run.checkpoint.unlink(missing_ok=True)  # a finished member is never gone on with
    epochs = len(learned.history)
    return {"correct": correct, "n": n, "epochs": epochs, "train_s": learned.train_s}


# While they train


class _Stopwatch:
    """Counts the seconds of training over all sittings; one that is killed loses the last ten."""

    def __init__(self, path: Path, before_s: float) -> None:
        self._path, self._before_s = path, before_s
        self._started = self._kept_at = time.perf_counter()

    def glance(self) -> None:
        """Write them down, if that was not done for a while."""
        if time.perf_counter() - self._kept_at >= CHECKPOINT_INTERVAL_S:
            self.keep()

    def keep(self) -> float:
        """Write them down, and return them."""
        self._kept_at = time.perf_counter()
        seconds = self._before_s + self._kept_at - self._started
        write_json(self._path, seconds)
        return seconds


class _Progress(JobCallback):
    """What the processes of all members say, told as one training."""

    def __init__(self, jobs: Sequence[Job], members: Sequence[Recipe], listener: Callback) -> None:
        self._listener = listener
        self._epochs = {
            job: member.training.max_epochs for job, member in zip(jobs, members, strict=True)
        }
        self._passed = dict.fromkeys(jobs, 0.0)  # epochs, in fractions
        self._running: dict[Job, StepProgress] = {}
        self._done = 0
        self._started: float | None = None
        self._passed_before = 0.0
        self.stopwatch: _Stopwatch | None = None

    def on_job_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """Take what the process of `job` says."""
        self._move(job, StepProgress(**progress["moment"]))
        if self.stopwatch is not None:
            self.stopwatch.glance()

    def on_job_end(self, job: Job, result: Mapping[str, Any]) -> None:
        """Take the result of a member."""
        self._done += 1
        self._running.pop(job, None)
        if self._started is None:  # done before
            self._passed_before += self._epochs[job]
        self._passed[job] = self._epochs[job]
        score = f"{result['correct'] / result['n']:.4f} on its fold, " if result["n"] else ""
        self._listener.note(
            f"{job.name}: {score}{result['epochs']} epochs in {result['train_s']:.0f} s"
        )

    def _move(self, job: Job, moment: StepProgress) -> None:
        self._running[job] = moment
        if not self._passed[job]:  # what it had before was not made now
            self._passed_before += self._epochs[job] * moment.step / moment.total_steps
        self._passed[job] = self._epochs[job] * moment.step / moment.total_steps
        passed, total = sum(self._passed.values()), sum(self._epochs.values())
        if self._started is None:
            self._started = time.monotonic()
        rate = (passed - self._passed_before) / max(time.monotonic() - self._started, 1e-9)
        running = list(self._running.values())
        self._listener.moment(
            StepProgress(
                step=round(100 * passed),
                total_steps=100 * total,
                stage=f"{self._done} of {len(self._passed)} members done",
                accuracy=sum(one.accuracy for one in running) / len(running),
                images_per_s=sum(one.images_per_s for one in running),
                seconds_left=(total - passed) / rate if rate else None,
            )
        )


# After the members


def _together(
    runs: Sequence[RunFolder], results: Sequence[Any], recipe: Recipe, labelled: Dataset
) -> Recognizer:
    """Make one recognizer of the members' own."""
    alone = [Recognizer.load(run.path) for run in runs]
    return replace(
        alone[0],
        members=[recognizer.members[0] for recognizer in alone],
        provenance={
            "recipe": recipe.model_dump(mode="json"),
            "data": labelled.name,
            "epoch": alone[0].provenance["epoch"],
            "members": results,
        },
    )


def _out_of_fold(labelled: Dataset, runs: Sequence[RunFolder]) -> HeldOutPredictions:
    """Gather what each member said of the images that it had held out."""
    sums = np.zeros((len(labelled), len(labelled.classes)))
    votes = np.zeros(len(labelled), np.int64)
    for run in runs:
        answers = Predictions.load(run.held_out)
        sums[answers.indices] += answers.probabilities
        votes[answers.indices] += 1
    rows = np.flatnonzero(votes)
    mean = (sums[rows] / votes[rows, None]).astype(np.float32)
    return HeldOutPredictions(labelled.select(rows, f"{labelled.name} (out of fold)"), rows, mean)
