"""Comparisons of real methods on a few hundred real digits."""

import csv
import json
import os
import signal

import numpy as np
import pytest

from tenfold.errors import DataError, ExperimentError
from tenfold.experiments import cross_validation
from tenfold.experiments.baselines import Method, methods_of
from tenfold.experiments.compare import compare
from tenfold.experiments.cross_validation import fit_and_predict, fit_job, probe, probe_job
from tenfold.experiments.trial import subsample
from tenfold.jobs import JobCallback, run_jobs
from tenfold.recipe import Recipe
from tenfold.training.console import NullDisplay
from tests.experiments.conftest import OnTheSpot

BROUGHT = """
import numpy as np

class Zero:
    def fit(self, X, y):
        return self
    def predict(self, X):
        return np.zeros(len(X), int)

class Moody(Zero):
    def fit(self, X, y):
        if len(X) > 500:
            raise MemoryError("too much to bear")
        return self
"""


class Notes(NullDisplay):
    def __init__(self):
        self.said = []

    def note(self, sentence):
        self.said.append(sentence)


@pytest.fixture
def here(monkeypatch):
    """Jobs done in this process: a second each would make a slow suite."""
    import importlib

    def answer(description, folder):
        task = fit_and_predict if "part" in description else probe
        return task(description, folder, lambda _message: None)

    spot = OnTheSpot(answer)
    monkeypatch.setattr(importlib.import_module("tenfold.experiments.compare"), "run_jobs", spot)
    monkeypatch.setattr(cross_validation, "PROBED", (200, 400))
    return spot


@pytest.fixture
def brought(tmp_path, monkeypatch):
    (tmp_path / "brought.py").write_text(BROUGHT)
    monkeypatch.syspath_prepend(tmp_path)


def told_of(folder):
    return json.loads((folder / "compare.json").read_text())


def test_a_table_a_page_and_a_picture(digits, tmp_path, here, brought):
    board = Notes()
    asked = methods_of("knn,naive-bayes,knn+deskew,brought:Zero,brought:Moody")
    found = compare(digits, asked, tmp_path / "out", folds=2, board=board)
    names = [entry.method.name for entry in found.entries]
    assert names == ["knn+deskew", "knn", "naive-bayes", "brought:Zero", "brought:Moody"]
    with (tmp_path / "out" / "compare.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows["knn"]["n"] == "2000"
    assert int(rows["brought:Zero"]["correct"]) == (digits.labels == 0).sum()
    assert rows["brought:Moody"]["reason"] == "MemoryError: too much to bear"
    assert float(rows["knn"]["low"]) < float(rows["knn"]["accuracy"]) < float(rows["knn"]["high"])
    assert len(found.pairs) == len(told_of(tmp_path / "out")["pairs"]) == 6
    page = (tmp_path / "out" / "report.html").read_text()
    assert "too much to bear" in page
    assert "Of 6 pairs" in page
    assert (tmp_path / "out" / "figures" / "methods.png").is_file()
    assert any(sentence.startswith("knn: about ") for sentence in board.said)
    assert not list((tmp_path / "out" / "jobs").glob("*.safetensors"))


def test_each_image_is_judged_by_what_never_saw_it(digits, tmp_path, here):
    """A nearest neighbour that had seen an image would always be right about it."""
    found = compare(digits, methods_of("knn"), tmp_path, folds=4)
    assert 0.8 < found.entries[0].score.accuracy < 0.99
    assert found.entries[0].score.n == len(digits)


def test_run_again_nothing_is_repeated_and_methods_join(digits, tmp_path, here):
    first = compare(digits, methods_of("knn,naive-bayes"), tmp_path, folds=2)
    count = here.count
    again = compare(digits, methods_of("naive-bayes,knn,knn+deskew"), tmp_path, folds=2)
    assert here.count == count + 3  # small fits and two folds of the new one
    scores = {entry.method.name: entry.score for entry in again.entries}
    assert all(scores[entry.method.name] == entry.score for entry in first.entries)


def test_broken_off_it_goes_on(digits, tmp_path, here):
    here.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        compare(digits, methods_of("knn,naive-bayes"), tmp_path, folds=2)
    here.stop_after = None
    board = Notes()
    compare(digits, methods_of("knn,naive-bayes"), tmp_path, folds=2, board=board)
    assert here.count == 6
    assert any("2 fits done before, the others take about" in sentence for sentence in board.said)
    assert compare(digits, methods_of("knn,naive-bayes"), tmp_path, folds=2).expected_s == 0


def test_a_full_disk_is_not_the_methods_fault(digits, tmp_path, monkeypatch):
    from tenfold.data.dataset import save_dataset
    from tenfold.errors import OutputError

    def full(*_arguments):
        raise OutputError("recognizer.safetensors: cannot be written (no space left on device)")

    monkeypatch.setattr(cross_validation, "_fit", full)
    learn = save_dataset(digits, tmp_path / "l.safetensors")
    division = {"index": 0, "folds": 2, "seed": 0}
    job = fit_job(Method.named("knn"), learn, division)
    with pytest.raises(OutputError, match="no space left"):
        fit_and_predict(job.description, tmp_path / "job", lambda _message: None)


@pytest.mark.parametrize(("part", "images"), [(0.5, 1000), (0.996, 2000), (0.995, 1990)])
def test_a_part_leaves_out_a_whole_class_or_nothing(digits, part, images):
    assert len(subsample(digits, part, 0)) == images


def test_a_budget_takes_images_from_the_dearest_and_says_so(digits, tmp_path, here, monkeypatch):
    from tenfold.experiments import cross_validation as cost

    monkeypatch.setattr(cost, "START_S", 0.0)
    monkeypatch.setattr("tenfold.experiments.compare.max_concurrent_jobs", lambda *_: 2)
    slow = {"fits": [{"images": 400, "fit_s": 400.0, "predict_s": 0.0}]}
    answer = here.answer

    def pretend(description, folder):
        is_slow = description["method"]["estimator"].endswith("knn") and "part" not in description
        return slow if is_slow else answer(description, folder)

    here.answer = pretend
    board = Notes()
    asked = methods_of("knn,naive-bayes")
    found = compare(digits, asked, tmp_path, folds=2, budget_s=700, board=board)
    parts = {entry.method.name: entry.part for entry in found.entries}
    assert parts["naive-bayes"] == 1
    assert 0.6 < parts["knn"] <= 0.7  # each fit has a core of its own
    assert 600 < found.expected_s <= 700
    assert any(sentence.endswith("images for the budget") for sentence in board.said)
    page = (tmp_path / "report.html").read_text()
    assert "knn learned from only" in page


def test_other_methods_in_the_same_folder_say_who_is_left_out(digits, tmp_path, here):
    compare(digits, methods_of("naive-bayes,logistic"), tmp_path, folds=2)
    board = Notes()
    compare(digits, methods_of("naive-bayes,knn"), tmp_path, folds=2, board=board)
    said = [sentence for sentence in board.said if "left out of the table now" in sentence]
    assert len(said) == 1
    assert "now: logistic (what" in said[0]
    rows = csv.DictReader((tmp_path / "compare.csv").read_text().splitlines())
    assert {row["method"] for row in rows} == {"naive-bayes", "knn"}


def test_a_folder_of_another_comparison(digits, tmp_path, here):
    compare(digits, methods_of("naive-bayes"), tmp_path, folds=2)
    with pytest.raises(ExperimentError, match="holds a comparison that differs in folds and seed"):
        compare(digits, methods_of("naive-bayes"), tmp_path, folds=3, seed=1)


def test_when_no_method_can_be_fitted(digits, tmp_path, here, brought):
    with pytest.raises(ExperimentError, match="no method could be fitted: brought:Moody: Memory"):
        compare(digits, methods_of("brought:Moody"), tmp_path, folds=2)


def test_one_fold_is_none(digits, tmp_path):
    with pytest.raises(ExperimentError, match="--folds 1: expected at least 2"):
        compare(digits, methods_of("knn"), tmp_path, folds=1)


@pytest.mark.parametrize(("count", "folds"), [(1, 3), (2000, 1000)])
def test_too_few_images_leave_nothing_behind(digits, tmp_path, count, folds):
    few = digits.select(np.arange(count))
    with pytest.raises(DataError, match=rf"class .* expected at least {folds}"):
        compare(few, methods_of("knn"), tmp_path / "out", folds=folds)
    assert not (tmp_path / "out").exists()


def test_a_network_in_a_process_of_its_own(digits, tmp_path):
    """The job as it truly runs: fitted, timed, weighed and judged on its fold."""
    from tenfold.data.dataset import save_dataset

    learn = save_dataset(digits, tmp_path / "l.safetensors")
    division = {"index": 0, "folds": 2, "seed": 0}
    job = fit_job(Method.named("mlp"), learn, division, part=0.5)
    (result,) = run_jobs([job], tmp_path)
    assert result["images"] == 500
    assert result["n"] == 1000
    assert 0.5 < result["correct"] / result["n"] < 0.99
    assert result["bytes"] > 118_282 * 4  # the weights of 784-128-128-10
    assert 0 < result["predict_s"] < result["fit_s"] < 60
    assert result["peak_bytes"] > 100 * 2**20
    answers = cross_validation.read_answers(tmp_path / job.id)
    assert answers.shape == (1000,)


@pytest.mark.parametrize("task", [fit_job, probe_job])
def test_a_network_that_is_stopped_has_not_failed(digits, tmp_path, task):
    """What is written down as failed is never tried again."""
    from tenfold.data.dataset import save_dataset
    from tenfold.errors import Interrupted

    learn = save_dataset(digits, tmp_path / "l.safetensors")
    slow = Recipe.load(
        "lenet5", overrides=["training.batch_size=1", "training.patience_epochs=none"]
    )
    job = task(Method("slow", None, recipe=slow), learn, {"index": 0, "folds": 2, "seed": 0})

    class StopAtFirstProgress(JobCallback):
        stopped = False

        def on_job_progress(self, job, progress):
            if not self.stopped:  # a second Ctrl-C would break off without a state
                os.kill(os.getpid(), signal.SIGINT)
            self.stopped = True

    with pytest.raises(Interrupted):
        run_jobs([job], tmp_path, callback=StopAtFirstProgress())
    assert not job.is_done(tmp_path)
    assert list((tmp_path / job.id).rglob("checkpoint.safetensors"))


def test_a_rare_class_keeps_nobody_out(digits, tmp_path, here):
    """The small fits that tell the time may leave one image of it, which nobody can divide."""
    rows = np.concatenate(
        [np.flatnonzero(digits.labels != 9), np.flatnonzero(digits.labels == 9)[:4]]
    )
    rare = digits.select(np.sort(rows))
    found = compare(rare, methods_of("naive-bayes,mlp"), tmp_path / "a", folds=2, seed=1)
    assert {entry.method.name for entry in found.entries if entry.reason} == set()
    rarer = digits.select(np.setdiff1d(rows, np.flatnonzero(digits.labels == 9)[:2]))
    found = compare(rarer, methods_of("naive-bayes"), tmp_path / "b", folds=2)
    assert not found.entries[0].reason


def test_a_budget_keeps_what_an_earlier_comparison_found(digits, tmp_path, here):
    compare(digits, methods_of("naive-bayes"), tmp_path, folds=2)
    here.count, here.stop_after = 0, 0
    with pytest.raises(KeyboardInterrupt):
        compare(digits, methods_of("naive-bayes,knn"), tmp_path, folds=2, budget_s=1000)
    assert [one["method"] for one in told_of(tmp_path)["methods"]] == ["naive-bayes"]
