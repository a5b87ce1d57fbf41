from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tenfold.config import NetworkConfig
from tenfold.data import Dataset
from tenfold.device import Device
from tenfold.errors import DataError, OutputError, RecognizerError
from tenfold.metrics import score
from tenfold.networks import build
from tenfold.predictions import evaluate
from tenfold.preprocessing import Preprocessing
from tenfold.recognizer import PREDICT_BATCH, Member, Recognizer, apply_temperature

MORE_THAN_A_BATCH = PREDICT_BATCH + 88
NEIGHBOURS = ((1, 1), (-1, 1), (1, 2), (-1, 2))
PLAIN = Device(torch.device("cpu"), "fp32")


@pytest.fixture
def recognizer():
    """Two small untrained members."""
    settings = [NetworkConfig(name="compact", width=4), NetworkConfig(name="mlp", hidden=(8,))]
    networks = [
        build(choice, image_size=28, n_classes=10, seed=seed)
        for seed, choice in enumerate(settings)
    ]
    views = [Preprocessing(0.13, 0.31, 1.1), Preprocessing()]
    members = [Member(*parts) for parts in zip(networks, settings, views, strict=True)]
    return Recognizer(
        members, tuple("0123456789"), 28, precision="fp32", provenance={"from": "test"}
    )


def test_probabilities_are_the_mean_of_the_members(recognizer, digits):
    images = digits.images[:MORE_THAN_A_BATCH]
    both = recognizer.predictor(PLAIN).predict_proba(images)
    alone = [
        Recognizer([member], recognizer.classes, 28).predictor(PLAIN).predict_proba(images)
        for member in recognizer.members
    ]
    assert both.shape == (MORE_THAN_A_BATCH, 10)
    assert both.dtype == np.float32
    np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-5)


def test_member_predictions_are_what_each_member_predicts_alone(recognizer, digits):
    images = digits.images[:MORE_THAN_A_BATCH]
    both, by_member = recognizer.predictor(PLAIN).predict_members(images)
    np.testing.assert_array_equal(both, recognizer.predictor(PLAIN).predict_proba(images))
    for member, predicted in zip(recognizer.members, by_member, strict=True):
        alone = Recognizer([member], recognizer.classes, 28).predictor(PLAIN).predict_proba(images)
        np.testing.assert_array_equal(predicted, alone.argmax(axis=1))


def test_predicted_labels_are_of_the_kind_of_the_datasets_labels(recognizer, digits):
    predicted = recognizer.predict(digits)
    best = recognizer.predict_proba(digits).argmax(axis=1)
    assert predicted.dtype == digits.labels.dtype == np.int64
    np.testing.assert_array_equal(predicted, best)
    assert score(predicted, digits.labels).accuracy == (best == digits.labels).mean()
    assert recognizer.decode_labels(predicted).tolist() == [str(index) for index in best]


def test_a_labelled_dataset_with_other_classes_is_not_predicted_but_evaluated(recognizer, digits):
    """The labels of a file without a 0 start at its 1: compared as they are, none would fit."""
    rows = np.flatnonzero(digits.labels > 0)
    few = Dataset(digits.images[rows], digits.labels[rows] - 1, digits.classes[1:], "few.csv")
    with pytest.raises(DataError, match=r"few.csv: its classes are 1, .* mean something else"):
        recognizer.predict(few)
    same = evaluate(recognizer, digits[rows])
    assert evaluate(recognizer, few).to_json() == same.to_json()
    assert len(recognizer.predict(few.without_labels())) == len(few)


def test_evaluate_compares_predictions_with_labels(recognizer, digits):
    found = evaluate(recognizer, digits)
    assert found.score == score(recognizer.predict(digits), digits.labels)
    with pytest.raises(DataError, match="has no labels"):
        evaluate(recognizer, digits.without_labels())
    odd = Dataset(digits.images[:2], np.array([0, 1]), ("0", "x"), "odd.csv")
    with pytest.raises(DataError, match=r"odd.csv: has the label 'x'"):
        evaluate(recognizer, odd)


def test_a_single_image_is_predicted(recognizer, digits):
    assert recognizer.predict(digits.images[0]).shape == (1,)
    np.testing.assert_array_equal(
        recognizer.predict_proba(digits.images[0]), recognizer.predict_proba(digits[0])
    )


def test_a_predictor_serves_many_threads_and_leaves_the_thread_count_alone(recognizer, digits):
    recognizer = replace(recognizer, tta_shift=1.0)
    predictor, before = recognizer.predictor(PLAIN), torch.get_num_threads()
    pieces = [digits.images[start : start + 700] for start in range(0, 1300, 50)]
    expected = [recognizer.predictor(PLAIN).predict_proba(piece) for piece in pieces]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(predictor.predict_proba, pieces))
        counts = set(threads.map(lambda _: torch.get_num_threads(), range(8)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert counts == {before}
    assert torch.get_num_threads() == before


def test_a_predictor_does_not_follow_later_changes_of_the_networks(recognizer, digits):
    predictor = recognizer.predictor(PLAIN)
    before = predictor.predict_proba(digits[:10])
    next(recognizer.members[0].model.parameters()).data.zero_()
    np.testing.assert_array_equal(predictor.predict_proba(digits[:10]), before)


@pytest.mark.parametrize("tta", [True, False])
def test_the_module_computes_what_the_predictor_computes(recognizer, digits, tta):
    recognizer = replace(recognizer, temperature=1.7, tta_shift=1.0)
    module = recognizer.module(tta=tta)
    with torch.inference_mode():
        found = module(torch.from_numpy(digits.images[:300])).numpy()
    plain = recognizer if tta else replace(recognizer, tta_shift=None)
    np.testing.assert_allclose(
        found, plain.predictor(PLAIN).predict_proba(digits.images[:300]), atol=1e-5
    )


@pytest.mark.parametrize("alignment", [None, "deskew", "bounding_box"])
def test_the_module_can_be_exported(recognizer, digits, alignment):
    """Views, alignment and temperature included, for any number of images."""
    first, second = recognizer.members
    members = [
        replace(first, preprocessing=Preprocessing(0.1, 0.3, 1.1, alignment=alignment)),
        second,
    ]
    recognizer = replace(recognizer, members=members, temperature=1.3, tta_shift=1.0)
    module, images = recognizer.module(), torch.from_numpy(digits.images[:5])
    batch = torch.export.Dim("batch", min=2, max=4096)
    program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
    more = torch.from_numpy(digits.images[5:23])
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(more), module(more), atol=1e-6, rtol=0)


def test_the_repr_is_short(recognizer):
    assert repr(recognizer) == "Recognizer(2 × compact + mlp, 10 classes, images of 28 × 28)"


def test_it_comes_back_from_disk_as_it_was(recognizer, digits, tmp_path):
    path = tmp_path / "recognizer.safetensors"
    recognizer.save(path)
    again = Recognizer.load(path)
    for ours, theirs in zip(again.members, recognizer.members, strict=True):
        assert (ours.preprocessing, ours.config) == (theirs.preprocessing, theirs.config)
    assert again.classes == recognizer.classes
    assert again.provenance == {"from": "test"}
    before, after = (r.predictor(PLAIN).predict_proba(digits) for r in (recognizer, again))
    assert np.array_equal(before, after)
    assert Recognizer.load(tmp_path).classes == recognizer.classes  # by its folder


def test_half_the_bits_half_the_file_and_what_is_saved_predicts_the_same(
    recognizer, digits, tmp_path
):
    half = recognizer.cast_weights("float16")
    recognizer.save(tmp_path / "whole.safetensors")
    half.save(tmp_path / "half.safetensors")
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.safetensors", "half.safetensors")]
    assert sizes[1] < 0.6 * sizes[0]
    again = Recognizer.load(tmp_path / "half.safetensors")
    assert again.weights_dtype == "float16"
    before, after = (r.predictor(PLAIN).predict_proba(digits) for r in (half, again))
    np.testing.assert_array_equal(before, after)
    whole = recognizer.predictor(PLAIN).predict_proba(digits)
    assert not np.array_equal(whole, after)
    np.testing.assert_allclose(whole, after, atol=0.01)
    assert again.content_hash() == half.content_hash() != recognizer.content_hash()


def test_temperature_softens_without_changing_a_prediction(recognizer, digits, tmp_path):
    plain = recognizer.predictor(PLAIN).predict_proba(digits)
    warm = replace(recognizer, temperature=2.0, tta_shift=None)
    warm.save(tmp_path / "warm.safetensors")
    softer = Recognizer.load(tmp_path / "warm.safetensors").predictor(PLAIN).predict_proba(digits)
    np.testing.assert_array_equal(softer.argmax(axis=1), plain.argmax(axis=1))
    np.testing.assert_allclose(softer.sum(axis=1), 1, atol=1e-5)
    assert (softer.max(axis=1) < plain.max(axis=1)).all()
    np.testing.assert_allclose(apply_temperature(softer, 0.5), plain, atol=1e-5)


@pytest.mark.parametrize("zoom", [None, 1.25])
def test_uncertain_images_are_averaged_over_five_views(recognizer, digits, monkeypatch, zoom):
    images = digits.images[:300]
    shifted = [np.roll(images, shift, axis) for shift, axis in ((0, 1), *NEIGHBOURS)]
    members = [replace(recognizer.members[0], preprocessing=Preprocessing(zoom=zoom))]
    plain = replace(recognizer, members=members, temperature=1.0, tta_shift=None)
    once, *others = (plain.predictor(PLAIN).predict_proba(each) for each in shifted)
    level = float(np.median(once.max(axis=1)))  # a network that never learned is never confident
    monkeypatch.setattr("tenfold.recognizer.TTA_THRESHOLD", level)
    uncertain = once.max(axis=1) < level
    found = replace(plain, tta_shift=1.0).predictor(PLAIN).predict_proba(images)
    np.testing.assert_array_equal(found[~uncertain], once[~uncertain])
    expected = np.mean([once, *others], axis=0)[uncertain]
    np.testing.assert_allclose(found[uncertain], expected, atol=1e-4)  # no ink at the edges wraps
    assert not np.allclose(found[uncertain], once[uncertain], atol=1e-4)


def test_images_of_another_size_are_refused(recognizer):
    small = Dataset(np.zeros((3, 20, 20), np.uint8), name="small.csv")
    with pytest.raises(DataError, match=r"small.csv: holds uint8 images of 20 × 20 .* 28 × 28"):
        recognizer.predict(small)
    with pytest.raises(DataError, match="float64"):
        recognizer.predict(np.zeros((3, 28, 28)))


def test_progress_is_reported_after_each_batch(recognizer, digits):
    calls = []
    recognizer.predictor(PLAIN).predict_proba(
        digits.images[:1100], on_progress=lambda *now: calls.append(now)
    )
    assert calls == [(512, 1100), (1024, 1100), (1100, 1100)]


def test_no_images_have_no_predictions(recognizer):
    assert recognizer.predict_proba(np.zeros((0, 28, 28), np.uint8)).shape == (0, 10)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flip", "text"])
def test_a_damaged_file_error_message(recognizer, tmp_path, damage):
    path = tmp_path / "recognizer.safetensors"
    recognizer.save(path)
    content = bytearray(path.read_bytes())
    match damage:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(content[:-1000])
        case "flip":
            content[-1] ^= 255
            path.write_bytes(content)
        case "text":
            path.write_text("label,pixel0\n1,2\n")
    with pytest.raises(RecognizerError, match=r"recognizer.safetensors") as caught:
        Recognizer.load(path)
    assert "expected" in str(caught.value) or "damaged" in str(caught.value)


def test_no_bit_of_the_file_can_change_unseen(recognizer, tmp_path):
    """Weights, classes, preprocessing and the format itself are under the checksum."""
    path = tmp_path / "recognizer.safetensors"
    recognizer.save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    header = int.from_bytes(content[:8], "little") + 8
    for place in [*rng.integers(0, header, 150), *rng.integers(header, len(content), 20)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(RecognizerError):
            Recognizer.load(path)


def test_a_file_whose_description_does_not_fit_is_refused(recognizer, tmp_path):
    path = tmp_path / "odd.safetensors"
    first, second = recognizer.members
    members = [replace(first, config=second.config), replace(second, config=first.config)]
    odd = Recognizer(members, recognizer.classes, 28)
    odd.save(path)
    with pytest.raises(RecognizerError, match=r"odd.safetensors: .*lacks the array 0.dense1"):
        Recognizer.load(path)


def test_an_unwritable_place_error_message_and_nothing_left(recognizer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        recognizer.save(tmp_path / "file" / "recognizer.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_preprocessing_without_zoom_keeps_every_pixel(digits):
    images = torch.from_numpy(digits.images[:5])
    inputs = Preprocessing()(images)
    assert inputs.shape == (5, 1, 28, 28)
    assert torch.equal((inputs[:, 0] * 255).round().to(torch.uint8), images)


def test_standardizing_gives_mean_zero_and_deviation_one(digits):
    mean, std = digits.images.mean() / 255, digits.images.std() / 255
    inputs = Preprocessing(mean, std)(torch.from_numpy(digits.images))
    assert inputs.mean().item() == pytest.approx(0, abs=1e-3)
    assert inputs.std().item() == pytest.approx(1, abs=1e-3)


def test_zoom_enlarges_the_centre(digits):
    images = torch.from_numpy(digits.images[:50])
    plain, zoomed = Preprocessing()(images), Preprocessing(zoom=1.25)(images)
    assert zoomed.sum() / plain.sum() == pytest.approx(1.25**2, rel=0.05)
    assert torch.allclose(zoomed.flip(3), Preprocessing(zoom=1.25)(images.flip(2)), atol=1e-5)


def test_the_network_input_may_have_another_size(digits):
    images = torch.from_numpy(digits.images[:50])
    inputs = Preprocessing(size=20)(images)
    assert inputs.shape == (50, 1, 20, 20)
    assert inputs.mean() == pytest.approx(Preprocessing()(images).mean().item(), rel=0.05)


def test_a_file_of_an_older_version_is_refused_as_such(tmp_path):
    """Version 3 kept its format in an entry of its own."""
    path = tmp_path / "recognizer.safetensors"
    weights = {"0.classes.weight": np.zeros((10, 4), np.float32)}
    save_file(weights, path, {"format": "tenfold-recognizer-3", "about": "{}", "sha256": "0"})
    with pytest.raises(RecognizerError, match=r"older version of tenfold \(tenfold-recognizer-3\)"):
        Recognizer.load(path)


@pytest.mark.parametrize(("version", "age"), [(4, "older"), (6, "newer")])
def test_files_of_other_versions_say_which(recognizer, tmp_path, monkeypatch, version, age):
    path = tmp_path / "recognizer.safetensors"
    monkeypatch.setattr("tenfold.recognizer.FORMAT", f"tenfold-recognizer-{version}")
    recognizer.save(path)
    monkeypatch.undo()
    with pytest.raises(RecognizerError, match=f"written by an? {age} version of tenfold"):
        Recognizer.load(path)


def test_equal_recognizers_are_equal_files(recognizer, tmp_path):
    contents = set()
    for number in range(5):
        recognizer.save(tmp_path / f"{number}.safetensors")
        contents.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(contents) == 1
