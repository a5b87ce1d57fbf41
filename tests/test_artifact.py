"""Files with the right checksum and the wrong content are refused in a sentence, at no cost."""

import json
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors import serialize_file
from safetensors.torch import save_file

from tenfold.artifact import ArtifactSchema, check_arrays, load_artifact, parse_json, read_json
from tenfold.config import NetworkConfig
from tenfold.data.dataset import Dataset, load_dataset, save_dataset
from tenfold.decision import DecisionRule
from tenfold.errors import RecognizerError
from tenfold.export import export_onnx
from tenfold.files import checksum, save_arrays
from tenfold.models import load
from tenfold.networks import build
from tenfold.predictions import Predictions
from tenfold.preprocessing import Preprocessing
from tenfold.recognizer import FORMAT, Member, Recognizer
from tenfold.report.artifacts import Examples

DEEP = "[" * 100_000 + "]" * 100_000
LONG = "1" * 5000
ABSENT = object()


def small_recognizer() -> Recognizer:
    config = NetworkConfig(name="compact", width=4)
    model = build(config, image_size=28, n_classes=10, seed=0)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 200).astype(np.float32)
    rule = DecisionRule.fit(probabilities, probabilities.argmax(axis=1))
    member = Member(model, config, Preprocessing(0.1, 0.3))
    return Recognizer([member], tuple("0123456789"), 28, decision_rule=rule)


@pytest.fixture(scope="module")
def parts():
    """The arrays and the description of a recognizer's file."""
    recognizer, found = small_recognizer(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tenfold.recognizer.save_arrays",
            lambda path, arrays, format, metadata: found.update(arrays=arrays, metadata=metadata),
        )
        recognizer.save("unused")
    return found["arrays"], found["metadata"]


def changed(values, where, new):
    """Return a copy of JSON values with another one at `where`, a path of keys."""
    copied = json.loads(json.dumps(values))
    target = copied
    for key in where[:-1]:
        target = target[key]
    if new is ABSENT:
        del target[where[-1]]
    else:
        target[where[-1]] = new
    return copied


@pytest.mark.parametrize(
    ("where", "new", "message"),
    [
        (["temperature"], 0, "temperature is 0"),
        (["temperature"], "1", "temperature is '1'"),
        (["temperature"], float("nan"), "temperature is nan"),
        (["temperature"], ABSENT, "lacks temperature"),
        (["members"], [], "members is"),
        (["members"], 3, "members is 3"),
        (["members", 0, "network"], {"name": "vgg"}, "members.0.network.name"),
        (["members", 0, "network", "dropout"], None, None),
        (["members", 0, "network", "hidden"], [10**6] * 16, "hidden"),
        (["members", 0, "network", "width"], 1024, "conv1.0.weight is float32"),
        (["members", 0, "preprocessing", "std"], 0, "preprocessing.std is 0"),
        (["members", 0, "preprocessing", "size"], 6000, "preprocessing.size is 6000"),
        (["members", 0, "preprocessing", "more"], 1, "preprocessing.more is 1"),
        (["classes"], [], "classes is"),
        (["classes"], ["0"] * 10, "classes is"),
        (["classes"], list("012"), "classes.weight is float32"),
        (["classes"], [["a"]], r"classes.0 is \['a'\]"),
        (["image_size"], 6000, "image_size is 6000"),
        (["image_size"], 28.5, "image_size is 28.5"),
        (["image_size"], 2, "shrink 2 × 2 images to nothing"),
        (["tta_shift"], "far", "tta_shift is 'far'"),
        (["precision"], "fp8", "precision is 'fp8'"),
        (["weights_dtype"], "float16", "is float32"),
        (["weights_dtype"], "uint8", "weights_dtype is 'uint8'"),
        (["provenance"], [], "provenance is"),
        (["provenance"], {"epoch": "x"}, "provenance.epoch is 'x'"),
        (["decision_rule", "n"], 0, "decision_rule"),
        (["decision_rule", "nonconformity"], [], "decision_rule"),
        (["decision_rule", "sure_threshold"], "high", "sure_threshold is 'high'"),
        (["decision_rule", "other"], 1, "decision_rule.other"),
    ],
)
def test_a_recognizer_of_another_description(parts, tmp_path, where, new, message):
    arrays, metadata = parts
    path = tmp_path / "crafted.safetensors"
    save_arrays(path, arrays, FORMAT, changed(metadata, where, new))
    if message is None:
        Recognizer.load(path)
        return
    with pytest.raises(RecognizerError, match=rf"crafted.safetensors: .*{message}"):
        Recognizer.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["0.classes.weight"].__setitem__((0, 0), np.nan), "NaN or infinity"),
        (lambda a: a["0.classes.weight"].__setitem__((0, 0), np.inf), "NaN or infinity"),
        (lambda a: a.pop("0.classes.weight"), "lacks the array 0.classes.weight"),
        (lambda a: a.update(more=np.ones(3)), "an array 'more', which belongs to nothing"),
        (lambda a: a.update({"1.x": np.ones(3, "f4")}), "an array '1.x'"),
        (lambda a: a.update({"0.classes.weight": np.ones((10, 16))}), "is float64"),
        (lambda a: a.update({"0.classes.weight": np.ones((10, 16), "i8")}), "is int64"),
        (lambda a: a.update({"0.classes.weight": np.ones((16, 10), "f4")}), r"\[16, 10\]"),
    ],
)
def test_a_recognizer_of_other_weights(parts, tmp_path, change, message):
    arrays, metadata = parts
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays)
    save_arrays(tmp_path / "crafted.safetensors", arrays, FORMAT, metadata)
    with pytest.raises(RecognizerError, match=rf"crafted.safetensors: .*{message}"):
        Recognizer.load(tmp_path / "crafted.safetensors")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.complex64])
def test_a_dtype_that_numpy_lacks(tmp_path, dtype):
    path = tmp_path / "odd.safetensors"
    save_file({"a": torch.zeros(3).to(dtype)}, path, {"tenfold": json.dumps({"format": FORMAT})})
    with pytest.raises(RecognizerError, match=r"odd.safetensors: is damaged, .*the array 'a' is"):
        Recognizer.load(path)


@pytest.mark.parametrize("text", [DEEP, LONG, '{"a": ' + LONG + "}", "[]", "{", "nothing", "\x00"])
@pytest.mark.parametrize("of", ["header", "metadata"])
def test_json_of_any_depth_and_length(tmp_path, text, of):
    path = tmp_path / "odd.safetensors"
    header = {"format": FORMAT, "metadata": text, "sha256": checksum(text, {})}
    entry = text if of == "header" else json.dumps(header)
    serialize_file({}, path, {"tenfold": entry})
    with pytest.raises(RecognizerError, match=r"odd.safetensors: ") as caught:
        Recognizer.load(path)
    assert len(str(caught.value)) < 500
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=r"."):
        read_json(tmp_path / "odd.json", Required)


class Required(ArtifactSchema):
    field: int


def test_what_a_description_promises_costs_nothing(parts, tmp_path):
    """A file of half a megabyte asked for 18 GB."""
    arrays, metadata = parts
    network = {"name": "mlp", "hidden": [10**6] * 16}
    crafted = changed(metadata, ["members", 0, "network"], network)
    save_arrays(tmp_path / "huge.safetensors", arrays, FORMAT, crafted)
    save_arrays(
        tmp_path / "wide.safetensors", arrays, FORMAT, changed(metadata, ["image_size"], 4096)
    )
    started = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(RecognizerError, match=r"lacks the array 0\.dense1"):
        Recognizer.load(tmp_path / "huge.safetensors")
    assert Recognizer.load(tmp_path / "wide.safetensors").image_size == 4096
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert time.perf_counter() - started < 20


def test_the_gate_changes_no_recognizer(tmp_path):
    recognizer = small_recognizer()
    recognizer.save(tmp_path / "r.safetensors")
    again = Recognizer.load(tmp_path / "r.safetensors")
    assert again.content_hash() == recognizer.content_hash()
    assert again.decision_rule == recognizer.decision_rule
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(again.predict_proba(images), recognizer.predict_proba(images))


def predictions() -> Predictions:
    probabilities = np.full((5, 2), 0.5, np.float32)
    images = Dataset(np.zeros((5, 4, 4), np.uint8), np.array([0, 1, 0, 1, 0]), ("a", "b"))
    return Predictions.from_probabilities(
        images, probabilities, member_predictions=np.zeros((3, 5), np.int64)
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("probabilities", np.full((5, 3), 1 / 3, np.float32)),
        ("probabilities", np.full((5, 2), np.nan, np.float32)),
        ("probabilities", np.full((5, 2), 3, np.float32)),
        ("probabilities", np.full((5, 2), 0.5)),
        ("indices", np.arange(4)),
        ("indices", np.full(5, -1)),
        ("labels", np.full(5, 2)),
        ("labels", np.zeros(5, np.int8)),
        ("hardest", np.full(5, 5)),
        ("images", np.zeros((5, 4, 3), np.uint8)),
        ("images", np.zeros((4, 4, 4), np.uint8)),
        ("member_predictions", np.full((3, 5), 9)),
        ("member_predictions", np.zeros((3, 4), np.int64)),
        ("classes", ("a", "a")),
        ("classes", ()),
        ("name", 3),
    ],
)
def test_predictions_of_another_content(tmp_path, field, value):
    predictions().save(tmp_path / "p.safetensors")
    assert len(Predictions.load(tmp_path / "p.safetensors")) == 5
    replace(predictions(), **{field: value}).save(tmp_path / "p.safetensors")
    with pytest.raises(RecognizerError, match=r"p.safetensors: its content is not what"):
        Predictions.load(tmp_path / "p.safetensors")


def test_examples_of_another_content(tmp_path):
    images = Dataset(np.zeros((5, 4, 4), np.uint8), np.array([0, 1, 0, 1, 0]), ("a", "b"))
    good, path = Examples.from_dataset(images), tmp_path / "e.safetensors"
    good.save(path)
    assert Examples.load(path).n == 5
    for bad in (
        replace(good, images=images.select(np.arange(0))),
        replace(good, means=good.means[:1]),
        replace(good, means=good.means[:, :3]),
        replace(good, ink=good.ink[:, :2]),
        replace(good, n=0),
    ):
        bad.save(path)
        with pytest.raises(RecognizerError, match=r"e.safetensors: its content is not what"):
            Examples.load(path)


def test_a_dataset_of_another_content(tmp_path):
    images = Dataset(np.zeros((2, 4, 4), np.uint8), np.array([0, 1]), ("a", "b"))
    reference = save_dataset(images, tmp_path / "d.safetensors")
    assert load_dataset(tmp_path, reference).classes == ("a", "b")
    save_arrays(
        tmp_path / "d.safetensors", {"images": images.images}, "tenfold-dataset-2", {"name": "x"}
    )
    with pytest.raises(RecognizerError, match=r"d.safetensors: .* \(lacks classes\)"):
        load_dataset(tmp_path, reference)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    export_onnx(small_recognizer(), path)
    return onnx.load(path)


@pytest.mark.parametrize(
    ("where", "new", "message"),
    [
        (["decision_rule", "n"], "many", "decision_rule.n is 'many'"),
        (["decision_rule", "nonconformity"], [], "decision_rule"),
        (["decision_rule"], "none", "decision_rule is 'none'"),
        (["image_size"], 14, "promise images of 14 × 14"),
        (["classes"], ["a", "b"], "and 2 classes"),
        (["classes"], 3, "classes is 3"),
        (["card"], None, "card is None"),
        (["card"], ABSENT, "lacks card"),
        (["format"], 5, "is '5', expected 'tenfold-onnx-1'"),
        (["format"], "tenfold-onnx-2", "a newer version"),
    ],
)
def test_an_exported_file_of_other_metadata(exported, tmp_path, where, new, message):
    model = onnx.ModelProto.FromString(exported.SerializeToString())
    (entry,) = model.metadata_props
    entry.value = json.dumps(changed(json.loads(entry.value), where, new))
    (tmp_path / "crafted.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(RecognizerError, match=rf"crafted.onnx: .*{message}"):
        load(tmp_path / "crafted.onnx")


@pytest.mark.parametrize("text", [DEEP, LONG, "[]", "3"])
def test_an_exported_file_whose_metadata_are_no_object(exported, tmp_path, text):
    model = onnx.ModelProto.FromString(exported.SerializeToString())
    model.metadata_props[0].value = text
    (tmp_path / "crafted.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(RecognizerError, match=r"crafted.onnx: its content is not what"):
        load(tmp_path / "crafted.onnx")


def test_sizes_of_arrays_must_agree():
    specs = {"a": "float32 [N, 2]", "b?": "int64 [N]"}
    a, b = np.zeros((3, 2), np.float32), np.zeros(3, np.int64)
    check_arrays({"a": a}, specs, {})
    check_arrays({"a": a, "b": b}, specs, {"N": 3})
    for arrays in ({}, {"b": b}, {"a": a[0]}, {"a": a, "b": b[:2]}, {"a": a, "c": b}):
        with pytest.raises(ValueError, match=r"the array|an array"):
            check_arrays(arrays, specs, {})
    with pytest.raises(ValueError, match=r"a is float32 \[3, 2\], expected float32 \[N, 2\]"):
        check_arrays({"a": a}, specs, {"N": 4})


def test_json_is_parsed_or_refused():
    assert parse_json('{"a": [1, null]}') == {"a": [1, None]}
    for text in (DEEP, LONG, "{"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


def test_everything_is_read_through_the_gate(tmp_path):
    save_arrays(tmp_path / "a.safetensors", {"a": np.zeros(3)}, "tenfold-a-1", {"field": "x"})
    with pytest.raises(RecognizerError, match="field is 'x', expected: a valid integer"):
        load_artifact(tmp_path / "a.safetensors", "tenfold-a-1", Required)
