"""Answers to a file of any length: read in pieces, answered, written; in bounded memory.

The next piece is read while the last one is answered. On a cluster, parts of the file are jobs.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset
from tenfold.data.streaming import WHOLE, Part, chunks, parts
from tenfold.data.submission import submission
from tenfold.errors import DataError, OutputError
from tenfold.files import cleanup_on_error, load_arrays, output_folder, path_exists, save_arrays
from tenfold.jobs import HERE, Job, Message, Tell, run_jobs
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder

SECONDS_BETWEEN_NOTES = 4.0
FORMAT = "tenfold-answers-of-a-part-1"
RECOGNIZER = "recognizer.safetensors"
PREDICT_SHARD = "tenfold.predict:predict_shard"
MAX_SHARDS = 64  # of a file, as jobs: a lost node costs little, and a part is worth its start

Note = Callable[[str], None]


@dataclass(frozen=True)
class ChunkPredictions:
    """Answers to some images in a row.

    Attributes:
        predicted: int64 [n], indices of classes.
        confidence: float32 [n], the probability of each.
    """

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]


def predict_file(
    model: Path,
    source: Path,
    out: Path | None,
    *,
    on: str = HERE,
    note: Note = lambda _: None,
) -> tuple[Recognizer, ChunkPredictions]:
    """Answer every image in `source`, and write the submission `out` if one is wanted.

    Args:
        model: a run folder, or a recognizer's file.
        source: CSV, plain, .gz or .zip, or Parquet; as long as one likes.
        out: the submission.
        on: "here" in this process; "ray" or "ray://host:port" by parts on a cluster, which must
            find the file under the same path.
        note: is told how it goes.

    Raises:
        RecognizerError: there is no such recognizer, or it is damaged.
        DataError: something in the file is not as it should be; nothing is written then.
        OutputError: the submission cannot be written, or would take the place of what is read.
    """
    if out is not None:
        _check_is_not_read(out, source, _file_of(model))
    recognizer = Recognizer.load(model)
    found: list[ChunkPredictions] = []
    with ExitStack() as stack:
        add = None
        if out is not None:
            stack.enter_context(cleanup_on_error(out))
            add = stack.enter_context(submission(out))
        if on == HERE:
            answers = _answers(recognizer, _ahead(chunks(source, WHOLE, note)), note)
        else:
            answers = _from_jobs(model, source, out, on, note)
        for piece in answers:
            found.append(piece)
            if add is not None:
                add(recognizer.decode_labels(piece.predicted))
        if not found:
            raise DataError(f"{source}: has a header and no rows, expected a row for each image")
    joined = ChunkPredictions(
        np.concatenate([piece.predicted for piece in found]),
        np.concatenate([piece.confidence for piece in found]),
    )
    return recognizer, joined


def _file_of(model: Path) -> Path:
    """Return a recognizer's file; `model` is that, or the run folder that holds it."""
    return RunFolder(model).recognizer if path_exists(model) and model.is_dir() else model


def _check_is_not_read(out: Path, *inputs: Path) -> None:
    """Make sure that the submission does not replace what it is made from."""
    for path in inputs:
        if path_exists(out) and path_exists(path) and out.samefile(path):
            raise OutputError(
                f"{out}: is the very file that is read, expected another name for the submission"
            )


def _answers(
    recognizer: Recognizer, pieces: Iterator[Dataset], note: Note
) -> Iterator[ChunkPredictions]:
    predictor = recognizer.predictor()
    done, told_at = 0, time.monotonic()
    for piece in pieces:
        start = done

        def tell(so_far: int, _all: int, start: int = start) -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= SECONDS_BETWEEN_NOTES:
                told_at = time.monotonic()
                note(f"  {start + so_far:,} images answered")

        probabilities = predictor.predict_proba(piece, on_progress=tell)
        done += len(piece)
        yield ChunkPredictions(probabilities.argmax(axis=1), probabilities.max(axis=1))


def _ahead(pieces: Iterator[Dataset]) -> Iterator[Dataset]:
    """Yield what `pieces` yields, the next one always being read already."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = reader.submit(next, pieces, None)
            yield piece


# By parts, as jobs


def _from_jobs(
    model: Path, source: Path, out: Path | None, on: str, note: Note
) -> Iterator[ChunkPredictions]:
    """Answer parts of the file where the jobs run, and yield them in order."""
    pieces = parts(source, MAX_SHARDS)
    if not pieces:
        raise DataError(f"{source}: has no rows, expected a row for each image")
    model_file = _file_of(model)
    stat = source.stat()
    about = {
        "source": str(source.resolve()),
        "bytes": stat.st_size,
        "modified": stat.st_mtime_ns,
        "recognizer": hashlib.sha256(model_file.read_bytes()).hexdigest(),
    }
    # Named by what it answers: what else lies in the outer folder is not ours.
    identity = Job(PREDICT_SHARD, about).id
    folder = output_folder((out or Path("answers.csv")).with_suffix(".parts") / identity)
    shutil.copyfile(model_file, folder / RECOGNIZER)
    jobs = [
        Job(
            PREDICT_SHARD,
            {**about, "start": piece.start, "end": piece.end},
            f"part {index + 1} of {len(pieces)}",
        )
        for index, piece in enumerate(pieces)
    ]
    done, told_at = 0, time.monotonic()

    def hear(job: Job, message: Message) -> None:
        nonlocal done, told_at
        done += "done" in message
        if "note" in message:
            note(f"{job.name}: {message['note']}")
        if time.monotonic() - told_at >= SECONDS_BETWEEN_NOTES:
            told_at = time.monotonic()
            note(f"  {done} of {len(jobs)} parts answered")

    try:
        run_jobs(jobs, folder, on=on, input_files=[folder / RECOGNIZER], hear=hear)
    finally:
        if not any(job.is_done(folder) for job in jobs):  # else the same command goes on from here
            _remove(folder)
    for job in jobs:
        tensors, _ = load_arrays(folder / job.id / "answers.safetensors", FORMAT)
        yield ChunkPredictions(tensors["answers"], tensors["confidence"])
    _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the folder of the jobs, and the one around it unless something else lies there."""
    shutil.rmtree(folder)
    with suppress(OSError):
        folder.parent.rmdir()


def predict_shard(description: Mapping[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    """Answer one part of a file: a job.

    Args:
        description: "source", its "bytes" and when it was "modified", "start" and "end" of a
            `Part`, and the checksum of the "recognizer", whose file lies beside `folder`.
        folder: gets the answers.
        tell: hears nothing.

    Returns:
        "n", how many images were answered.
    """
    del tell
    source = Path(description["source"])
    if not source.is_file() or source.stat().st_size != description["bytes"]:
        raise DataError(
            f"{source}: is not here, or another file, expected the same one on every node"
        )
    recognizer = Recognizer.load(folder.parent / RECOGNIZER)
    part = Part(description["start"], description["end"])
    found = list(_answers(recognizer, _ahead(chunks(source, part)), lambda _: None))
    empty = ChunkPredictions(np.empty(0, np.int64), np.empty(0, np.float32))
    answers = np.concatenate([piece.predicted for piece in [*found, empty]])
    confidence = np.concatenate([piece.confidence for piece in [*found, empty]])
    tensors = {"answers": answers, "confidence": confidence}
    save_arrays(folder / "answers.safetensors", tensors, FORMAT, {})
    return {"n": len(answers)}
