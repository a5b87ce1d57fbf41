"""Export: a recognizer as one ONNX file that onnxruntime, or a browser, computes without PyTorch.

The file holds everything from uint8 [N, S, S] to float32 [N, classes]: preprocessing, every member
with its batch normalisation folded in, test-time views, and the temperature. Its metadata holds the
names of the classes and the card, for `tenfold.onnx_recognizer.OnnxRecognizer`.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tenfold.device import Device
from tenfold.errors import DependencyError, OutputError
from tenfold.files import write_bytes
from tenfold.onnx_recognizer import FORMAT, INPUT, METADATA_KEY, OUTPUT, OnnxRecognizer
from tenfold.recognizer import Recognizer

# The first with float16 grid_sample and everything else that the networks need; onnxruntime reads
# it since 1.14 (2023).
OPSET: Final = 18
# Sums in another order: the largest difference of a probability measured is 6e-7.
MAX_DIFFERENCE: Final = {"float32": 1e-4, "float16": 2e-2}
MIN_FLOAT16_SIZE: Final = 64  # smaller arrays, such as biases, stay float32

WeightsDtype = Literal["float32", "float16"]


@dataclass(frozen=True)
class Parity:
    """How the exported file compares with the recognizer on the same images.

    Attributes:
        n: how many images.
        max_difference: the largest difference of a probability.
        n_changed: on how many images the predicted class differs.
    """

    n: int
    max_difference: float
    n_changed: int

    def __str__(self) -> str:
        return (
            f"largest difference of a probability {self.max_difference:.1e}, "
            f"{self.n_changed} of {self.n:,} predictions differ"
        )


def export_onnx(
    recognizer: Recognizer,
    path: Path | str,
    *,
    weights_dtype: WeightsDtype = "float32",
    tta: bool = True,
    card: Mapping[str, Any] | None = None,
) -> Parity:
    """Write `recognizer` to one ONNX file, and compare the two on generated images.

    Args:
        recognizer: what to export.
        path: the file.
        weights_dtype: of the stored weights; "float16" halves the file. They compute in float32.
        tta: average over test-time views where a network is not confident, as the recognizer does;
            all five are computed for every image, since the graph has no branches.
        card: kept in the file, as JSON values; by default the recognizer's provenance.

    Returns:
        The comparison, on 256 generated images.

    Raises:
        OutputError: the file cannot be written, or predicts differently.
        DependencyError: onnxscript is not installed.
    """
    path = Path(path)
    recognizer = recognizer if tta else replace(recognizer, tta_shift=None)
    model = _trace(recognizer)
    if weights_dtype == "float16":
        _store_float16(model)
    metadata = {
        "format": FORMAT,
        "classes": recognizer.classes,
        "image_size": recognizer.image_size,
        "decision_rule": recognizer.decision_rule.to_json(),
        "card": dict(recognizer.provenance if card is None else card),
    }
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata)
    write_bytes(path, model.SerializeToString())
    parity = compare(recognizer, OnnxRecognizer.load(path), _generated_images(recognizer))
    if parity.max_difference > MAX_DIFFERENCE[weights_dtype]:
        path.unlink()
        raise OutputError(
            f"{path}: would predict differently ({parity}), expected a difference of at most "
            f"{MAX_DIFFERENCE[weights_dtype]:g}"
        )
    return parity


def compare(recognizer: Recognizer, exported: OnnxRecognizer, images: NDArray[np.uint8]) -> Parity:
    """Compare the probabilities of a recognizer in float32 and of its export on `images`."""
    ours = recognizer.predictor(Device.detect("fp32")).predict_proba(images)
    theirs = exported.predict_proba(images)
    changed = ours.argmax(axis=1) != theirs.argmax(axis=1)
    return Parity(len(images), float(np.abs(ours - theirs).max()), int(changed.sum()))


def _generated_images(recognizer: Recognizer) -> NDArray[np.uint8]:
    """Draw 256 images, from blank to noise: uint8 [256, S, S]."""
    size, generator = recognizer.image_size, np.random.default_rng(0)
    noise = generator.random((256, size, size)) * np.linspace(0, 1, 256)[:, None, None]
    found: NDArray[np.uint8] = (255 * noise).astype(np.uint8)
    return found


def _trace(recognizer: Recognizer) -> Any:
    """Return the graph as an `onnx.ModelProto`, without what PyTorch notes for debugging."""
    try:
        import onnx  # noqa: PLC0415 - part of the extra `train`
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise DependencyError(
            "exporting needs onnx and onnxscript: pip install 'tenfold[train]'"
        ) from error
    size = recognizer.image_size
    example = torch.zeros(2, size, size, dtype=torch.uint8)  # of one, the exporter makes a constant
    with tempfile.TemporaryDirectory() as folder, _quiet():
        program = torch.onnx.export(
            recognizer.module(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        program.save(f"{folder}/model.onnx", external_data=False)
        model = onnx.load(f"{folder}/model.onnx")
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        del part.metadata_props[:]
    for node in model.graph.node:
        node.ClearField("doc_string")
    onnx.checker.check_model(model)
    return model


def _store_float16(model: Any) -> None:
    """Round the larger arrays of `model` to float16, each followed by a cast back to float32."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 - part of the extra `train`

    casts = []
    for initializer in model.graph.initializer:
        array = numpy_helper.to_array(initializer)
        if array.dtype != np.float32 or array.size < MIN_FLOAT16_SIZE:
            continue
        name, stored = initializer.name, f"{initializer.name}.float16"
        initializer.CopyFrom(numpy_helper.from_array(array.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns of what does not concern a caller."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
