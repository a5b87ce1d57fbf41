"""The benchmarks: what they make of finished runs, and what they count."""

import gzip
import hashlib
import importlib
import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from sklearn.metrics import roc_auc_score

from tenfold.data import read
from tenfold.recipe import Recipe
from tenfold.run_folder import RunFolder

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import a script by its name; all scripts are unloaded at the end."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    before = set(sys.modules)
    yield importlib.import_module
    for name in {path.stem for path in FOLDER.glob("*.py")} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def seeds(script, monkeypatch):
    """The script, with a fake `ours.call` that leaves a run; `called` holds its arguments."""
    script = script("seeds")
    script.called = []

    def call(arguments):
        script.called.append(arguments)
        if "score" in arguments:
            return json.dumps({"accuracy": 0.9, "correct": 9, "n": 10, "interval": [0.5, 1.0]})
        leave_run(Path(arguments[arguments.index("--out") + 1]), "lenet5", None)
        return ""

    monkeypatch.setattr(script.ours, "call", call)
    return script


def leave_run(out, recipe, data):
    """Write what the script reads of a finished run on the training file of `data`."""
    run = RunFolder(out)
    out.mkdir(parents=True, exist_ok=True)
    recipe = Recipe.load(recipe, overrides=["data.validation=none"], seed=0)
    run.recipe.write_text(recipe.to_toml())
    summary = {"recipe": recipe.name, "validation": None, "train_s": 1.0, "total_s": 2.0}
    run.summary.write_text(json.dumps(summary))
    run.score.write_text(
        json.dumps({"accuracy": 0.9, "correct": 9, "n": 10, "interval": [0.5, 1.0]})
    )
    if data is not None:
        train_set = read(data / "train.csv", labels=True)
        facts = {"train": {"sha256": train_set.content_hash()}, "valid": None}
        run.data.write_text(json.dumps(facts))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_every_script_can_be_imported(script, name):
    if name == "two_nodes":
        pytest.importorskip("ray")
    assert script(name).__doc__


NO_VALIDATION = ["data.validation=none"]


def test_a_resumed_seed_stays_marked(seeds, tmp_path):
    (tmp_path / "0").mkdir()
    first = seeds.run_seed("lenet5", 0, tmp_path, None, NO_VALIDATION)
    assert "--resume" in seeds.called[0]
    again = seeds.run_seed("lenet5", 0, tmp_path, None, NO_VALIDATION)
    assert len(seeds.called) == 1
    assert first["resumed"]
    assert again["resumed"]


def test_a_missing_validation_accuracy_is_a_dash(seeds, tmp_path, capsys):
    row = seeds.run_seed("lenet5", 0, tmp_path, None, NO_VALIDATION)
    assert not row["resumed"]
    summary = seeds.summarize([row, row])
    assert summary["mean"]["valid_accuracy"] is summary["std"]["valid_accuracy"] is None
    seeds.print_row("mean", summary["mean"])
    assert capsys.readouterr().out.split() == ["mean", "0.90000", "–", "1.0", "2.0"]


def test_a_run_on_other_data_is_refused(seeds, tmp_path, digits_csv):
    leave_run(tmp_path / "runs" / "0", "lenet5", digits_csv)
    assert seeds.run_seed("lenet5", 0, tmp_path / "runs", digits_csv, NO_VALIDATION)["n"] == 10
    lines = (digits_csv / "train.csv").read_text().splitlines(keepends=True)
    (tmp_path / "train.csv").write_text("".join(lines[:-1]))
    with pytest.raises(SystemExit, match="holds a run on other data than"):
        seeds.run_seed("lenet5", 0, tmp_path / "runs", tmp_path, NO_VALIDATION)


def test_a_worker_that_ended_by_itself_does_not_count_as_killed(script, monkeypatch, tmp_path):
    kill_search = script("kill_search")
    monkeypatch.setattr(kill_search, "wait", lambda *_: False)
    always_workers = random.Random()
    monkeypatch.setattr(always_workers, "random", lambda: 0.0)
    met = []

    class Worker:
        def kill(self):
            met.append(self)
            if len(met) == 2:
                raise psutil.NoSuchProcess(1)

    class Search(kill_search.Search):
        def start(self):
            pass

        def workers(self):
            return [Worker()]

    assert kill_search.run_with_kills(Search([], tmp_path), 3, 0.1, always_workers) == 3
    assert len(met) == 4


def test_robust_changes_every_digit_and_reads_pictures_without_one(script, digits, tmp_path):
    robust = script("robust")
    few = digits.images[:200], digits.labels[:200]
    for images in robust.changed_digits(*few).values():
        assert images.shape == few[0].shape
        assert (images != few[0]).any(axis=(1, 2)).mean() > 0.5
    idx = tmp_path / "things-idx3-ubyte"
    idx.write_bytes(bytes(16) + few[0].tobytes())
    noise, blank, things = robust.no_digits([idx]).values()
    assert len(noise) == 2000
    assert (blank == blank[:, :1, :1]).all()
    assert (things == few[0]).all()


def test_robust_scores_a_recognizer(script):
    class Always3:
        def predict(self, images):
            return [3] * len(images)

    row = script("robust").score(Always3(), np.zeros((4, 28, 28)), np.array([3, 3, 1, 3]))
    assert (row["correct"], row["n"]) == (3, 4)
    assert row["interval"][0] < 0.75 < row["interval"][1]


# How a recognizer holds on other images.


@pytest.fixture
def few(digits):
    """Sixteen digits: uint8 [16, 28, 28]."""
    return digits.images[:16].copy()


def test_every_corruption_changes_the_images_and_depends_on_the_seed_alone(script, few):
    corruptions = script("corruptions")
    assert len(corruptions.CORRUPTIONS) == 15
    before = few.copy()
    for name in corruptions.CORRUPTIONS:
        found = corruptions.corrupt(name, few, seed=1)
        assert (found.dtype, found.shape) == (np.uint8, few.shape), name
        assert (found != few).any(axis=(1, 2)).all(), name
        assert np.array_equal(found, corruptions.corrupt(name, few, seed=1)), name
        same = np.array_equal(found, corruptions.corrupt(name, few, seed=2))
        assert same == (name in {"scale", "brightness", "stripe", "canny edges"}), name
    assert np.array_equal(few, before)


def test_corruptions_do_what_their_names_say(script, few):
    corruptions = script("corruptions")
    found = {name: corruptions.corrupt(name, few) for name in corruptions.CORRUPTIONS}
    ink = {name: images.astype(float).sum(axis=(1, 2)) for name, images in found.items()}
    ink_before = few.astype(float).sum(axis=(1, 2))

    background = few == 0
    assert found["brightness"].min() == 128  # half of 255, rounded to even
    assert np.array_equal(found["stripe"][:, :, :7], 255 - few[:, :, :7])
    assert np.array_equal(found["stripe"][:, :, 7:21], few[:, :, 7:21])
    assert (found["shot noise"][background] == 0).all()
    assert 0.13 < (found["impulse noise"] != few)[background].mean() * 2 < 0.21
    assert (found["dotted line"] >= few).all()
    assert (found["zigzag"] >= few).all()
    assert set(np.unique(found["canny edges"])) == {0, 255}
    np.testing.assert_allclose(ink["scale"] / ink_before, 0.49, rtol=0.1)
    np.testing.assert_allclose(ink["rotate"] / ink_before, 1, rtol=0.03)
    np.testing.assert_allclose(ink["shear"] / ink_before, 1 / np.cos(0.4), rtol=0.03)
    for image, moved in zip(few, found["translate"], strict=True):
        shifts = [np.roll(image, (down, right), (0, 1)) for down in (-3, 3) for right in (-3, 3)]
        assert any(np.array_equal(moved[3:-3, 3:-3], each[3:-3, 3:-3]) for each in shifts)


def test_a_picture_of_any_size_is_normalised_to_what_mnist_has(script, few):
    pictures = script("pictures")
    large = few.repeat(5, axis=1).repeat(5, axis=2)
    placed = np.pad(large, ((0, 0), (0, 60), (90, 0)))
    found = pictures.normalize_all(placed)
    assert np.array_equal(found, pictures.normalize_all(large))
    from_itself, from_others = (
        np.abs(found.astype(float) - np.roll(few, shift, axis=0)).mean() for shift in (0, 1)
    )
    assert from_itself < from_others / 3
    assert not pictures.normalize_all([np.zeros((9, 5), np.uint8)]).any()


def test_a_file_with_other_content_is_refused(script, monkeypatch, tmp_path):
    pictures = script("pictures")
    line = " ".join(["7", *["-1"] * 255, "1"]) + "\n"
    path = tmp_path / "zip.test.gz"
    path.write_bytes(gzip.compress(line.encode()))
    with pytest.raises(SystemExit, match=r"zip\.test\.gz has sha256 \w+, expected 6bde"):
        pictures.read_usps(path)
    of_line = replace(pictures.SOURCES["usps"], sha256=hashlib.sha256(line.encode()).hexdigest())
    monkeypatch.setitem(pictures.SOURCES, "usps", of_line)
    images, labels = pictures.read_usps(path)
    assert labels.tolist() == [7]
    assert images.shape == (1, 16, 16)
    assert (images.sum(), images[0, -1, -1]) == (255, 255)


def test_strokes_are_drawn_as_long_as_the_picture(script):
    strokes = script("strokes")
    line = strokes.draw([np.array([[3.0, 5.0], [3.0, 500.0]])])
    assert line.shape == (strokes.LONGER_SIDE + 2 * strokes.PEN, 2 * strokes.PEN)
    assert line[strokes.PEN : -strokes.PEN, strokes.PEN].all()
    assert strokes.draw([np.array([[3.0, 5.0]])]).any()


def test_the_area_under_the_curve_is_that_of_scikit_learn(script):
    outliers = script("outliers")
    rng = np.random.default_rng(0)
    digits, others = rng.normal(1, 1, 300).round(1), rng.normal(0, 1, 200).round(1)  # with ties
    area, (low, high) = outliers.auroc(digits, others)
    is_digit = np.repeat([1, 0], [300, 200])
    assert area == pytest.approx(roc_auc_score(is_digit, np.concatenate([digits, others])))
    assert 0.7 < low < area < high < 0.9
    assert outliers.auroc(digits + 100, others) == (1, (1, 1))
    assert outliers.auroc(others, digits)[0] == pytest.approx(1 - area)


def test_the_whole_of_robustness(script, monkeypatch, tmp_path, digits, capsys):
    robustness, outliers = script("robustness"), script("outliers")
    some = digits.select(np.arange(20), "some")
    half = np.full((1, 10), 0.05, np.float32)

    def predict(images):
        """Be sure of a 1 where there is less ink than in most digits."""
        probabilities = half.repeat(len(images), axis=0)
        probabilities[:, 1] += np.where(images.mean(axis=(1, 2)) < 60, 0.5, 0.1)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    monkeypatch.setattr(robustness, "mnist", lambda: (None, some))
    monkeypatch.setattr(robustness, "load", lambda _path: SimpleNamespace(predict_proba=predict))
    absent = {name: replace(source, path=None) for name, source in robustness.SOURCES.items()}
    monkeypatch.setattr(robustness, "SOURCES", absent)
    monkeypatch.setattr(outliers, "SYNTHETIC", 20)
    monkeypatch.setattr(sys, "argv", ["robustness.py", "a", "b", "--out", str(tmp_path / "out")])
    robustness.main()
    record = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert [row["name"] for row in record["corruptions"]][:2] == ["as they are", "shot noise"]
    assert len(record["corruptions"]) == 16
    assert record["corruptions"][0]["a"]["n"] == 20
    assert record["corruptions"][0]["a"] == record["corruptions"][0]["b"]
    assert record["no_digits"][0]["a"]["auroc"] > 0.9
    assert record["no_digits"][0]["a"]["kept"] == 0
    assert "scipy" in record["machine"]["versions"]
    assert (tmp_path / "out" / "robustness.png").exists()
    printed = capsys.readouterr().out
    assert "--usps is not given, its rows are left out: zip.test of" in printed
    assert "brightness                       20" in printed
