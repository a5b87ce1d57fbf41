from dataclasses import replace

import numpy as np
import pytest
import torch

from tenfold.config import NetworkConfig
from tenfold.data import Dataset
from tenfold.device import Device
from tenfold.errors import DataError, OutputError, RecognizerError
from tenfold.networks import build
from tenfold.preprocessing import Preprocessing
from tenfold.recognizer import PREDICT_BATCH, Member, Recognizer, apply_temperature

MORE_THAN_A_BATCH = PREDICT_BATCH + 88
NEIGHBOURS = ((1, 1), (-1, 1), (1, 2), (-1, 2))
PLAIN = Device(torch.device("cpu"), "fp32")


@pytest.fixture
def recognizer():
    """Two small untrained members."""
    choices = [NetworkConfig(name="compact", width=4), NetworkConfig(name="mlp", hidden=(8,))]
    networks = [
        build(choice, image_size=28, n_classes=10, seed=seed) for seed, choice in enumerate(choices)
    ]
    views = [Preprocessing(0.13, 0.31, 1.1), Preprocessing()]
    members = [Member(*parts) for parts in zip(networks, choices, views, strict=True)]
    return Recognizer(
        members, tuple("0123456789"), 28, precision="fp32", provenance={"from": "test"}
    )


def test_probabilities_are_the_mean_of_the_members(recognizer, digits):
    images = digits.images[:MORE_THAN_A_BATCH]
    both = recognizer.predict_proba(images, PLAIN)
    alone = [
        Recognizer([member], recognizer.classes, 28).predict_proba(images, PLAIN)
        for member in recognizer.members
    ]
    assert both.shape == (MORE_THAN_A_BATCH, 10)
    assert both.dtype == np.float32
    np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2, atol=1e-6)
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-5)


def test_votes_are_what_each_member_answers_alone(recognizer, digits):
    images = digits.images[:MORE_THAN_A_BATCH]
    both, votes = recognizer.predict_proba_and_members(images, PLAIN)
    np.testing.assert_array_equal(both, recognizer.predict_proba(images, PLAIN))
    for member, vote in zip(recognizer.members, votes, strict=True):
        alone = Recognizer([member], recognizer.classes, 28).predict_proba(images, PLAIN)
        np.testing.assert_array_equal(vote, alone.argmax(axis=1))


def test_answers_are_names_of_classes(recognizer, digits):
    answers = recognizer.predict(digits, PLAIN)
    best = recognizer.predict_proba(digits, PLAIN).argmax(axis=1)
    assert answers.tolist() == [str(index) for index in best]


def test_it_comes_back_from_disk_as_it_was(recognizer, digits, tmp_path):
    path = tmp_path / "recognizer.safetensors"
    recognizer.save(path)
    again = Recognizer.load(path)
    for ours, theirs in zip(again.members, recognizer.members, strict=True):
        assert (ours.preprocessing, ours.choices) == (theirs.preprocessing, theirs.choices)
    assert again.classes == recognizer.classes
    assert again.provenance == {"from": "test"}
    before, after = (r.predict_proba(digits, PLAIN) for r in (recognizer, again))
    assert np.array_equal(before, after)
    assert Recognizer.load(tmp_path).classes == recognizer.classes  # by its folder


def test_half_the_bits_half_the_file_and_what_was_judged_is_what_is_kept(
    recognizer, digits, tmp_path
):
    half = recognizer.cast_weights("float16")
    recognizer.save(tmp_path / "whole.safetensors")
    half.save(tmp_path / "half.safetensors")
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.safetensors", "half.safetensors")]
    assert sizes[1] < 0.6 * sizes[0]
    again = Recognizer.load(tmp_path / "half.safetensors")
    assert again.weights == "float16"
    before, after = (r.predict_proba(digits, PLAIN) for r in (half, again))
    np.testing.assert_array_equal(before, after)
    whole = recognizer.predict_proba(digits, PLAIN)
    assert not np.array_equal(whole, after)
    np.testing.assert_allclose(whole, after, atol=0.01)
    assert again.content_hash() == half.content_hash() != recognizer.content_hash()


def test_temperature_softens_without_changing_an_answer(recognizer, digits, tmp_path):
    plain = recognizer.predict_proba(digits, PLAIN)
    warm = replace(recognizer, temperature=2.0, tta_shift=None)
    warm.save(tmp_path / "warm.safetensors")
    softer = Recognizer.load(tmp_path / "warm.safetensors").predict_proba(digits, PLAIN)
    np.testing.assert_array_equal(softer.argmax(axis=1), plain.argmax(axis=1))
    np.testing.assert_allclose(softer.sum(axis=1), 1, atol=1e-5)
    assert (softer.max(axis=1) < plain.max(axis=1)).all()
    np.testing.assert_allclose(apply_temperature(softer, 0.5), plain, atol=1e-5)


@pytest.mark.parametrize("zoom", [None, 1.25])
def test_the_unsure_look_again_at_the_image_and_its_four_neighbours(
    recognizer, digits, monkeypatch, zoom
):
    images = digits.images[:300]
    moved = [np.roll(images, shift, axis) for shift, axis in ((0, 1), *NEIGHBOURS)]
    hide_axes = [replace(recognizer.members[0], preprocessing=Preprocessing(zoom=zoom))]
    plain = replace(recognizer, members=hide_axes, temperature=1.0, tta_shift=None)
    once, *others = (plain.predict_proba(each, PLAIN) for each in moved)
    level = float(np.median(once.max(axis=1)))  # a network that never learned is never sure
    monkeypatch.setattr("tenfold.recognizer.TTA_THRESHOLD", level)
    unsure = once.max(axis=1) < level
    found = replace(plain, tta_shift=1.0).predict_proba(images, PLAIN)
    np.testing.assert_array_equal(found[~unsure], once[~unsure])
    expected = np.mean([once, *others], axis=0)[unsure]
    np.testing.assert_allclose(found[unsure], expected, atol=1e-4)  # no ink at the edges wraps
    assert not np.allclose(found[unsure], once[unsure], atol=1e-4)


def test_images_of_another_size_are_refused(recognizer):
    small = Dataset(np.zeros((3, 20, 20), np.uint8), name="small.csv")
    with pytest.raises(DataError, match=r"small.csv: holds uint8 images of 20 × 20 .* 28 × 28"):
        recognizer.predict(small)
    with pytest.raises(DataError, match="float64"):
        recognizer.predict(np.zeros((3, 28, 28)))


def test_progress_is_told_after_each_batch(recognizer, digits):
    told = []
    recognizer.predict_proba(digits.images[:1100], PLAIN, on_progress=lambda *now: told.append(now))
    assert told == [(512, 1100), (1024, 1100), (1100, 1100)]


def test_no_images_have_no_answers(recognizer):
    assert recognizer.predict_proba(np.zeros((0, 28, 28), np.uint8)).shape == (0, 10)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flip", "text"])
def test_a_damaged_file_is_a_sentence(recognizer, tmp_path, damage):
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
    members = [replace(first, choices=second.choices), replace(second, choices=first.choices)]
    odd = Recognizer(members, recognizer.classes, 28)
    odd.save(path)
    with pytest.raises(RecognizerError, match="does not fit its weights"):
        Recognizer.load(path)


def test_an_unwritable_place_is_a_sentence_and_leaves_nothing(recognizer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        recognizer.save(tmp_path / "file" / "recognizer.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_preprocessing_without_zoom_keeps_every_pixel(digits):
    images = torch.from_numpy(digits.images[:5])
    seen = Preprocessing()(images)
    assert seen.shape == (5, 1, 28, 28)
    assert torch.equal((seen[:, 0] * 255).round().to(torch.uint8), images)


def test_standardizing_gives_mean_zero_and_deviation_one(digits):
    mean, std = digits.images.mean() / 255, digits.images.std() / 255
    seen = Preprocessing(mean, std)(torch.from_numpy(digits.images))
    assert seen.mean().item() == pytest.approx(0, abs=1e-3)
    assert seen.std().item() == pytest.approx(1, abs=1e-3)


def test_zoom_enlarges_the_centre(digits):
    images = torch.from_numpy(digits.images[:50])
    plain, zoomed = Preprocessing()(images), Preprocessing(zoom=1.25)(images)
    assert zoomed.sum() / plain.sum() == pytest.approx(1.25**2, rel=0.05)
    assert torch.allclose(zoomed.flip(3), Preprocessing(zoom=1.25)(images.flip(2)), atol=1e-5)


def test_the_network_may_see_another_size(digits):
    images = torch.from_numpy(digits.images[:50])
    seen = Preprocessing(size=20)(images)
    assert seen.shape == (50, 1, 20, 20)
    assert seen.mean() == pytest.approx(Preprocessing()(images).mean().item(), rel=0.05)
