"""OnnxRecognizer: a recognizer in one ONNX file, computed by onnxruntime. It needs no PyTorch."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tenfold.artifact import (
    ArtifactSchema,
    ClassNames,
    StoredImageSize,
    parse_json,
    quoted,
    refusing,
    validate_artifact,
)
from tenfold.classifier import Classifier, Images, OnProgress, no_progress, pixels_of
from tenfold.decision import DecisionRule, DecisionRuleFile
from tenfold.errors import RecognizerError
from tenfold.files import check_format, path_exists
from tenfold.machine import usable_cores

FORMAT: Final = "tenfold-onnx-1"
METADATA_KEY: Final = "tenfold"
INPUT, OUTPUT = "images", "probabilities"
# Of 32, 64, 128 and 256 the fastest by a tenth; larger ones leave the processor's cache.
PREDICT_BATCH: Final = 64


class OnnxMetadata(ArtifactSchema):
    """What the metadata of the file says of the recognizer."""

    classes: ClassNames
    image_size: StoredImageSize
    decision_rule: DecisionRuleFile
    card: dict[str, Any]


class OnnxRecognizer(Classifier):
    """A recognizer in one ONNX file: from uint8 [N, S, S] to float32 [N, classes].

    `load` makes it and `tenfold.export.export_onnx` writes the file. Several threads may call it
    at once.

    Attributes:
        classes: the name of each output.
        image_size: height and width in pixels of the images it was trained on.
        decision_rule: when its answer is sure, and when there is no digit.
    """

    def __init__(self, session: Any, metadata: Mapping[str, Any]) -> None:
        self.classes = tuple(metadata["classes"])
        self.image_size = metadata["image_size"]
        self.decision_rule = DecisionRule.from_json(metadata["decision_rule"])
        self._predictor = OnnxPredictor(session, self.image_size, len(self.classes))
        self._card: Mapping[str, Any] = metadata["card"]

    def __repr__(self) -> str:
        size = self.image_size
        return f"OnnxRecognizer({len(self.classes)} classes, images of {size} × {size})"

    @classmethod
    def load(cls, path: Path | str) -> "OnnxRecognizer":
        """Read it from its file.

        Raises:
            RecognizerError: the file is missing, damaged, or was not exported by tenfold.
        """
        path = Path(path)
        if not (path_exists(path) and path.is_file()):
            raise RecognizerError(f"{path}: there is no such file, expected one exported to ONNX")
        session = _open_session(path)
        found = session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in found:
            raise RecognizerError(
                f"{path}: is an ONNX file of another program, expected one that `tenfold export` "
                "wrote: it lacks the names of the classes and the size of the images"
            )
        with refusing(path):
            metadata = validate_artifact(parse_json(found[METADATA_KEY]), ArtifactSchema)
            check_format(path, str(metadata.get("format", "no format")), FORMAT)
            validate_artifact(metadata, OnnxMetadata)
            _check_graph(session, metadata["image_size"], len(metadata["classes"]))
        return cls(session, metadata)

    @property
    def card(self) -> Mapping[str, Any]:
        """Where it comes from and what was measured, as JSON values."""
        return self._card

    def predictor(self) -> "OnnxPredictor":
        """Return what computes it: prepared already, for any number of calls and threads."""
        return self._predictor


class OnnxPredictor:
    """An ONNX file in onnxruntime, for any number of calls from any number of threads.

    Args:
        session: an `onnxruntime.InferenceSession` that computes with one thread a call.
        image_size: height and width of the images in pixels.
        n_classes: how many probabilities it returns.
    """

    def __init__(self, session: Any, image_size: int, n_classes: int) -> None:
        self._session, self._image_size, self._n_classes = session, image_size, n_classes

    def predict_proba(
        self, images: Images, *, on_progress: OnProgress = no_progress
    ) -> NDArray[np.float32]:
        """Return the probability of each class for each image: float32 [N, classes].

        Args:
            images: a Dataset, uint8 [N, S, S], or one image, uint8 [S, S], for which N is 1.
            on_progress: is called after each batch with the images done and all images.

        Raises:
            DataError: the images are not of the size that the recognizer was trained on.
        """
        pixels = pixels_of(images, self._image_size)
        n = len(pixels)
        batches = [pixels[start : start + PREDICT_BATCH] for start in range(0, n, PREDICT_BATCH)]
        if len(batches) < 2:
            return self._predict_batch(pixels)
        found: list[NDArray[np.float32]] = []
        with ThreadPoolExecutor(len(usable_cores())) as threads:
            for probabilities in threads.map(self._predict_batch, batches):
                found.append(probabilities)
                on_progress(min(len(found) * PREDICT_BATCH, n), n)
        return np.concatenate(found)

    def _predict_batch(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not len(pixels):
            return np.empty((0, self._n_classes), np.float32)
        (probabilities,) = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(pixels)})
        found: NDArray[np.float32] = probabilities
        return found


def _check_graph(session: Any, image_size: int, n_classes: int) -> None:
    """Make sure that the graph takes such images and returns so many probabilities.

    Raises:
        ValueError: it does not.
    """
    found = [
        (each.name, each.type, list(each.shape)[1:])
        for each in (*session.get_inputs(), *session.get_outputs())
    ]
    expected = [
        (INPUT, "tensor(uint8)", [image_size, image_size]),
        (OUTPUT, "tensor(float)", [n_classes]),
    ]
    if found != expected:
        raise ValueError(
            f"it computes {quoted(found)}, and its metadata promise images of {image_size} × "
            f"{image_size} pixels and {n_classes} classes"
        )


def _open_session(path: Path) -> Any:
    """Open the file with one thread for each call, which does not spin while it waits."""
    import onnxruntime  # noqa: PLC0415 - a tenth of a second

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors are raised; its warnings speak to developers
    try:
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no other parent
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecognizerError(
            f"{path}: is damaged or no ONNX file ({reason}), expected one that `tenfold export` "
            "wrote"
        ) from error
