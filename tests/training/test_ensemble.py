"""Small ensembles of real networks on real digits, each member in a process of its own."""

import json
import logging
import shutil

import numpy as np
import pytest

from tenfold.data.splits import train_valid_rows
from tenfold.errors import DataError, JobError, OutputError, RecipeError, RecognizerError
from tenfold.jobs import Job
from tenfold.predictions import Predictions
from tenfold.recipe import Recipe
from tenfold.recognizer import Recognizer
from tenfold.run_folder import RunFolder
from tenfold.training import ensemble
from tenfold.training.callbacks import Callback, StepProgress
from tenfold.training.train import train

SMALL = (
    "network.name=mlp", "network.hidden=[32]", "network.width=none", "training.max_epochs=2",
    "data.validation=0.5", "ensemble.members=3", "training.progressive_sizes=[]",
    "optimizer.name=adamw", "optimizer.momentum=0",
)  # fmt: skip


def recipe_of(*overrides: str) -> Recipe:
    return Recipe.load("quick", overrides=[*SMALL, *overrides])


class Teardown(Callback):
    """Remembers that it was torn down, and whether elapsed seconds were saved while it trained."""

    torn_down = saved = False

    def __init__(self, folder):
        self.folder = folder

    def on_step_end(self, state):
        self.saved = self.saved or self.folder.elapsed.exists()

    def teardown(self):
        self.torn_down = True


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """Three members on two folds: every digit is held out, half of them twice."""
    folder = RunFolder(tmp_path_factory.mktemp("ensemble") / "run")
    callback, messages = Teardown(folder), Messages()
    package = logging.getLogger("tenfold")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "CHECKPOINT_INTERVAL_S", 0.0)
        patch.setattr(package, "level", logging.INFO)
        package.addHandler(messages)
        result = train(digits, recipe_of(), folder, callbacks=[callback])
        package.removeHandler(messages)
    return folder, result, callback, messages.lines


class Messages(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def test_members_are_networks_of_their_own(trained, digits):
    folder, result, *_ = trained
    again = Recognizer.load(folder.path)
    assert len(again.members) == 3
    weights = [next(member.model.parameters()).detach() for member in again.members]
    assert not np.array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(
        again.predict_proba(digits), result.recognizer.predict_proba(digits)
    )


def test_every_digit_is_predicted_by_members_that_never_saw_it(trained, digits):
    folder, result, *_ = trained
    validation = result.validation
    assert len(validation) == len(digits)
    accuracy = (validation.predicted == digits.labels).mean()
    assert 0.6 < accuracy < 0.99
    kept = Predictions.load(folder.validation)
    np.testing.assert_array_equal(kept.probabilities, validation.probabilities)
    np.testing.assert_array_equal(kept.labels, digits.labels)
    assert kept.dataset_sha256 == digits.content_hash()
    rows = [
        Predictions.load(RunFolder(path.parent).validation).indices
        for path in folder.members.glob("*/manifest.json")
    ]
    assert sorted(np.unique(np.bincount(np.concatenate(rows)))) == [1, 2]


def test_the_held_out_probabilities_are_those_of_the_members_folds(trained, digits):
    folder, result, *_ = trained
    member = recipe_of().member(1)
    _, rows = train_valid_rows(digits, member.data, member.split_seed)
    valid = digits[rows]
    manifests = [json.loads(path.read_text()) for path in folder.members.glob("*/manifest.json")]
    assert {manifest["result"]["n"] for manifest in manifests} == {len(valid)} == {1000}
    own = Recognizer.load(folder.path).members[1]
    tta_shift = result.recognizer.tta_shift
    alone = Recognizer([own], digits.classes, 28, tta_shift=tta_shift).predict_proba(valid)
    n_right = int((alone.argmax(axis=1) == valid.labels).sum())
    assert n_right in {manifest["result"]["correct"] for manifest in manifests}


def test_the_score_of_each_member_is_logged_and_input_files_are_removed(trained):
    folder, _, callback, messages = trained
    assert sum(" on its fold, 2 epochs in " in message for message in messages) == 3
    assert callback.torn_down
    assert not list(folder.members.glob("*.safetensors"))


def test_the_temperature_is_found_and_kept(trained):
    folder, result, *_ = trained
    assert result.recognizer.temperature != 1
    assert Recognizer.load(folder.path).temperature == result.recognizer.temperature


def test_resuming_repeats_no_member_and_may_add_some(trained, digits):
    folder, result, *_ = trained
    before = {path: path.stat().st_mtime_ns for path in folder.members.glob("*/manifest.json")}
    again = train(digits, recipe_of("ensemble.members=4"), folder, resume=True)
    assert len(again.recognizer.members) == 4
    manifests = list(folder.members.glob("*/manifest.json"))
    assert len(manifests) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    same = train(digits, recipe_of(), folder, resume=True)
    assert same.recognizer.temperature == result.recognizer.temperature


def test_time_adds_up_over_sessions_and_unused_members_are_mentioned(
    trained, digits, tmp_path, caplog
):
    caplog.set_level(logging.INFO, logger="tenfold")
    folder, *_ = trained
    copied = RunFolder(tmp_path / "run")
    shutil.copytree(folder.path, copied.path)
    copied.elapsed.write_text("1000.0")
    assert 1000 < train(digits, recipe_of(), copied, resume=True).train_s < 1100
    longer = train(
        digits, recipe_of("training.max_epochs=3"), copied, resume=True, executor="inline"
    )
    assert longer.train_s < 1000  # its members began anew
    assert " finished members of other recipes stay in" in caplog.text


def test_a_session_that_is_killed_loses_ten_seconds_at_most(trained):
    _, _, callback, _ = trained
    assert callback.saved  # while it trained


def test_a_member_without_its_table_of_epochs_error_message(trained, digits, tmp_path):
    folder, *_ = trained
    copied = RunFolder(tmp_path / "run")
    shutil.copytree(folder.path, copied.path)
    for table in copied.members.glob("*/metrics.jsonl"):
        table.unlink()
    with pytest.raises(RecognizerError, match=r"metrics\.jsonl: is missing or damaged"):
        train(digits, recipe_of(), copied, resume=True)


def test_what_was_done_before_does_not_count_as_speed(monkeypatch):
    """Two members are resumed from the middle, and then take a second for a hundredth."""
    clock = iter([0.0, 0.0, 0.0, 1.0, 10.0])
    monkeypatch.setattr(ensemble.time, "monotonic", lambda: next(clock))
    etas = []

    class Etas(Callback):
        def on_step_end(self, state):
            etas.append(state.progress().eta_s)

    jobs = [Job("m:f", {"n": n}) for n in range(2)]
    members = [recipe_of("training.max_epochs=10")] * 2
    progress = ensemble._EnsembleProgress(jobs, members, Etas(), lambda: None)
    for job, step in ((jobs[0], 50), (jobs[1], 50), (jobs[0], 60), (jobs[1], 60)):
        sent = StepProgress(step, 100, "", accuracy=0.9, images_per_s=1.0, eta_s=None)
        progress.on_job_progress(job, {"step_progress": vars(sent)})
    assert etas[:2] == [None, None]
    assert etas[-1] == pytest.approx(40)


def test_a_folder_in_use_is_refused(trained, digits):
    folder, *_ = trained
    with pytest.raises(OutputError, match="already holds a run"):
        train(digits, recipe_of(), folder)
    with pytest.raises(OutputError, match="already holds a run"):
        train(digits, recipe_of("ensemble.members=1"), folder)


def left_in(folder):
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_a_finished_run_is_not_replaced_by_another(trained, digits):
    """It has no checkpoint that would tell whose it is."""
    folder, *_ = trained
    before = left_in(folder)
    with pytest.raises(RecognizerError, match="holds a run that differs in recipe"):
        train(digits, recipe_of("network.hidden=[16]"), folder, resume=True)
    with pytest.raises(
        RecognizerError, match="holds a run of several networks, and one network cannot"
    ):
        train(digits, recipe_of("ensemble.members=1", "seed=1"), folder, resume=True)
    with pytest.raises(
        RecognizerError, match="holds a run of several networks, and one network cannot resume it"
    ):
        train(digits, recipe_of("ensemble.members=1"), folder, resume=True)
    few = digits.select(np.arange(1000), "few.csv")
    with pytest.raises(RecognizerError, match=r"holds a run that differs in training data"):
        train(few, recipe_of(), folder, resume=True)
    assert left_in(folder) == before


def test_members_may_differ_in_architecture(digits, tmp_path):
    recipe = recipe_of(
        "data.validation=none", "training.checkpoint_selection=last", "ensemble.members=2"
    )
    member_overrides = {
        "ensemble": {"members": 2, "member_overrides": [{}, {"network": {"name": "lenet5"}}]}
    }
    recipe = Recipe.model_validate(recipe.model_dump() | member_overrides)
    result = train(digits, recipe, RunFolder(tmp_path / "run"), executor="inline")
    assert [m.config.name for m in result.recognizer.members] == ["mlp", "lenet5"]
    assert result.validation is None
    assert result.recognizer.temperature == 1


def test_members_learn_from_extra_images_too(digits, tmp_path):
    labelled, more = digits.select(np.arange(600)), digits.select(np.arange(600, 1000), "extra")
    result = train(
        labelled, recipe_of(), RunFolder(tmp_path / "run"), pseudo_labelled=more, executor="inline"
    )
    counts = [
        json.loads(path.read_text())["train"]["images"]
        for path in (tmp_path / "run" / "members").glob("*/data.json")
    ]
    assert counts == [700] * 3
    assert len(result.validation) == 600
    assert not list((tmp_path / "run" / "members").glob("*.safetensors"))


def test_more_members_than_memory(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(ensemble, "free_bytes", lambda: 2**16)
    with pytest.raises(RecipeError, match=r"ensemble.members is 3, whose weights need .* are free"):
        train(digits, recipe_of(), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_member_that_cannot_be_trained_error_message(digits, tmp_path):
    with pytest.raises(JobError, match=r"member \d/3: recipe custom: training diverged"):
        train(
            digits,
            recipe_of("optimizer.name=sgd", "optimizer.learning_rate=10", "optimizer.momentum=0.99",
                      "training.precision=fp32", "training.label_smoothing=0",
                      "training.max_epochs=30"),
            RunFolder(tmp_path / "run"), executor="inline",
        )  # fmt: skip


def test_a_class_too_rare_for_the_folds(digits, tmp_path):
    few = digits.select(np.flatnonzero(digits.labels != 3)[:300])
    one = np.append(np.arange(300), 0)
    labels = few.labels[one].copy()
    labels[-1] = 3
    odd = type(few)(few.images[one], labels, few.classes, "odd.csv")
    with pytest.raises((DataError, JobError), match=r"odd.csv: class '3' has 1 image"):
        train(odd, recipe_of(), RunFolder(tmp_path / "run"))


def test_one_network_is_calibrated_too_and_resuming_changes_nothing(digits, tmp_path):
    folder = RunFolder(tmp_path / "run")
    recipe = recipe_of("ensemble.members=1")
    result = train(digits, recipe, folder)
    again = train(digits, recipe, folder, resume=True)
    assert result.recognizer.temperature == again.recognizer.temperature != 1
    np.testing.assert_array_equal(result.validation.probabilities, again.validation.probabilities)
    np.testing.assert_allclose(
        result.validation.probabilities,
        result.recognizer.predict_proba(digits[result.validation.indices]),
        atol=1e-6,
    )
