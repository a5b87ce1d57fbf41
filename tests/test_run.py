import json
import os
import shutil
import signal

import numpy as np
import pytest

from tenfold.data import Dataset
from tenfold.errors import DataError, Interrupted, OutputError
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.run import run, train_and_report
from tenfold.run_folder import RunFolder
from tenfold.training.callbacks import Callback
from tenfold.training.train import pseudo_label

SMALL = ("network.width=6", "training.max_epochs=3", "training.batch_size=64")


class Stop(Callback):
    """Presses Ctrl-C after the first step."""

    def on_step_end(self, state):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def twice(digits, tmp_path_factory):
    """A run that learned a second time, from its own sure answers too."""
    labelled = digits.select(np.arange(1000), "train.csv")
    rest = digits.select(np.arange(1000, 2000), "test.csv")
    recipe = Recipe.load("quick", overrides=[*SMALL, "data.pseudo_label_threshold=0.6"])
    folder = tmp_path_factory.mktemp("twice") / "run"
    score = run(labelled, rest.without_labels(), recipe, folder, test_labels=rest.label_names())
    return labelled, rest, recipe, RunFolder(folder), score


def test_the_second_training_learns_from_pseudo_labels_too(twice):
    labelled, rest, _, folder, score = twice
    first = Recognizer.load(folder.pseudo_label_stage)
    pseudo_labelled = pseudo_label(first, rest, 0.6)
    assert 100 < len(pseudo_labelled) < 1000
    assert pseudo_labelled.classes == labelled.classes
    accuracy = (
        pseudo_labelled.labels == rest.labels[first.predict_proba(rest).max(axis=1) >= 0.6]
    ).mean()
    assert accuracy > score.accuracy - 0.02
    data = folder.data.read_text()
    assert (
        f'"images": {950 + len(pseudo_labelled)}' in data
    )  # a twentieth of the labelled ones is held out
    assert score.n == 1000


def test_a_second_run_in_the_same_place_is_refused_and_resuming_repeats_nothing(twice):
    labelled, rest, recipe, folder, score = twice
    with pytest.raises(OutputError, match="already holds a run"):
        run(labelled, rest.without_labels(), recipe, folder.path)
    before = folder.checkpoint.read_bytes()
    again = run(
        labelled,
        rest.without_labels(),
        recipe,
        folder.path,
        test_labels=rest.label_names(),
        resume=True,
    )
    assert again == score
    assert folder.checkpoint.read_bytes() == before


def test_a_longer_second_training_leaves_the_first_as_it_was(twice, tmp_path):
    labelled, rest, recipe, folder, _ = twice
    copied = RunFolder(tmp_path / "run")
    shutil.copytree(folder.path, copied.path)
    first = RunFolder(copied.pseudo_label_stage).checkpoint
    before = first.read_bytes()
    longer = recipe.with_overrides({"training": {"max_epochs": 4}})
    run(labelled, rest.without_labels(), longer, copied.path, resume=True)
    assert first.read_bytes() == before
    assert len(copied.history()) == 4


def test_a_longer_run_that_is_stopped_keeps_no_outputs_of_the_shorter_one(twice, tmp_path):
    labelled, rest, recipe, folder, _ = twice
    copied = RunFolder(tmp_path / "run")
    shutil.copytree(folder.path, copied.path)
    longer = recipe.with_overrides({"training": {"max_epochs": 40}})
    with pytest.raises(Interrupted):
        run(labelled, rest.without_labels(), longer, copied.path, callbacks=[Stop()], resume=True)
    printed = ("submission", "predictions", "validation", "score", "summary", "report")
    assert all(getattr(folder, name).exists() for name in printed)
    assert not any(getattr(copied, name).exists() for name in printed)


def test_other_images_without_labels_leave_no_score(digits, tmp_path):
    labelled, rest = digits.select(np.arange(600)), digits.select(np.arange(600, 900))
    recipe, folder = Recipe.load("quick", overrides=SMALL), RunFolder(tmp_path / "run")
    images, truth = rest.without_labels(), rest.label_names()
    assert run(labelled, images, recipe, folder.path, test_labels=truth).n == 300
    assert json.loads(folder.summary.read_text())["total_s"] > 0
    others = images.select(np.arange(200), "other.csv")
    assert run(labelled, others, recipe, folder.path, resume=True) is None
    assert not folder.score.exists()
    assert json.loads(folder.summary.read_text())["total_s"] is None


def test_continuing_is_refused_where_predictions_would_grow_old(twice):
    labelled, _, recipe, folder, _ = twice
    before = folder.recognizer.read_bytes()
    longer = recipe.with_overrides({"training": {"max_epochs": 4}})
    with pytest.raises(
        OutputError, match="holds predictions already, expected a run of `tenfold tr"
    ):
        train_and_report(labelled, longer, folder, resume=True)
    assert folder.recognizer.read_bytes() == before


def test_images_of_another_size_are_found_out_before_anything_is_trained(digits, tmp_path):
    recipe = Recipe.load("quick", overrides=[*SMALL, "data.pseudo_label_threshold=0.6"])
    smaller = Dataset(digits.images[:, 4:24, 4:24].copy(), None, digits.classes, "test.csv")
    with pytest.raises(DataError, match=r"test.csv: images are 20 pixels wide, expected 28"):
        run(digits, smaller, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_threshold_of_one_adds_few_images(twice, digits):
    *_, folder, _ = twice
    recognizer = Recognizer.load(folder.pseudo_label_stage)
    assert len(pseudo_label(recognizer, digits, 1.0)) < len(digits) / 2
