"""Exported files against the recognizers that they come from."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from tenfold import data
from tenfold.decision import DecisionRule
from tenfold.errors import OutputError, RecognizerError
from tenfold.export import compare, export_onnx
from tenfold.models import load
from tenfold.networks import build
from tenfold.onnx_recognizer import OnnxRecognizer
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.recognizer import Member, Recognizer


def recognizer(network="quick", **changes):
    """Two untrained members that differ, with all that a recognizer can have."""
    config = Recipe.load(network, overrides=changes.pop("overrides", ())).network
    members = []
    for seed, preprocessing in enumerate(
        [Preprocessing(0.13, 0.31, zoom=1.2, size=24), Preprocessing(0.1, 0.3, alignment="deskew")]
    ):
        size = preprocessing.size or 28
        model = build(config, image_size=size, n_classes=10, seed=seed).eval()
        with torch.no_grad():
            [*model.modules()][-1].weight.mul_(60)  # or every image would be the same digit
        members.append(Member(model, config, preprocessing))
    rule = DecisionRule(0.8, 0.6, 10, 0.9, 1.0, (0.5, 0.1))
    settings = {"temperature": 1.3, "tta_shift": 1.0, "decision_rule": rule}
    return Recognizer(members, data.DIGITS, 28, **(settings | changes))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "digits.onnx"
    ours = recognizer(overrides=["network.width=8"], provenance={"recipe": "quick"})
    return ours, export_onnx(ours, path), path


def test_probabilities_are_equal_on_ten_thousand_digits(exported, mnist):
    ours, parity, path = exported
    assert parity.n == 256
    found = compare(ours, load(path), mnist[1].images)
    assert found.n == 10_000
    assert found.max_difference <= 1e-4
    assert found.n_changed == 0


def test_the_file_holds_all_that_the_recognizer_knows(exported, digits):
    ours, _, path = exported
    theirs = load(path)
    assert isinstance(theirs, OnnxRecognizer)
    assert theirs.classes == ours.classes
    assert theirs.image_size == 28
    assert theirs.decision_rule == ours.decision_rule
    assert theirs.card == {"recipe": "quick"}
    assert len(np.unique(theirs.predict(digits))) >= 2
    assert theirs.predict(digits.images[0]).shape == (1,)
    assert theirs.predict_proba(digits.images[:0]).shape == (0, 10)
    assert sorted(each.name for each in path.parent.iterdir()) == ["digits.onnx"]  # no second file
    model = onnx.load(path)
    assert model.opset_import[0].version == 18
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # any number of images


def test_half_precision_halves_the_file_and_leaves_out_views(exported, tmp_path, digits):
    ours, _, path = exported
    small = tmp_path / "small.onnx"
    parity = export_onnx(ours, small, weights_dtype="float16", tta=False)
    assert parity.max_difference < 0.02
    assert small.stat().st_size < 0.65 * path.stat().st_size
    plain = replace(ours, tta_shift=None)
    found = compare(plain, load(small), digits.images)
    assert found.n_changed <= 10  # an untrained network is near many borders


def test_an_export_that_predicts_differently_is_refused(tmp_path, monkeypatch):
    ours = recognizer("lenet5")
    monkeypatch.setattr("tenfold.export.MAX_DIFFERENCE", {"float32": -1.0})
    with pytest.raises(OutputError, match=r"would predict differently .* expected a difference"):
        export_onnx(ours, tmp_path / "digits.onnx")
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_export_are_refused(exported, tmp_path):
    _, _, path = exported
    content = path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.onnx").write_text("a text")
    foreign = onnx.load(path)
    del foreign.metadata_props[:]
    (tmp_path / "foreign.onnx").write_bytes(foreign.SerializeToString())
    entry = foreign.metadata_props.add()
    for name, metadata in [("older", '{"format": "tenfold-onnx-0"}'), ("torn", '{"format"')]:
        entry.key, entry.value = "tenfold", metadata
        (tmp_path / f"{name}.onnx").write_bytes(foreign.SerializeToString())
    for name, message in [
        ("cut", "is damaged or no ONNX file"),
        ("text", "is damaged or no ONNX file"),
        ("foreign", "is an ONNX file of another program"),
        ("older", "was written by an older version of tenfold"),
        ("torn", "its content is not what tenfold writes"),
        ("missing", "there is no such file"),
    ]:
        with pytest.raises(RecognizerError, match=message):
            load(tmp_path / f"{name}.onnx")


def test_threads_share_one_exported_recognizer(exported, digits):
    from concurrent.futures import ThreadPoolExecutor

    _, _, path = exported
    theirs = load(path)
    expected = theirs.predict_proba(digits.images[:100])
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(theirs.predict_proba, [digits.images[:100]] * 8):
            np.testing.assert_array_equal(found, expected)
