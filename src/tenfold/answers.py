"""Answers: what a recognizer said of a set of images, kept so that it can be looked at later."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenfold.data.dataset import Dataset
from tenfold.errors import RecognizerError
from tenfold.tensors import load_tensors, save_tensors

FORMAT = "tenfold-answers-1"
MOST_SHOWN = 1000


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities, the truth where it is known, and the pictures of the hardest images.

    Attributes:
        probabilities: float32 [N, C].
        rows: int64 [N], where each image stands in its file, from 0.
        classes: what each of the C columns is called.
        labels: int64 [N], the truth as indices into `classes`; None where nobody knows it.
        shown: int64 [K], places in 0 … N-1 of the images that are kept, hardest first: where the
            truth had the lowest probability, or without truth the answer.
        images: uint8 [K, S, S], those images.
        votes: int64 [M, N], what each member answered on its own; None if they were not asked.
        name: where the images came from, for people.
        data: fingerprint of the whole set in which `rows` count; "" if it was not told.
    """

    probabilities: NDArray[np.float32]
    rows: NDArray[np.int64]
    classes: tuple[str, ...]
    labels: NDArray[np.int64] | None
    shown: NDArray[np.int64]
    images: NDArray[np.uint8]
    votes: NDArray[np.int64] | None = None
    name: str = "images"
    data: str = ""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        probabilities: NDArray[np.float32],
        *,
        classes: tuple[str, ...] | None = None,
        rows: NDArray[np.int64] | None = None,
        votes: NDArray[np.int64] | None = None,
        data: str = "",
    ) -> "Answers":
        """Gather what is worth keeping of `probabilities` float32 [N, C] for `dataset`.

        Args:
            dataset: the images; their truth is kept if they have it.
            probabilities: what was said of them.
            classes: what the columns are called; by default the dataset's own.
            rows: where the images stand in their file; by default just so.
            votes: what each member answered, int64 [M, N].
            data: fingerprint of the set in which `rows` count.
        """
        n = len(dataset)
        if dataset.labels is None:
            believed = probabilities.max(axis=1)
        else:
            believed = probabilities[np.arange(n), dataset.labels]
        shown = np.argsort(believed, kind="stable")[:MOST_SHOWN]
        return cls(
            probabilities=probabilities,
            rows=np.arange(n) if rows is None else rows,
            classes=dataset.classes if classes is None else classes,
            labels=dataset.labels,
            shown=shown,
            images=dataset.images[shown],
            votes=votes,
            name=dataset.name,
            data=data,
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def answers(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 [N]."""
        answers: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return answers

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The probability of each answer, float32 [N]."""
        confidence: NDArray[np.float32] = self.probabilities.max(axis=1)
        return confidence

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        arrays = {
            "probabilities": self.probabilities,
            "rows": self.rows,
            "labels": self.labels,
            "shown": self.shown,
            "images": self.images,
            "votes": self.votes,
        }
        tensors: dict[str, Tensor] = {
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
            if array is not None
        }
        about = {"classes": self.classes, "name": self.name, "data": self.data}
        save_tensors(path, tensors, FORMAT, about)

    @classmethod
    def load(cls, path: Path) -> "Answers":
        """Read back what `save` wrote.

        Raises:
            RecognizerError: the file is missing, damaged or something else.
        """
        tensors, about = load_tensors(path, FORMAT)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        try:
            return cls(
                probabilities=arrays["probabilities"],
                rows=arrays["rows"],
                classes=tuple(about["classes"]),
                labels=arrays.get("labels"),
                shown=arrays["shown"],
                images=arrays["images"],
                votes=arrays.get("votes"),
                name=about["name"],
                data=about["data"],
            )
        except KeyError as error:
            raise RecognizerError(f"{path}: lacks {error}, which it should hold") from error
