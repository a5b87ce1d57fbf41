"""Comparisons of real methods on a few hundred real digits."""

import csv
import json
import logging
import os
import signal
import sys

import numpy as np
import pytest

from tenfold.data.dataset import save_dataset
from tenfold.errors import DataError, ExperimentError, Interrupted, JobError, OutputError
from tenfold.experiments import cross_validation
from tenfold.experiments.baselines import Method, parse_methods
from tenfold.experiments.compare import compare
from tenfold.experiments.cross_validation import (
    estimate_job,
    estimate_time,
    fit_and_predict,
    fit_job,
)
from tenfold.experiments.trial import subsample
from tenfold.jobs import JobCallback, JobFailure, run_jobs
from tenfold.recipe import Recipe
from tests.experiments.conftest import CountingExecutor

OWN_METHODS = """
import numpy as np

class Zero:
    def fit(self, X, y):
        return self
    def predict(self, X):
        return np.zeros(len(X), int)

class OutOfMemory(Zero):
    def fit(self, X, y):
        if len(X) > 500:
            raise MemoryError("too many images")
        return self
"""
FOLD = {"index": 0, "folds": 2, "seed": 0}


@pytest.fixture
def executor(monkeypatch):
    """Runs the jobs in this process: a process for each would make a slow suite."""

    def task(description, folder):
        task = fit_and_predict if "subset_fraction" in description else estimate_time
        return task(description, folder, lambda _progress: None)

    monkeypatch.setattr(cross_validation, "ESTIMATE_SIZES", (200, 400))
    return CountingExecutor(task)


@pytest.fixture
def own_methods(tmp_path, monkeypatch):
    (tmp_path / "own_methods.py").write_text(OWN_METHODS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_methods", raising=False)  # of an earlier test


@pytest.fixture(autouse=True)
def log_everything(caplog):
    caplog.set_level(logging.INFO, logger="tenfold")


def read_summary(folder):
    return json.loads((folder / "compare.json").read_text())


def test_it_writes_a_table_a_report_and_a_figure(digits, tmp_path, executor, own_methods, caplog):
    methods = parse_methods("knn,naive-bayes,knn+deskew,own_methods:Zero,own_methods:OutOfMemory")
    result = compare(digits, methods, tmp_path / "out", folds=2, executor=executor)
    names = [fitted.method.name for fitted in result.methods]
    assert names == [
        "knn+deskew", "knn", "naive-bayes", "own_methods:Zero", "own_methods:OutOfMemory"
    ]  # fmt: skip
    with (tmp_path / "out" / "compare.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows["knn"]["n"] == "2000"
    assert rows["knn"]["train_images"] == "1000"
    assert int(rows["own_methods:Zero"]["correct"]) == (digits.labels == 0).sum()
    assert rows["own_methods:OutOfMemory"]["reason"] == "MemoryError: too many images"
    assert float(rows["knn"]["low"]) < float(rows["knn"]["accuracy"]) < float(rows["knn"]["high"])
    assert len(result.pairs) == len(read_summary(tmp_path / "out")["pairs"]) == 6
    page = (tmp_path / "out" / "report.html").read_text()
    assert "too many images" in page
    assert "Of 6 pairs" in page
    assert (tmp_path / "out" / "figures" / "methods.png").is_file()
    assert any(message.startswith("knn: about ") for message in caplog.messages)
    assert not list((tmp_path / "out" / "jobs").glob("*.safetensors"))


def test_no_method_is_evaluated_on_its_training_images(digits, tmp_path, executor):
    """A nearest neighbour would predict an image that it was fitted on without error."""
    result = compare(digits, parse_methods("knn"), tmp_path, folds=4, executor=executor)
    assert 0.8 < result.methods[0].score.accuracy < 0.99
    assert result.methods[0].score.n == len(digits)


def test_run_again_with_more_methods_it_repeats_no_fit(digits, tmp_path, executor):
    first = compare(digits, parse_methods("knn,naive-bayes"), tmp_path, folds=2, executor=executor)
    count = executor.count
    again = compare(
        digits, parse_methods("naive-bayes,knn,knn+deskew"), tmp_path, folds=2, executor=executor
    )
    assert executor.count == count + 3  # time estimate and two folds of the new one
    scores = {fitted.method.name: fitted.score for fitted in again.methods}
    assert all(scores[fitted.method.name] == fitted.score for fitted in first.methods)


def test_interrupted_it_resumes(digits, tmp_path, executor, caplog):
    methods = parse_methods("knn,naive-bayes")
    executor.stop_after = 4
    with pytest.raises(Interrupted):
        compare(digits, methods, tmp_path, folds=2, executor=executor)
    executor.stop_after = None
    caplog.clear()
    compare(digits, methods, tmp_path, folds=2, executor=executor)
    assert executor.count == 6
    assert "2 fits finished earlier, the others take about" in caplog.text
    assert compare(digits, methods, tmp_path, folds=2, executor=executor).expected_s == 0


def test_a_full_disk_is_not_a_failure_of_the_method(digits, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OutputError("recognizer.safetensors: cannot be written (no space left on device)")

    monkeypatch.setattr(cross_validation, "_fit", full)
    job = fit_job(Method.from_name("knn"), save_dataset(digits, tmp_path / "d.safetensors"), FOLD)
    with pytest.raises(OutputError, match="no space left"):
        fit_and_predict(job.description, tmp_path / "job", lambda _progress: None)


def test_a_class_that_changes_during_the_comparison_is_not_fitted(digits, tmp_path, own_methods):
    reference = save_dataset(digits, tmp_path / "d.safetensors")
    job = fit_job(Method.from_name("own_methods:Zero"), reference, FOLD)
    (tmp_path / "own_methods.py").write_text(OWN_METHODS + "# changed\n")
    with pytest.raises(JobError, match="own_methods:Zero: its file has changed since"):
        fit_and_predict(job.description, tmp_path / "job", lambda _progress: None)


def test_a_method_whose_process_is_killed_fails_alone(digits, tmp_path, executor, caplog):
    reason = "its process was killed 3 times"
    executor.failures = {"knn, fold 2/2": JobFailure(reason, "killed")}
    methods = parse_methods("naive-bayes,knn")
    result = compare(digits, methods, tmp_path, folds=2, executor=executor)
    assert [fitted.reason for fitted in result.methods] == ["", reason]
    assert f"knn failed: {reason}" in caplog.messages


@pytest.mark.parametrize(("fraction", "images"), [(0.5, 1000), (0.996, 2000), (0.995, 1990)])
def test_a_subset_leaves_out_an_image_of_each_class_or_nothing(digits, fraction, images):
    assert len(subsample(digits, fraction, 0)) == images


def test_a_budget_limits_the_images_of_the_slowest_method(
    digits, tmp_path, executor, monkeypatch, caplog
):
    monkeypatch.setattr(cross_validation, "PROCESS_START_S", 0.0)
    monkeypatch.setattr(executor, "max_concurrent_jobs", lambda _workers: 2)
    slow = {"fits": [{"train_images": 400, "fit_s": 400.0, "predict_s": 0.0}]}
    task = executor.task

    def pretend(description, folder):
        is_knn = description["method"]["estimator"].endswith("knn")
        is_estimate = "subset_fraction" not in description
        return slow if is_knn and is_estimate else task(description, folder)

    executor.task = pretend
    methods = parse_methods("knn,naive-bayes")
    result = compare(digits, methods, tmp_path, folds=2, budget_s=700, executor=executor)
    fractions = {fitted.method.name: fitted.subset_fraction for fitted in result.methods}
    assert fractions["naive-bayes"] == 1
    assert 0.6 < fractions["knn"] <= 0.7  # each fit has a core of its own
    assert 600 < result.expected_s <= 700
    assert "images to stay within the budget" in caplog.text
    assert "knn was trained on only" in (tmp_path / "report.html").read_text()


def test_methods_left_out_of_a_later_comparison_are_named(digits, tmp_path, executor, caplog):
    methods = parse_methods("naive-bayes,logistic")
    compare(digits, methods, tmp_path, folds=2, executor=executor)
    caplog.clear()
    compare(digits, parse_methods("naive-bayes,knn"), tmp_path, folds=2, executor=executor)
    left_out = [message for message in caplog.messages if "left out of the table" in message]
    assert len(left_out) == 1
    assert "table: logistic (their" in left_out[0]
    rows = csv.DictReader((tmp_path / "compare.csv").read_text().splitlines())
    assert {row["method"] for row in rows} == {"naive-bayes", "knn"}


def test_a_folder_of_another_comparison_is_refused(digits, tmp_path, executor):
    methods = parse_methods("naive-bayes")
    compare(digits, methods, tmp_path, folds=2, executor=executor)
    with pytest.raises(ExperimentError, match="holds a comparison that differs in folds and seed"):
        compare(digits, methods, tmp_path, folds=3, seed=1, executor=executor)


def test_it_fails_when_no_method_can_be_fitted(digits, tmp_path, executor, own_methods):
    methods = parse_methods("own_methods:OutOfMemory")
    with pytest.raises(
        ExperimentError, match="no method could be fitted: own_methods:OutOfMemory: MemoryError"
    ):
        compare(digits, methods, tmp_path, folds=2, executor=executor)


def test_one_fold_is_too_few(digits, tmp_path):
    with pytest.raises(ExperimentError, match="--folds 1: expected at least 2"):
        compare(digits, parse_methods("knn"), tmp_path, folds=1)


@pytest.mark.parametrize(("count", "folds"), [(1, 3), (2000, 1000)])
def test_too_few_images_leave_nothing_behind(digits, tmp_path, count, folds):
    few = digits.select(np.arange(count))
    with pytest.raises(DataError, match=rf"class .* expected at least {folds}"):
        compare(few, parse_methods("knn"), tmp_path / "out", folds=folds)
    assert not (tmp_path / "out").exists()


def test_a_network_is_fitted_in_a_process_of_its_own(digits, tmp_path):
    """With the real executor: fitted, timed, measured and evaluated on its fold."""
    reference = save_dataset(digits, tmp_path / "d.safetensors")
    job = fit_job(Method.from_name("mlp"), reference, FOLD, subset_fraction=0.5)
    (result,) = run_jobs([job], tmp_path)
    assert result["train_images"] == 500
    assert result["n"] == 1000
    assert 0.5 < result["correct"] / result["n"] < 0.99
    assert result["model_bytes"] > 118_282 * 4  # the weights of 784-128-128-10
    assert 0 < result["predict_s"] < result["fit_s"] < 60
    assert result["peak_memory_bytes"] > 100 * 2**20
    predicted = cross_validation.read_predicted(tmp_path / job.id)
    assert predicted.shape == (1000,)


@pytest.mark.parametrize("make_job", [fit_job, estimate_job])
def test_an_interrupted_network_has_not_failed(digits, tmp_path, make_job):
    """A result that says "failed" is never tried again."""
    reference = save_dataset(digits, tmp_path / "d.safetensors")
    slow = Recipe.load(
        "lenet5", overrides=["training.batch_size=1", "training.patience_epochs=none"]
    )
    job = make_job(Method("slow", None, recipe=slow), reference, FOLD)

    class StopAtFirstProgress(JobCallback):
        stopped = False

        def on_job_progress(self, job, progress):
            if not self.stopped:  # a second Ctrl-C would end it without a checkpoint
                os.kill(os.getpid(), signal.SIGINT)
            self.stopped = True

    with pytest.raises(Interrupted):
        run_jobs([job], tmp_path, callback=StopAtFirstProgress())
    assert not job.is_done(tmp_path)
    assert list((tmp_path / job.id).rglob("checkpoint.safetensors"))


def test_a_rare_class_fails_no_method(digits, tmp_path, executor):
    """The small fits may have one image of it, which cannot be split."""
    rows = np.concatenate(
        [np.flatnonzero(digits.labels != 9), np.flatnonzero(digits.labels == 9)[:4]]
    )
    rare = digits.select(np.sort(rows))
    methods = parse_methods("naive-bayes,mlp")
    result = compare(rare, methods, tmp_path / "a", folds=2, seed=1, executor=executor)
    assert [fitted.reason for fitted in result.methods] == ["", ""]
    rarer = digits.select(np.setdiff1d(rows, np.flatnonzero(digits.labels == 9)[:2]))
    methods = parse_methods("naive-bayes")
    result = compare(rarer, methods, tmp_path / "b", folds=2, executor=executor)
    assert not result.methods[0].reason


def test_an_interrupted_comparison_with_a_budget_keeps_earlier_results(digits, tmp_path, executor):
    compare(digits, parse_methods("naive-bayes"), tmp_path, folds=2, executor=executor)
    executor.count, executor.stop_after = 0, 1  # after the time estimate of knn
    methods = parse_methods("naive-bayes,knn")
    with pytest.raises(Interrupted):
        compare(digits, methods, tmp_path, folds=2, budget_s=1000, executor=executor)
    assert [method["method"] for method in read_summary(tmp_path)["methods"]] == ["naive-bayes"]
    assert read_summary(tmp_path)["workers"] == 1
