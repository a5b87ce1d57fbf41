"""Fingerprints of images: which ones a recognizer was trained on, known again later."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RecognizerError
from tenfold.files import load_arrays, save_arrays

FORMAT = "tenfold-fingerprints-1"
_BYTES = 8  # two of 70,000 images have the same by chance once in seven billion files


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """The images that a run has seen.

    Attributes:
        trained: int64 [N], of those that weights were fitted to.
        validated: int64 [M], of those that were held out, by which epoch and calibration were
            chosen.
    """

    trained: NDArray[np.int64]
    validated: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write them to `path`.

        Raises:
            OutputError: it cannot be written.
        """
        save_arrays(path, dict(vars(self)), FORMAT, {})

    @classmethod
    def load(cls, path: Path) -> "Fingerprints":
        """Read what `save` wrote.

        Raises:
            RecognizerError: the file is missing or damaged.
        """
        arrays, _ = load_arrays(path, FORMAT)
        if set(arrays) != {"trained", "validated"} or any(
            array.dtype != np.int64 or array.ndim != 1 for array in arrays.values()
        ):
            raise RecognizerError(f"{path}: is damaged, expected fingerprints of images")
        return cls(**arrays)

    def find(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which images, uint8 [N, S, S], were trained on, and which validated on: bool [N].

        An image that is among both counts as trained on.
        """
        own = fingerprints(images)
        trained = np.isin(own, self.trained)
        return trained, np.isin(own, self.validated) & ~trained


def fingerprints(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the fingerprint of each image, uint8 [N, S, S]: the first bytes of its BLAKE2b."""
    rows: Iterable[bytes] = (image.tobytes() for image in images)
    digests = b"".join(blake2b(row, digest_size=_BYTES).digest() for row in rows)
    return np.frombuffer(digests, "<i8").astype(np.int64)
