"""Searches: with made-up trainings, and once with real ones on real digits."""

import csv
import io
import json
import logging
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest

from tenfold.cli.experiment import parse_time
from tenfold.errors import DataError, ExperimentError, Interrupted, JobError, OutputError
from tenfold.experiments.search import search
from tenfold.experiments.space import SearchConfig, Space
from tenfold.jobs import JobFailure
from tenfold.recipe import Recipe
from tenfold.run_folder import ExperimentFolder
from tenfold.training.callbacks import Callback

SPACE = "[optimizer]\nlearning_rate = {log = [1e-4, 0.1]}\n[training]\nbatch_size = [16, 32]\n"
RATE = "optimizer.learning_rate"


@pytest.fixture
def space(tmp_path, small):
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return Space.load(path, small)


@pytest.fixture(autouse=True)
def log_everything(caplog):
    caplog.set_level(logging.INFO, logger="tenfold")


class StatusLines(Callback):
    def __init__(self):
        self.lines, self.is_torn_down = [], False

    def on_status(self, status):
        self.lines.append(status.line)

    def teardown(self):
        self.is_torn_down = True


def read_rows(folder):
    with (folder / "search.csv").open() as file:
        return list(csv.DictReader(file))


def read_outcome(folder):
    summary = json.loads((folder / "search.json").read_text())
    return {key: summary[key] for key in ("trials", "winner", "importance")}


def test_it_writes_a_recipe_a_table_and_a_report(digits, space, tmp_path, executor, with_report):
    callback, out = StatusLines(), tmp_path / "out"
    config = SearchConfig(space, 12, seeds=0)
    result = search(digits, config, out, executor=executor, callback=callback)
    rows = read_rows(out)
    assert [int(row["trial"]) for row in rows] == list(range(12))
    best = max(
        rows, key=lambda row: (float(row["budget_fraction"] or 0), float(row["accuracy"] or 0))
    )
    assert result.winner.number == int(best["trial"])
    recipe = Recipe.load(out / "best.toml")
    assert recipe == result.recipe
    assert recipe.training.max_epochs == 4
    assert f"{recipe.optimizer.learning_rate:.4g}" == best[RATE]
    failed = [row for row in rows if row["state"] == "failed"]
    assert failed
    assert all(float(row[RATE]) > 0.05 for row in failed)
    assert all("diverged" in row["reason"] for row in failed)
    assert {row["state"] for row in rows} == {"failed", "pruned", "complete"}
    assert "is not known: the paired test was skipped" in (out / "report.html").read_text()
    names = {path.stem for path in (out / "figures").iterdir()}
    assert names == {"history"}, "of fewer than 20 trials the parameters are not drawn"
    assert any("left" in line for line in callback.lines)
    assert callback.is_torn_down
    assert not list((out / "jobs").glob("*.safetensors"))
    assert json.loads((out / "search.json").read_text())["format"] == "tenfold-search-2"


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("stop_after", [0, 1, 7, 13, 15])
def test_interrupted_anywhere_it_resumes_to_the_same_outcome(
    digits, space, tmp_path, executor, sampler, stop_after
):
    config = SearchConfig(space, 12, sampler, seed=3, seeds=0)
    search(digits, config, tmp_path / "whole", executor=executor)
    total, executor.count = executor.count, 0
    executor.stop_after = stop_after
    with pytest.raises(Interrupted):
        search(digits, config, tmp_path / "interrupted", executor=executor)
    executor.stop_after = None
    search(digits, config, tmp_path / "interrupted", executor=executor)
    assert executor.count == total
    assert read_outcome(tmp_path / "whole") == read_outcome(tmp_path / "interrupted")


def test_a_gaussian_process_is_fitted_to_the_first_bracket(space, digits, tmp_path, executor):
    """To pruned trials too: without them it would sample at random nearly to the end."""
    for sampler in ("random", "gp"):
        config = SearchConfig(space, 12, sampler, seeds=0)
        search(digits, config, tmp_path / sampler, executor=executor)
    at_random, fitted = (read_rows(tmp_path / sampler) for sampler in ("random", "gp"))
    assert [row[RATE] for row in at_random[:9]] == [row[RATE] for row in fitted[:9]]
    # The best rate is 0.01; a made-up training with more than 0.05 fails.
    assert all(0.001 < float(row[RATE]) < 0.05 for row in fitted[9:])
    assert [row[RATE] for row in at_random[9:]] != [row[RATE] for row in fitted[9:]]


def test_a_failed_training_in_the_paired_test_costs_no_search(
    digits, space, tmp_path, executor, with_report, caplog
):
    task = executor.task

    def diverge(description, folder):
        if description["eval"] is not None and description["recipe"]["seed"] == 1:
            return {"failed": "training diverged in epoch 3"}
        return task(description, folder)

    executor.task = diverge
    result = search(digits, SearchConfig(space, 3, seeds=2), tmp_path, executor=executor)
    reason = "baseline, seed 1 cannot be trained on all images: training diverged in epoch 3"
    assert (result.paired_test, result.no_test_reason) == (None, reason)
    assert reason in caplog.messages
    assert reason in (tmp_path / "report.html").read_text()
    assert Recipe.load(tmp_path / "best.toml") == result.recipe


def test_a_killed_process_in_the_paired_test_costs_no_search(digits, space, tmp_path, executor):
    executor.failures = {"baseline, seed 0": JobFailure("its process was killed", "killed")}
    result = search(digits, SearchConfig(space, 3, seeds=2), tmp_path, executor=executor)
    reason = "baseline, seed 0 cannot be trained on all images: its process was killed"
    assert (result.paired_test, result.no_test_reason) == (None, reason)


def test_a_trial_that_fails_on_the_last_rung_does_not_win(digits, space, tmp_path, executor):
    """It got further than all that were pruned, and failed there."""
    task, config = executor.task, SearchConfig(space, 9, seeds=0)
    finalist = search(digits, config, tmp_path / "all", executor=executor).winner

    def diverge(description, folder):
        is_full = (
            description["recipe"]["training"]["max_epochs"] == 4
            and description["subset_fraction"] == 1
        )
        return {"failed": "training diverged"} if is_full else task(description, folder)

    executor.task = diverge
    result = search(digits, config, tmp_path / "diverging", executor=executor)
    assert result.trials[finalist.number].state == "failed"
    assert result.winner.number != finalist.number
    assert result.winner.state == "pruned"


def test_a_damaged_journal_is_repaired_with_a_copy_and_a_warning(
    digits, space, tmp_path, executor, caplog
):
    config = SearchConfig(space, 9, seeds=0)
    search(digits, config, tmp_path, executor=executor)
    journal = tmp_path / "study.journal"
    content, outcome, count = journal.read_bytes(), read_outcome(tmp_path), executor.count
    journal.write_bytes(content + b'{"op_code": 6, "trial')
    search(digits, config, tmp_path, executor=executor)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert any("21 bytes are damaged" in record.message for record in warnings)
    assert (tmp_path / "study.journal.damaged1").read_bytes().startswith(content)
    assert read_outcome(tmp_path) == outcome
    assert executor.count == count
    journal.write_bytes(content[: len(content) // 2])  # half of the record is lost
    search(digits, config, tmp_path, executor=executor)
    assert read_outcome(tmp_path) == outcome
    assert executor.count == count


def dashboard_studies(storage):
    """What Optuna's dashboard answers when asked for the studies in `storage`."""
    from optuna_dashboard import wsgi

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "wsgi.input": io.BytesIO()}
    return b"".join(wsgi(storage)(environ, lambda *_: None)).decode()


def test_optuna_and_its_dashboard_read_the_journal(digits, space, tmp_path, executor):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    search(digits, SearchConfig(space, 12, seeds=0), tmp_path, executor=executor)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study = optuna.load_study(study_name="tenfold", storage=storage)
    optuna_states = {"pruned": "PRUNED", "complete": "COMPLETE", "failed": "FAIL"}
    states = [optuna_states[row["state"]] for row in read_rows(tmp_path)]
    assert [trial.state.name for trial in study.trials] == states
    assert study.best_trial.number == read_outcome(tmp_path)["winner"]
    assert "tenfold" in dashboard_studies(storage)
    assert list(study.best_trial.intermediate_values.values())[-1] == study.best_value


def test_a_finished_search_continues_with_more_trials(digits, space, tmp_path, executor):
    search(digits, SearchConfig(space, 9, seeds=0), tmp_path, executor=executor)
    first = read_rows(tmp_path)
    search(digits, SearchConfig(space, 18, seeds=0), tmp_path, executor=executor)
    assert read_rows(tmp_path)[:9] == first
    assert len(read_rows(tmp_path)) == 18


def test_trials_with_equal_parameters_share_their_trainings(digits, tmp_path, small, executor):
    path = tmp_path / "space.toml"
    path.write_text("[optimizer]\nlearning_rate = [0.001, 0.002]\n")
    config = SearchConfig(Space.load(path, small), 9, seeds=0)
    search(digits, config, tmp_path / "out", executor=executor)
    assert len(read_rows(tmp_path / "out")) == 9
    assert all(row["accuracy"] for row in read_rows(tmp_path / "out"))
    assert executor.count <= 6  # two recipes on three rungs


def test_with_folds_a_trial_is_evaluated_on_all_images(digits, space, tmp_path, executor):
    search(digits, SearchConfig(space, 3, folds=4, seeds=0), tmp_path, executor=executor)
    assert {row["n"] for row in read_rows(tmp_path) if row["n"]} == {"4000"}


def test_no_trial_starts_after_the_budget_is_used_up(digits, space, tmp_path, executor):
    task = executor.task

    def slow(description, folder):
        time.sleep(0.02)
        return task(description, folder)

    executor.task = slow
    config = SearchConfig(space, 30, seeds=0)
    result = search(digits, config, tmp_path, budget_s=0.3, executor=executor)
    states = [row["state"] for row in read_rows(tmp_path)]
    assert 0 < states.count("skipped") < 30
    assert result.winner.results
    executor.task = task
    search(digits, config, tmp_path, executor=executor)
    assert "skipped" not in [row["state"] for row in read_rows(tmp_path)]


@pytest.mark.parametrize(
    ("change", "differing"),
    [({"seed": 1}, "seed"), ({"sampler": "tpe"}, "sampler"), ({"folds": 2}, "folds")],
)
def test_a_folder_of_another_search_is_refused(
    digits, space, tmp_path, executor, change, differing
):
    search(digits, SearchConfig(space, 3, seeds=0), tmp_path, executor=executor)
    with pytest.raises(ExperimentError, match=f"a search that differs in {differing}, expected"):
        search(digits, SearchConfig(space, 3, seeds=0, **change), tmp_path, executor=executor)
    other = digits.select(np.arange(1500))
    with pytest.raises(ExperimentError, match="differs in data"):
        search(other, SearchConfig(space, 3, seeds=0), tmp_path, executor=executor)


@pytest.mark.parametrize("kind", ["search", "compare"])
@pytest.mark.parametrize(
    "content",
    ["", "[]", {}, {"identity": 3}, {"identity": {}, "brackets": 9},
     {"identity": {}, "brackets": ["a"]}, {"identity": {}, "workers": "two"},
     {"identity": {}, "methods": [1]}],
)  # fmt: skip
def test_a_damaged_summary_has_an_error_message(tmp_path, kind, content):
    folder = ExperimentFolder(tmp_path, kind)
    if isinstance(content, dict):
        content = json.dumps({"format": folder.format, **content})
    folder.summary.write_text(content)
    with pytest.raises(ExperimentError, match=rf"{kind}\.json: is damaged, expected it as a"):
        folder.claim({})
    folder.summary.unlink()
    assert folder.claim({}) is None


@pytest.mark.parametrize("kind", ["search", "compare"])
@pytest.mark.parametrize(("version", "age"), [(None, "an older"), (1, "an older"), (9, "a newer")])
def test_a_folder_of_another_version_is_refused(tmp_path, kind, version, age):
    folder = ExperimentFolder(tmp_path, kind)
    summary = {"identity": {}, "batches": [9]}
    if version is not None:
        summary["format"] = f"{folder.format[:-1]}{version}"
    folder.summary.write_text(json.dumps(summary))
    with pytest.raises(ExperimentError, match=rf"{kind}\.json: was written by {age} version of te"):
        folder.claim({})


def test_a_failure_that_affects_all_trials_ends_the_search(digits, space, tmp_path, executor):
    """A full disk is not the trial's fault."""
    reason = "recognizer.safetensors: cannot be written (no space left on device)"
    executor.failures = {"trial 0": JobFailure(reason)}
    with pytest.raises(JobError, match=r"trial 0: recognizer\.safetensors: cannot be written"):
        search(digits, SearchConfig(space, 3, seeds=0), tmp_path, executor=executor)
    assert [row["state"] for row in read_rows(tmp_path)] == ["waiting"] * 3


def test_a_trial_whose_process_is_killed_fails_alone(digits, space, tmp_path, executor, caplog):
    executor.failures = {"trial 0": JobFailure("its process was killed 3 times", "killed")}
    search(digits, SearchConfig(space, 3, seeds=0), tmp_path, executor=executor)
    assert read_rows(tmp_path)[0]["reason"] == "its process was killed 3 times"
    assert "trial 0 failed: its process was killed 3 times" in caplog.messages


def test_two_searches_cannot_run_in_one_folder(digits, space, tmp_path):
    folder = ExperimentFolder(tmp_path, "search")
    with folder.lock(), pytest.raises(OutputError, match="another process is at work"):
        search(digits, SearchConfig(space, 3), tmp_path)


def test_it_fails_when_no_trial_can_be_trained(digits, tmp_path, small, executor):
    path = tmp_path / "space.toml"
    path.write_text("[optimizer]\nlearning_rate = {range = [1.0, 2.0]}\n")
    config = SearchConfig(Space.load(path, small), 3, seeds=0)
    with pytest.raises(ExperimentError, match="no trial could be trained: training diverged"):
        search(digits, config, tmp_path / "out", executor=executor)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "--trials 0: expected at least 1"),
        ({"trials": 3, "folds": 1}, "--folds 1: expected at least 2"),
        ({"trials": 3, "seeds": -1}, "--seeds -1: expected 0 or more"),
        ({"trials": 3, "sampler": "grid"}, "--sampler grid"),
    ],
)
def test_an_invalid_config_has_an_error_message(space, settings, message):
    with pytest.raises(ExperimentError, match=message):
        SearchConfig(space, **settings)


@pytest.mark.parametrize(("count", "folds"), [(1, None), (15, None), (2000, 1000)])
def test_too_few_images_leave_nothing_behind(digits, space, tmp_path, count, folds):
    few = digits.select(np.arange(count))
    with pytest.raises(DataError, match=r"class .* has \d+ image|leaves a part with"):
        search(few, SearchConfig(space, 3, folds=folds), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_images_for_the_first_rung_leave_nothing_behind(digits, tmp_path):
    few = digits.select(np.arange(500), "few.csv")
    config = SearchConfig(Space.load(None, Recipe.load("quick")), 9)
    with pytest.raises(DataError, match="a search of 9 trials starts with 11% of a training"):
        search(few, config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "override", [{"ensemble": {"members": 2}}, {"data": {"pseudo_label_threshold": 0.9}}]
)
def test_a_recipe_of_several_trainings_cannot_be_searched(override):
    baseline = Recipe.load("quick").with_overrides(override)
    with pytest.raises(ExperimentError, match="trains more than one network, expected"):
        SearchConfig(Space.load(None, baseline), 3)


def test_a_real_search_from_the_command_line(digits_csv, tmp_path, small):
    (tmp_path / "space.toml").write_text(
        "[optimizer]\nlearning_rate = {log = [1e-5, 1e-2]}\n[network]\nhidden = [[8], [64]]\n"
    )
    (tmp_path / "baseline.toml").write_text(
        small.with_overrides({"optimizer": {"learning_rate": 1e-4}}).to_toml()
    )
    command = [
        sys.executable, "-m", "tenfold", "search", str(digits_csv / "train.csv"), "--trials", "3",
        "--recipe", str(tmp_path / "baseline.toml"), "--space", str(tmp_path / "space.toml"),
        "--seeds", "1", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert "rung 2 of 2" in done.stdout
    assert "on 240 test images, 1 seed: baseline" in done.stdout
    summary = json.loads((tmp_path / "out" / "search.json").read_text())
    assert summary["paired_test"]["winner"][0] > summary["paired_test"]["baseline"][0]
    assert "240 test images" in Recipe.load(tmp_path / "out" / "best.toml").benchmark


def test_budgets_are_times():
    assert [parse_time(text) for text in ("90s", "30m", "1.5h")] == [90, 1800, 5400]
    for text in ("", "30", "0m", "-1m", "m", "1d"):
        with pytest.raises(ExperimentError, match="expected a time such as 90s, 30m or 2h"):
            parse_time(text)


@pytest.mark.parametrize("name", ["a" * 80, "quick", "quick-searched"])
def test_the_name_of_the_winning_recipe_is_valid(digits, small, tmp_path, executor, name):
    path = tmp_path / "baseline.toml"
    path.write_text(small.model_copy(update={"name": name}).to_toml())
    (tmp_path / "space.toml").write_text(SPACE)
    space = Space.load(tmp_path / "space.toml", Recipe.load(path))
    search(digits, SearchConfig(space, 3, seeds=0), tmp_path / "out", executor=executor)
    expected = f"{'a' * 71}-searched" if name[0] == "a" else "quick-searched"
    assert Recipe.load(tmp_path / "out" / "best.toml").name == expected
