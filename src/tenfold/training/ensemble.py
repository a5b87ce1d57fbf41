"""Ensembles: several networks by one recipe, trained in parallel.

Each member is a job (`tenfold.jobs`) with a run folder of its own. It holds out another fold, so
images of as many folds as there are members are predicted by networks that were not trained on
them: these out-of-fold probabilities set the temperature and estimate the score.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from tenfold.jobs import LOCAL, Job, JobCallback, run_jobs
from tenfold.jobs.job import MANIFEST
from tenfold.machine import free_bytes
from tenfold.networks import build
from tenfold.predictions import Predictions
from tenfold.recipe import METADATA_FIELDS, Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import (
    Callback,
    CallbackList,
    EpochMetrics,
    IntervalMetrics,
    JobReporter,
    StepProgress,
)
from tenfold.training.checkpoint import CHECKPOINT_INTERVAL_S, RunIdentity, write_metadata
from tenfold.training.loop import TrainResult, fit_single

logger = logging.getLogger(__name__)

LABELLED, PSEUDO_LABELLED = "labelled.safetensors", "pseudo-labelled.safetensors"


def train_ensemble(
    labelled: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    *,
    pseudo_labelled: Dataset | None = None,
    checks: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    executor: str = LOCAL,
) -> TrainResult:
    """Train the members in `folder` that are not trained yet, and average them.

    The arguments and errors are those of `tenfold.training.train.train`; the result is not
    calibrated yet.
    """
    members = [recipe.member(index) for index in range(recipe.ensemble.members)]
    device = Device.detect(recipe.training.precision)
    _check_memory(members, labelled, recipe.name)
    identity = RunIdentity.of(recipe, labelled)
    identity.check(folder)
    write_metadata(folder, recipe, identity, device, checks)
    datasets = {LABELLED: labelled}
    if pseudo_labelled is not None:
        datasets[PSEUDO_LABELLED] = pseudo_labelled
    references = [
        save_dataset(dataset, folder.members / name) for name, dataset in datasets.items()
    ]
    jobs = [_job(member, index, references, len(members)) for index, member in enumerate(members)]
    where = device if executor == LOCAL else executor
    logger.info("training %d members on %s", len(jobs), where)
    _log_unused(folder, jobs)

    hooks, stopwatch = CallbackList(callbacks), _Stopwatch(folder, jobs)
    progress = _EnsembleProgress(jobs, members, hooks, stopwatch.tick)
    input_files = [folder.members / name for name in datasets]
    try:
        results = run_jobs(
            jobs,
            folder.members,
            executor=executor,
            input_files=input_files,
            callback=progress,
            workers=device.workers,
        )
    finally:
        train_s = stopwatch.save()
        hooks.teardown()
    for path in input_files:
        path.unlink(missing_ok=True)

    runs = [RunFolder(folder.members / job.id) for job in jobs]
    recognizer = _combine_members(runs, results, recipe, labelled)
    validation = _out_of_fold(labelled, runs) if recipe.data.validation is not None else None
    history = [EpochMetrics(**row) for row in runs[0].history()]
    return TrainResult(recognizer, validation, history, train_s)


# Before the members train


def _check_memory(members: Sequence[Recipe], labelled: Dataset, name: str) -> None:
    """Refuse an ensemble whose weights alone would not fit: it could be trained, never used.

    Raises:
        RecipeError: the weights of all members need more memory than is free.
    """

    def count_bytes(config: NetworkConfig, size: int | None) -> int:
        size = size or labelled.image_size
        model = build(config, image_size=size, n_classes=len(labelled.classes), seed=0)
        return sum(weight.numel() * weight.element_size() for weight in model.parameters())

    networks = Counter((member.network, member.preprocessing.size) for member in members)
    needed = sum(count * count_bytes(*network) for network, count in networks.items())
    free = free_bytes()
    if needed > free:
        problem = (
            f"ensemble.members is {len(members)}, whose weights need {needed / 2**30:.1f} GiB of "
            f"memory, and {free / 2**30:.1f} GiB are free; expected fewer or smaller members"
        )
        raise RecipeError(name, [problem])


def _job(member: Recipe, index: int, datasets: Sequence[Mapping[str, str]], count: int) -> Job:
    description = {
        "recipe": member.model_dump(mode="json", exclude=METADATA_FIELDS),
        "datasets": list(datasets),
    }
    return Job("tenfold.training.ensemble:train_member", description, f"member {index + 1}/{count}")


def _log_unused(folder: RunFolder, jobs: Sequence[Job]) -> None:
    """Mention members of another length, or more of them, that were trained before."""
    wanted = {job.id for job in jobs}
    others = {path.parent.name for path in folder.members.glob(f"*/{MANIFEST}")} - wanted
    if others:
        finished = pluralize(len(others), "finished member")
        logger.info("%s of other recipes stay in %s and are not used", finished, folder.members)


# One member, in a process of its own


def train_member(
    description: Mapping[str, Any], folder: Path, emit: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    """Train one member in `folder` and predict the images that it holds out: a job.

    Args:
        description: "recipe" of one network, and "datasets": references to the labelled images
            and, if there are any, to the pseudo-labelled ones, whose files lie beside `folder`.
        folder: becomes a run folder; an unfinished run in it is resumed.
        emit: is sent {"step_progress": …} now and then.

    Returns:
        "correct" and "n" on the held-out images (0 of 0 if there are none), "epochs", "train_s".
    """
    recipe = Recipe.model_validate(description["recipe"])
    labelled, *rest = (
        load_dataset(folder.parent, reference) for reference in description["datasets"]
    )
    run = RunFolder(folder)
    result = fit_single(
        labelled,
        recipe,
        run,
        pseudo_labelled=rest[0] if rest else None,
        callbacks=[JobReporter(emit)],
    )
    result.recognizer.save(run.recognizer)
    correct, n = 0, 0
    if result.validation is not None:
        result.validation.save(run.validation)
        correct = int((result.validation.predicted == result.validation.labels).sum())
        n = len(result.validation)
    run.checkpoint.unlink(missing_ok=True)  # a finished member is never resumed
    epochs = len(result.history)
    return {"correct": correct, "n": n, "epochs": epochs, "train_s": result.train_s}


# While they train


class _Stopwatch:
    """Counts the seconds of training over all sessions; one that is killed loses the last ten."""

    def __init__(self, folder: RunFolder, jobs: Sequence[Job]) -> None:
        self._path = folder.elapsed
        self._before_s = 0.0
        if any((folder.members / job.id).exists() for job in jobs):
            self._before_s = self._read()  # else they were spent on members of other recipes
        self._started = self._saved_at = time.perf_counter()

    def _read(self) -> float:
        try:
            return float(json.loads(self._path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return 0.0

    def tick(self) -> None:
        """Save, if that was not done for a while."""
        if time.perf_counter() - self._saved_at >= CHECKPOINT_INTERVAL_S:
            self.save()

    def save(self) -> float:
        """Write the seconds down, and return them."""
        self._saved_at = time.perf_counter()
        seconds = self._before_s + self._saved_at - self._started
        write_json(self._path, seconds)
        return seconds


class _EnsembleProgress(JobCallback):
    """The progress of all members, shown as that of one training.

    All members are weighted equally, by the fraction of their steps that is done.

    Args:
        jobs, members: in order.
        hooks: are called as by one network.
        tick: is called at each event.
    """

    history: Sequence[EpochMetrics] = ()
    intervals: Sequence[IntervalMetrics] = ()

    def __init__(
        self,
        jobs: Sequence[Job],
        members: Sequence[Recipe],
        hooks: Callback,
        tick: Callable[[], None],
    ) -> None:
        self._hooks, self._tick = hooks, tick
        epochs = (member.training.max_epochs for member in members)
        self._epochs = dict(zip(jobs, epochs, strict=True))
        self._running: dict[Job, StepProgress] = {}
        self._finished: set[Job] = set()
        self._started: float | None = None
        self._resumed: dict[Job, float] = {}  # epochs that were done before this process

    @property
    def max_epochs(self) -> int:
        """How many epochs all members together are planned to train."""
        return sum(self._epochs.values())

    def on_job_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """A member has taken some steps."""
        self._running[job] = StepProgress(**progress["step_progress"])
        self._resumed.setdefault(job, self._epochs_done(job))
        if self._started is None:
            self._started = time.monotonic()
        self._hooks.on_step_end(self)
        self._tick()

    def on_job_end(self, job: Job, result: Any) -> None:
        """A member is trained, now or before."""
        self._finished.add(job)
        self._running.pop(job, None)
        if self._started is None:
            self._resumed[job] = self._epochs[job]
        accuracy = f"{result['correct'] / result['n']:.4f} on its fold, " if result["n"] else ""
        epochs, seconds = result["epochs"], result["train_s"]
        logger.info("%s: %s%d epochs in %.0f s", job.name, accuracy, epochs, seconds)
        self._tick()

    def progress(self) -> StepProgress:
        """Return the progress of all members together, in hundredths of epochs."""
        done = sum(map(self._epochs_done, self._epochs))
        trained = done - sum(self._resumed.values())
        elapsed_s = time.monotonic() - (self._started or 0.0)
        running = list(self._running.values())
        return StepProgress(
            step=round(100 * done),
            total_steps=100 * self.max_epochs,
            phase=f"{len(self._finished)} of {len(self._epochs)} members done",
            accuracy=sum(each.accuracy for each in running) / len(running),
            images_per_s=sum(each.images_per_s for each in running),
            eta_s=(self.max_epochs - done) * elapsed_s / trained if trained > 0 else None,
        )

    def _epochs_done(self, job: Job) -> float:
        if job in self._finished:
            return self._epochs[job]
        if (progress := self._running.get(job)) is None:
            return 0.0
        return self._epochs[job] * progress.step / progress.total_steps


# After the members are trained


def _combine_members(
    runs: Sequence[RunFolder], results: Sequence[Any], recipe: Recipe, labelled: Dataset
) -> Recognizer:
    """Make one recognizer of the members' own."""
    members = [Recognizer.load(run.path) for run in runs]
    return replace(
        members[0],
        members=[recognizer.members[0] for recognizer in members],
        provenance={
            "recipe": recipe.model_dump(mode="json"),
            "data": labelled.name,
            "epoch": members[0].provenance.get("epoch"),
            "members": results,
        },
    )


def _out_of_fold(labelled: Dataset, runs: Sequence[RunFolder]) -> Predictions:
    """Gather what each member predicts for the images that it held out.

    An image that several members held out gets the mean of their probabilities, which are far
    fewer than all.
    """
    sums = np.zeros((len(labelled), len(labelled.classes)))
    counts = np.zeros(len(labelled), np.int64)
    for run in runs:
        member = Predictions.load(run.validation)
        sums[member.indices] += member.probabilities
        counts[member.indices] += 1
    rows = np.flatnonzero(counts)
    mean = (sums[rows] / counts[rows, None]).astype(np.float32)
    return Predictions.from_probabilities(
        labelled.select(rows, f"{labelled.name} (out of fold)"),
        mean,
        indices=rows,
        dataset_sha256=labelled.content_hash(),
    )
