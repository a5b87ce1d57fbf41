"""Predictions for a file of any length: read, predicted and written in chunks, in bounded memory.

The next chunk is read while the last one is predicted. On a cluster, shards of the file are jobs.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.artifact import load_artifact
from tenfold.classifier import Classifier
from tenfold.data.checks import polarity_problem
from tenfold.data.dataset import Dataset
from tenfold.data.request import ReadOptions
from tenfold.data.streaming import NO_OPTIONS, Shard, chunks, split_file
from tenfold.data.submission import (
    KAGGLE_FORM,
    SubmissionForm,
    check_submission_name,
    submission_writer,
)
from tenfold.errors import DataError, OutputError
from tenfold.files import cleanup_on_error, output_folder, path_exists, save_arrays
from tenfold.formatting import ProgressLogger
from tenfold.jobs import LOCAL, Emit, Executor, Job, JobCallback, get_executor, run_jobs
from tenfold.models import load, model_file

FORMAT = "tenfold-shard-predictions-2"
PREDICTIONS = "predictions.safetensors"
ARRAYS = {"predicted": "int64 [N]", "confidence": "float32 [N]"}
PREDICT_SHARD = "tenfold.predict:predict_shard"
MAX_SHARDS = 64  # a lost node costs little, and a shard is worth the start of a process

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChunkPredictions:
    """Predictions for consecutive images.

    Attributes:
        predicted: int64 [N], indices into the classes.
        confidence: float32 [N], the probability of each.
    """

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]

    @classmethod
    def concat(cls, chunks: Sequence["ChunkPredictions"]) -> "ChunkPredictions":
        """Join chunks in their order; none at all give N = 0."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(chunk.predicted for chunk in chunks)]),
            np.concatenate([np.empty(0, np.float32), *(chunk.confidence for chunk in chunks)]),
        )


def predict_file(
    model: Path | None,
    source: Path,
    out: Path | None,
    *,
    executor: str | Executor = LOCAL,
    options: ReadOptions = NO_OPTIONS,
    form: SubmissionForm = KAGGLE_FORM,
) -> tuple[Classifier, ChunkPredictions]:
    """Predict every image in `source`, and write the submission `out` if one is wanted.

    Args:
        model: a run folder, a recognizer's file, or an exported one; None is the model in the box.
        source: a file or folder of any format, or "-" for standard input; of any length.
        out: the submission; gzip if it ends in .gz.
        executor: "local" predicts in this process; any other executor of `tenfold.jobs.run_jobs`
            gets shards of the file as jobs, and on a cluster every node must find the file under
            the same path.
        options: how to read it.
        form: what the submission looks like.

    Raises:
        RecognizerError: there is no such recognizer, or it is damaged.
        DataError: something in the file is not as it should be; nothing is written then.
        OutputError: the submission cannot be written, or would replace what is read.
        JobError: a shard failed, or its executor does not exist or cannot be reached.
    """
    get_executor(executor)
    if out is not None:
        check_submission_name(out)
        _check_is_not_read(out, source, model_file(model))
    recognizer = load(model)
    if executor == LOCAL:
        log = ProgressLogger(logger, "images")
        datasets = warn_of_polarity(chunks(source, options=options), recognizer)
        results = _predict_chunks(recognizer, datasets, log)
    else:
        results = _predict_shards(model, source, out, executor, options)
    found: list[ChunkPredictions] = []
    with ExitStack() as stack:
        write = None
        if out is not None:
            stack.enter_context(cleanup_on_error(out))
            write = stack.enter_context(submission_writer(out, form))
        for chunk in results:
            found.append(chunk)
            if write is not None:
                write(recognizer.decode_labels(chunk.predicted))
        if not found:
            raise DataError(f"{source}: has a header and no rows, expected a row for each image")
    return recognizer, ChunkPredictions.concat(found)


def warn_of_polarity(datasets: Iterator[Dataset], recognizer: Classifier) -> Iterator[Dataset]:
    """Yield the datasets; warn if the ink of the first is dark where bright ink was learned."""
    for number, dataset in enumerate(datasets):
        problem = polarity_problem(dataset, bright_ink=recognizer.bright_ink)
        if number == 0 and problem is not None:
            logger.warning("%s", problem)
        yield dataset


def _check_is_not_read(out: Path, *inputs: Path) -> None:
    """Make sure that the submission does not replace what it is made from."""
    for path in inputs:
        if path_exists(out) and path_exists(path) and out.samefile(path):
            raise OutputError(
                f"{out}: is the very file that is read, expected another name for the submission"
            )


def _predict_chunks(
    recognizer: Classifier, datasets: Iterator[Dataset], log: ProgressLogger | None = None
) -> Iterator[ChunkPredictions]:
    """Predict one dataset after the other; `log` counts the images of all."""
    predictor = recognizer.predictor()
    n_before = 0
    for dataset in _prefetch(datasets):

        def on_progress(done: int, _total: int, n_before: int = n_before) -> None:
            if log is not None:
                log(n_before + done)

        probabilities = predictor.predict_proba(dataset, on_progress=on_progress)
        n_before += len(dataset)
        yield ChunkPredictions(probabilities.argmax(axis=1), probabilities.max(axis=1))


def _prefetch(datasets: Iterator[Dataset]) -> Iterator[Dataset]:
    """Yield what `datasets` yields, with the next one being read already."""
    with ThreadPoolExecutor(1) as reader:
        upcoming = reader.submit(next, datasets, None)
        while (dataset := upcoming.result()) is not None:
            upcoming = reader.submit(next, datasets, None)
            yield dataset


# Shards, as jobs


class _ShardProgress(JobCallback):
    """Logs how many shards are done."""

    def __init__(self, n_shards: int) -> None:
        self._log, self._done, self._n_shards = ProgressLogger(logger, "shards"), 0, n_shards

    def on_job_end(self, job: Job, result: Any) -> None:
        self._done += 1
        self._log(self._done, self._n_shards)


def _predict_shards(
    model: Path | None,
    source: Path,
    out: Path | None,
    executor: str | Executor,
    options: ReadOptions,
) -> Iterator[ChunkPredictions]:
    """Predict shards of the file as jobs, and yield the predictions in order."""
    shards = split_file(source, MAX_SHARDS)
    if not shards:
        raise DataError(f"{source}: has no rows, expected a row for each image")
    recognizer_file = model_file(model)
    stat = source.stat()
    shared = {
        "source": str(source.resolve()),
        "bytes": stat.st_size,
        "modified": stat.st_mtime_ns,
        "model": f"model{recognizer_file.suffix}",
        "model_sha256": hashlib.sha256(recognizer_file.read_bytes()).hexdigest(),
        "options": asdict(options),
    }
    # A subfolder named by its content: whatever else is in the outer folder is left alone.
    identity = Job(PREDICT_SHARD, shared).id
    folder = output_folder((out or Path("submission.csv")).with_suffix(".shards") / identity)
    shared_model = folder / str(shared["model"])
    shutil.copyfile(recognizer_file, shared_model)
    jobs = [
        Job(
            PREDICT_SHARD,
            {**shared, "start": shard.start, "end": shard.end},
            f"shard {index + 1} of {len(shards)}",
        )
        for index, shard in enumerate(shards)
    ]
    try:
        run_jobs(
            jobs,
            folder,
            executor=executor,
            input_files=[shared_model],
            callback=_ShardProgress(len(jobs)),
        )
    finally:
        if not any(job.is_done(folder) for job in jobs):  # else the same command resumes from here
            _remove(folder)
    for job in jobs:
        arrays, _ = load_artifact(folder / job.id / PREDICTIONS, FORMAT, arrays=ARRAYS)
        yield ChunkPredictions(**arrays)
    _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the folder of the jobs, and the one around it unless something else is in it."""
    shutil.rmtree(folder)
    with suppress(OSError):
        folder.parent.rmdir()


def predict_shard(description: Mapping[str, Any], folder: Path, emit: Emit) -> dict[str, Any]:
    """Predict one shard of a file: a job.

    Args:
        description: "source", its "bytes" and its time "modified" in nanoseconds, "start" and
            "end" of a `Shard`, the "options" of reading, and the file "model" beside `folder`,
            with its "model_sha256".
        folder: gets the predictions.
        emit: is not called.

    Returns:
        "n", the number of images.
    """
    del emit
    source = Path(description["source"])
    if not source.is_file() or source.stat().st_size != description["bytes"]:
        raise DataError(
            f"{source}: is not here, or another file, expected the same one on every node"
        )
    recognizer = load(folder.parent / description["model"])
    shard = Shard(description["start"], description["end"])
    datasets = warn_of_polarity(
        chunks(source, shard, ReadOptions(**description["options"])), recognizer
    )
    found = ChunkPredictions.concat(list(_predict_chunks(recognizer, datasets)))
    save_arrays(folder / PREDICTIONS, vars(found), FORMAT, {})
    return {"n": len(found.predicted)}
