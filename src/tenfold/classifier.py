"""Classifier: what every recognizer does, whatever computes it.

    Classifier          images to probabilities and labels
    ├── Recognizer      networks in PyTorch: trained, saved, exported      recognizer.py
    └── OnnxRecognizer  one ONNX file in onnxruntime: needs no PyTorch     onnx_recognizer.py

`tenfold.models.load` reads either from its file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.data.dataset import Dataset
from tenfold.decision import DecisionRule
from tenfold.errors import DataError
from tenfold.images import decode, segment
from tenfold.images.decode import Source

Images = Dataset | NDArray[np.uint8]
PICTURE_SIZE: Final = 28  # of the images that the digits of a picture are turned into
OnProgress = Callable[[int, int], None]


def no_progress(_done: int, _total: int) -> None:
    """Take progress and do nothing with it."""


class PreparedClassifier(Protocol):
    """A classifier prepared once for many calls, from any number of threads."""

    def predict_proba(
        self, images: Images, *, on_progress: OnProgress = no_progress
    ) -> NDArray[np.float32]:
        """Return the probability of each class for each image: float32 [N, classes].

        Args:
            images: a Dataset, uint8 [N, S, S], or one image, uint8 [S, S], for which N is 1.
            on_progress: is called after each batch with the images done and all images.

        Raises:
            DataError: the images are not of the size that the classifier was trained on.
        """


class Classifier(ABC):
    """Turns images into labels.

    Attributes:
        classes: the name of each output.
        image_size: height and width in pixels of the images it was trained on.
        decision_rule: when its answer is sure, and when there is no digit.
    """

    classes: tuple[str, ...]
    image_size: int
    decision_rule: DecisionRule

    @property
    @abstractmethod
    def card(self) -> Mapping[str, Any]:
        """Where it comes from and what was measured, as JSON values."""

    @property
    def bright_ink(self) -> bool:
        """Whether it was trained on bright ink on dark, as MNIST has it."""
        return True

    @abstractmethod
    def predictor(self) -> PreparedClassifier:
        """Prepare it for prediction, once for many calls."""

    def predict(self, images: Images | Source) -> NDArray[np.int64]:
        """Return the predicted label of each image: int64 [N], indices into `classes`.

        These are labels of the same kind as `Dataset.labels`; `decode_labels` gives their names.
        `tenfold.read_images` says more about a picture: where its digits are, and what is sure.

        Args:
            images: a Dataset, uint8 [N, S, S], or one image, uint8 [S, S], for which N is 1; or
                a picture of digits: a path, the bytes of a file, a Pillow image, or any other
                array [H, W], [H, W, 3] or [H, W, 4]. N is then the number of its digits.

        Raises:
            DataError: the images are not of the size that the classifier was trained on, or a
                labelled Dataset has other classes, so that its labels mean something else.
            ImageError: the picture is missing, damaged, or none.
        """
        if isinstance(images, Dataset) and images.labels is not None:
            images.check_classes(self.classes)
        predictor = self.predictor()
        probabilities = predictor.predict_proba(self._stored(images, predictor))
        predicted: NDArray[np.int64] = probabilities.argmax(axis=1)
        return predicted

    def predict_proba(self, images: Images | Source) -> NDArray[np.float32]:
        """Return the probability of each class for each image: float32 [N, classes].

        The argument and errors are those of `predict`. For many calls, prepare a `predictor` once.
        """
        predictor = self.predictor()
        return predictor.predict_proba(self._stored(images, predictor))

    def _stored(self, images: Images | Source, predictor: PreparedClassifier) -> Images:
        """Return images as a dataset stores them; of a picture, those of the digits in it."""
        if isinstance(images, Dataset):
            return images
        if isinstance(images, np.ndarray):
            is_colour = images.shape[-1:] in {(3,), (4,)} and images.shape[-1] != self.image_size
            if images.shape == (self.image_size,) * 2 or (images.ndim == 3 and not is_colour):
                return images
        self.check_reads_pictures()
        return segment(decode(images), predictor.predict_proba).images

    def check_reads_pictures(self) -> None:
        """Make sure that it was trained on what a picture's digits are turned into.

        Raises:
            DataError: it was trained on images of another size than MNIST's.
        """
        if self.image_size != PICTURE_SIZE:
            raise DataError(
                f"this recognizer was trained on images of {self.image_size} × {self.image_size} "
                f"pixels, expected {PICTURE_SIZE} × {PICTURE_SIZE} as in MNIST to read pictures"
            )

    def decode_labels(self, labels: NDArray[np.int64]) -> NDArray[np.str_]:
        """Turn labels, indices into `classes`, into the names of the classes."""
        return np.array(self.classes)[labels]


def pixels_of(images: Images, image_size: int) -> NDArray[np.uint8]:
    """Return uint8 [N, S, S], S being the `image_size` that a classifier was trained on.

    Raises:
        DataError: the images are of another type or size.
    """
    name = images.name if isinstance(images, Dataset) else "images"
    pixels = images.images if isinstance(images, Dataset) else np.asarray(images)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (image_size, image_size):
        raise DataError(
            f"{name}: holds {pixels.dtype} images of {' × '.join(map(str, pixels.shape[1:]))} "
            f"pixels, expected uint8 {image_size} × {image_size} as this recognizer was trained on"
        )
    return pixels
