"""The benchmarks: what they make of finished runs, and what they count."""

import importlib
import json
import random
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

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
