"""Predictions: the probabilities of a set of images, kept so that they can be looked at later."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.artifact import (
    ArtifactSchema,
    ClassNames,
    check_indices,
    load_artifact,
    refusing,
)
from tenfold.classifier import Classifier
from tenfold.data.dataset import Dataset
from tenfold.files import save_arrays
from tenfold.metrics import Evaluation, evaluate_probabilities

FORMAT = "tenfold-predictions-2"
MAX_HARDEST = 1000
SAMPLED_PER_CLASS, SAMPLED_CLASSES = 12, 64
ARRAYS = {
    "probabilities": "float32 [N, C]",
    "indices": "int64 [N]",
    "labels?": "int64 [N]",
    "hardest": "int64 [K]",
    "images": "uint8 [K, S, S]",
    "member_predictions?": "int64 [M, N]",
    "sampled?": "int64 [P]",
    "sampled_images?": "uint8 [P, S, S]",
}


class PredictionsFile(ArtifactSchema):
    """The description in the file of predictions."""

    classes: ClassNames
    name: str
    dataset_sha256: str


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """Probabilities, labels where they are known, and the hardest of the images.

    Attributes:
        probabilities: float32 [N, C].
        indices: int64 [N], the row of each image in its file, from 0.
        classes: the names of the C columns.
        labels: int64 [N], indices into `classes`; None where they are not known.
        hardest: int64 [K], positions in 0 … N-1 of the images that are kept, hardest first: by
            the probability of the label, or without labels by that of the prediction.
        images: uint8 [K, S, S], those images.
        member_predictions: int64 [M, N], what each member of an ensemble predicts on its own; None
            if that was not asked.
        sampled: int64 [L], without labels: positions of up to twelve random images of each
            predicted class, of the first 64 classes; with labels empty.
        sampled_images: uint8 [L, S, S], those images.
        name: where the images came from, for messages.
        dataset_sha256: content hash of the dataset that `indices` refer to; "" if not known.
    """

    probabilities: NDArray[np.float32]
    indices: NDArray[np.int64]
    classes: tuple[str, ...]
    labels: NDArray[np.int64] | None
    hardest: NDArray[np.int64]
    images: NDArray[np.uint8]
    member_predictions: NDArray[np.int64] | None = None
    sampled: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    sampled_images: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 1, 1), np.uint8))
    name: str = "images"
    dataset_sha256: str = ""

    @classmethod
    def from_probabilities(
        cls,
        dataset: Dataset,
        probabilities: NDArray[np.float32],
        *,
        classes: tuple[str, ...] | None = None,
        indices: NDArray[np.int64] | None = None,
        member_predictions: NDArray[np.int64] | None = None,
        dataset_sha256: str = "",
    ) -> "Predictions":
        """Keep `probabilities` float32 [N, C] of `dataset`, and the hardest of its images.

        Args:
            dataset: the images, and their labels if it has them.
            probabilities: a row for each image.
            classes: the names of the columns; by default the dataset's own.
            indices: int64 [N], the row of each image in its file; by default 0 … N-1.
            member_predictions: int64 [M, N].
            dataset_sha256: content hash of the dataset that `indices` refer to.
        """
        n = len(dataset)
        sampled = np.empty(0, np.int64)
        if dataset.labels is None:
            certainty = probabilities.max(axis=1)
            sampled = _sample_by_class(probabilities.argmax(axis=1))
        else:
            certainty = probabilities[np.arange(n), dataset.labels]
        hardest = np.argsort(certainty, kind="stable")[:MAX_HARDEST]
        return cls(
            probabilities=probabilities,
            indices=np.arange(n) if indices is None else indices,
            classes=dataset.classes if classes is None else classes,
            labels=dataset.labels,
            hardest=hardest,
            images=dataset.images[hardest],
            member_predictions=member_predictions,
            sampled=sampled,
            sampled_images=dataset.images[sampled],
            name=dataset.name,
            dataset_sha256=dataset_sha256,
        )

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        known = "labels not known" if self.labels is None else "labels known"
        return f"Predictions({self.name!r}: {len(self):,} images, {known})"

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 [N]."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The probability of each prediction, float32 [N]."""
        confidence: NDArray[np.float32] = self.probabilities.max(axis=1)
        return confidence

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        arrays = {
            "probabilities": self.probabilities,
            "indices": self.indices,
            "labels": self.labels,
            "hardest": self.hardest,
            "images": self.images,
            "member_predictions": self.member_predictions,
            "sampled": self.sampled,
            "sampled_images": self.sampled_images,
        }
        known = {
            name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None
        }
        metadata = {
            "classes": self.classes,
            "name": self.name,
            "dataset_sha256": self.dataset_sha256,
        }
        save_arrays(path, known, FORMAT, metadata)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read back what `save` wrote.

        Raises:
            RecognizerError: the file is missing, damaged or something else.
        """
        arrays, metadata = load_artifact(path, FORMAT, PredictionsFile, ARRAYS)
        # Runs of before the samples stay readable.
        optional = {name: arrays[name] for name in ("sampled", "sampled_images") if name in arrays}
        found = cls(
            probabilities=arrays["probabilities"],
            indices=arrays["indices"],
            classes=tuple(metadata["classes"]),
            labels=arrays.get("labels"),
            hardest=arrays["hardest"],
            images=arrays["images"],
            member_predictions=arrays.get("member_predictions"),
            name=metadata["name"],
            dataset_sha256=metadata["dataset_sha256"],
            **optional,
        )
        with refusing(path):
            found._check_values()
        return found

    def _check_values(self) -> None:
        n, n_classes = self.probabilities.shape
        sums = self.probabilities.sum(axis=1, dtype=np.float64)
        if not ((self.probabilities >= 0).all() and (np.abs(sums - 1) < 1e-2).all()):
            raise ValueError("its probabilities are negative, not numbers, or do not add up to 1")
        check_indices("the labels", self.labels, n_classes)
        check_indices("the predictions of members", self.member_predictions, n_classes)
        check_indices("the positions of the hardest images", self.hardest, n)
        check_indices("the positions of the samples", self.sampled, n)
        check_indices("the rows", self.indices, 2**62)


def _sample_by_class(predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return positions of random images of each predicted class; the same ones each time."""
    rng = np.random.default_rng(0)
    chosen = [np.empty(0, np.int64)]
    for index in range(min(SAMPLED_CLASSES, int(predicted.max(initial=-1)) + 1)):
        chosen.append(rng.permutation(np.flatnonzero(predicted == index))[:SAMPLED_PER_CLASS])
    return np.concatenate(chosen)


def evaluate(recognizer: Classifier, dataset: Dataset) -> Evaluation:
    """Compare the predictions of `recognizer` with the labels of `dataset`.

    Raises:
        DataError: the dataset has no labels, a class that the recognizer does not know, or images
            of another size.
    """
    known = dataset.with_classes(recognizer.classes)
    probabilities = recognizer.predict_proba(known)
    return evaluate_probabilities(probabilities, known.require_labels(), recognizer.classes)
