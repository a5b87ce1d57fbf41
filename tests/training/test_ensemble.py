"""Small ensembles of real networks on real digits, each member in a process of its own."""

import json
import shutil

import numpy as np
import pytest

from tenfold.errors import DataError, JobError, OutputError, RecipeError, RecognizerError
from tenfold.jobs import Job
from tenfold.predictions import Predictions
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.training import ensemble
from tenfold.training.train import divide, learn

SMALL = (
    "network.name=mlp", "network.hidden=[32]", "network.width=none", "training.max_epochs=2",
    "data.validation=0.5", "ensemble.members=3", "training.progressive_sizes=[]",
    "optimizer.name=adamw", "optimizer.momentum=0",
)  # fmt: skip


def recipe_of(*overrides: str) -> Recipe:
    return Recipe.load("quick", overrides=[*SMALL, *overrides])


class Notes(list):
    """A listener that remembers what it was told."""

    def note(self, sentence):
        self.append(sentence)

    def moment(self, moment):
        pass

    def epoch(self, epoch, max_epochs):
        pass

    def close(self):
        self.append("closed")


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """Three members on two folds: every digit is held out, half of them twice."""
    folder = RunFolder(tmp_path_factory.mktemp("ensemble") / "run")

    class Watching(Notes):
        kept = False

        def note(self, sentence):
            super().note(sentence)
            self.kept = self.kept or folder.elapsed.exists()

    notes = Watching()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "CHECKPOINT_INTERVAL_S", 0.0)
        learned = learn(digits, recipe_of(), folder, listener=notes)
    return folder, learned, notes


def test_members_are_networks_of_their_own(trained, digits):
    folder, learned, _ = trained
    again = Recognizer.load(folder.path)
    assert len(again.members) == 3
    weights = [next(member.model.parameters()).detach() for member in again.members]
    assert not np.array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(
        again.predict_proba(digits), learned.recognizer.predict_proba(digits)
    )


def test_every_digit_is_judged_by_members_that_never_saw_it(trained, digits):
    folder, learned, _ = trained
    held_out = learned.held_out
    assert len(held_out.dataset) == len(digits)
    accuracy = (held_out.probabilities.argmax(axis=1) == digits.labels).mean()
    assert 0.6 < accuracy < 0.99
    kept = Predictions.load(folder.held_out)
    np.testing.assert_array_equal(kept.probabilities, held_out.probabilities)
    np.testing.assert_array_equal(kept.labels, digits.labels)
    assert kept.data == digits.content_hash()
    rows = [
        Predictions.load(RunFolder(path.parent).held_out).rows
        for path in folder.members.glob("*/manifest.json")
    ]
    assert sorted(np.unique(np.bincount(np.concatenate(rows)))) == [1, 2]


def test_the_held_out_probabilities_are_those_of_the_members_folds(trained, digits):
    folder, learned, _ = trained
    member = recipe_of().member(1)
    _, valid = divide(digits, member)
    manifests = [json.loads(path.read_text()) for path in folder.members.glob("*/manifest.json")]
    assert {manifest["result"]["n"] for manifest in manifests} == {len(valid)} == {1000}
    own = Recognizer.load(folder.path).members[1]
    tta_shift = learned.recognizer.tta_shift
    alone = Recognizer([own], digits.classes, 28, tta_shift=tta_shift).predict_proba(valid)
    n_right = int((alone.argmax(axis=1) == valid.labels).sum())
    assert n_right in {manifest["result"]["correct"] for manifest in manifests}


def test_it_says_what_each_member_reached_and_tidies_up(trained):
    folder, _, notes = trained
    assert sum(" on its fold, 2 epochs in " in note for note in notes) == 3
    assert notes[-1] == "closed"
    assert not list(folder.members.glob("*.safetensors"))


def test_the_temperature_is_found_and_kept(trained):
    folder, learned, _ = trained
    assert learned.recognizer.temperature != 1
    assert Recognizer.load(folder.path).temperature == learned.recognizer.temperature


def test_resuming_repeats_no_member_and_may_add_some(trained, digits):
    folder, learned, _ = trained
    before = {path: path.stat().st_mtime_ns for path in folder.members.glob("*/manifest.json")}
    again = learn(digits, recipe_of("ensemble.members=4"), folder, resume=True)
    assert len(again.recognizer.members) == 4
    manifests = list(folder.members.glob("*/manifest.json"))
    assert len(manifests) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    same = learn(digits, recipe_of(), folder, resume=True)
    assert same.recognizer.temperature == learned.recognizer.temperature


def test_time_adds_up_over_sittings_and_what_is_not_used_is_said(trained, digits, tmp_path):
    folder, _, _ = trained
    copied, notes = RunFolder(tmp_path / "run"), Notes()
    shutil.copytree(folder.path, copied.path)
    copied.elapsed.write_text("1000.0")
    assert 1000 < learn(digits, recipe_of(), copied, resume=True).train_s < 1100
    longer = learn(digits, recipe_of("training.max_epochs=3"), copied, resume=True, listener=notes)
    assert longer.train_s < 1000  # its members began anew
    assert any(" finished members of other choices stay in" in note for note in notes)


def test_a_sitting_that_is_killed_loses_ten_seconds_at_most(trained, tmp_path, monkeypatch):
    _, _, notes = trained
    assert notes.kept  # while it trained, since notes are of nothing later
    format_duration = iter([0.0, 9.0, 10.0, 10.0, 15.0])
    monkeypatch.setattr(ensemble.time, "perf_counter", lambda: next(format_duration))
    kept = tmp_path / "elapsed.json"
    stopwatch = ensemble._Stopwatch(kept, 100.0)
    stopwatch.glance()
    assert not kept.exists()
    stopwatch.glance()
    assert json.loads(kept.read_text()) == 110
    stopwatch.glance()
    assert json.loads(kept.read_text()) == 110


def test_a_member_without_its_table_of_epochs_is_a_sentence(trained, digits, tmp_path):
    folder, _, _ = trained
    copied = RunFolder(tmp_path / "run")
    shutil.copytree(folder.path, copied.path)
    for table in copied.members.glob("*/metrics.jsonl"):
        table.unlink()
    with pytest.raises(RecognizerError, match=r"metrics\.jsonl: is missing or damaged"):
        learn(digits, recipe_of(), copied, resume=True)


def test_what_was_done_before_makes_nobody_look_quick(monkeypatch):
    """Two members go on from the middle, and then take a second for a hundredth."""
    format_duration = iter([0.0, 0.0, 1.0, 10.0, 10.0])
    monkeypatch.setattr(ensemble.time, "monotonic", lambda: next(format_duration))
    jobs = [Job("m:f", {"n": n}) for n in range(2)]
    said = []
    notes = Notes()
    notes.moment = said.append
    progress = ensemble._Progress(jobs, [recipe_of("training.max_epochs=10")] * 2, notes)
    for job, step in ((jobs[0], 50), (jobs[1], 50), (jobs[0], 60), (jobs[1], 60)):
        moment = {"step": step, "total_steps": 100, "stage": "", "accuracy": 0.9,
                  "images_per_s": 1.0, "seconds_left": None}  # fmt: skip
        progress.on_job_progress(job, {"moment": moment})
    assert [moment.seconds_left for moment in said[:2]] == [None, None]
    assert said[-1].seconds_left == pytest.approx(40)


def test_a_folder_in_use_is_refused(trained, digits):
    folder, _, _ = trained
    with pytest.raises(OutputError, match="already holds a run"):
        learn(digits, recipe_of(), folder)
    with pytest.raises(OutputError, match="already holds a run"):
        learn(digits, recipe_of("ensemble.members=1"), folder)


def left_in(folder):
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_a_finished_run_is_not_replaced_by_another(trained, digits):
    """It has no checkpoint that would tell whose it is."""
    folder, _, _ = trained
    before = left_in(folder)
    with pytest.raises(RecognizerError, match="by another recipe, expected the one that it began"):
        learn(digits, recipe_of("network.hidden=[16]"), folder, resume=True)
    with pytest.raises(RecognizerError, match="by another recipe"):
        learn(digits, recipe_of("ensemble.members=1", "seed=1"), folder, resume=True)
    with pytest.raises(RecognizerError, match="holds a run of 3 networks, not 1: whether there"):
        learn(digits, recipe_of("ensemble.members=1"), folder, resume=True)
    few = digits.select(np.arange(1000), "few.csv")
    with pytest.raises(RecognizerError, match=r"learned from other images than few\.csv"):
        learn(few, recipe_of(), folder, resume=True)
    assert left_in(folder) == before


def test_members_may_differ_in_architecture(digits, tmp_path):
    recipe = recipe_of(
        "data.validation=none", "training.checkpoint_selection=last", "ensemble.members=2"
    )
    variants = {
        "ensemble": {"members": 2, "member_overrides": [{}, {"network": {"name": "lenet5"}}]}
    }
    recipe = Recipe.model_validate(recipe.model_dump() | variants)
    learned = learn(digits, recipe, RunFolder(tmp_path / "run"))
    assert [m.choices.name for m in learned.recognizer.members] == ["mlp", "lenet5"]
    assert learned.held_out is None
    assert learned.recognizer.temperature == 1


def test_members_learn_from_extra_images_too(digits, tmp_path):
    labelled, extra = digits.select(np.arange(600)), digits.select(np.arange(600, 1000), "extra")
    learned = learn(labelled, recipe_of(), RunFolder(tmp_path / "run"), extra=extra)
    counts = [
        json.loads(path.read_text())["train"]["images"]
        for path in (tmp_path / "run" / "members").glob("*/data.json")
    ]
    assert counts == [700] * 3
    assert len(learned.held_out.dataset) == 600
    assert not list((tmp_path / "run" / "members").glob("*.safetensors"))


def test_more_members_than_memory(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(ensemble, "free_bytes", lambda: 2**16)
    with pytest.raises(RecipeError, match=r"ensemble.members is 3, whose weights need .* are free"):
        learn(digits, recipe_of(), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_member_that_cannot_be_trained_is_a_sentence(digits, tmp_path):
    with pytest.raises(JobError, match=r"member \d/3: recipe custom: training diverged"):
        learn(
            digits,
            recipe_of("optimizer.name=sgd", "optimizer.learning_rate=10", "optimizer.momentum=0.99",
                      "training.precision=fp32", "training.label_smoothing=0",
                      "training.max_epochs=30"),
            RunFolder(tmp_path / "run"),
        )  # fmt: skip


def test_a_class_too_rare_for_the_folds(digits, tmp_path):
    few = digits.select(np.flatnonzero(digits.labels != 3)[:300])
    one = np.append(np.arange(300), 0)
    labels = few.labels[one].copy()
    labels[-1] = 3
    odd = type(few)(few.images[one], labels, few.classes, "odd.csv")
    with pytest.raises((DataError, JobError), match=r"odd.csv: class '3' has 1 image"):
        learn(odd, recipe_of(), RunFolder(tmp_path / "run"))


def test_one_network_is_calibrated_too_and_resuming_changes_nothing(digits, tmp_path):
    folder = RunFolder(tmp_path / "run")
    recipe = recipe_of("ensemble.members=1")
    learned = learn(digits, recipe, folder)
    again = learn(digits, recipe, folder, resume=True)
    assert learned.recognizer.temperature == again.recognizer.temperature != 1
    np.testing.assert_array_equal(learned.held_out.probabilities, again.held_out.probabilities)
    np.testing.assert_allclose(
        learned.held_out.probabilities,
        learned.recognizer.predict_proba(learned.held_out.dataset),
        atol=1e-6,
    )
