"""Runs side by side, on answers made for the purpose and on real runs."""

import json
import subprocess
import sys
from dataclasses import replace

import html5lib
import numpy as np
import pytest

from tenfold.errors import DataError
from tenfold.predictions import Predictions
from tenfold.recipe import Recipe
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.run_comparison import side_by_side, write_comparison
from tenfold.run_folder import RunFolder
from tenfold.training.train import learn


def evidence(folder, digits, wrong, rows=None, *, truth=True):
    """A run whose answers to `digits` are right but for those at `wrong`."""
    rows = np.arange(len(digits)) if rows is None else rows
    seen = digits.select(rows)
    probabilities = np.eye(10, dtype=np.float32)[seen.labels]
    odd = np.isin(rows, wrong)
    probabilities[odd] = np.roll(probabilities[odd], 1, axis=1)
    answers = Predictions.from_probabilities(
        seen, probabilities, rows=rows, data=digits.content_hash()
    )
    nothing = dict.fromkeys(
        ("environment", "data", "summary", "score", "history", "stretches", "recognizer",
         "held_out", "predictions", "examples")
    )  # fmt: skip
    nothing["predictions" if truth else "held_out"] = answers
    return RunArtifacts(folder=RunFolder(folder), recipe=Recipe.load("quick"), **nothing)


def test_two_runs_are_judged_on_the_same_images(digits, tmp_path):
    one = evidence(tmp_path / "one", digits, [1, 2, 3])
    other = evidence(tmp_path / "other", digits, np.arange(3, 40))
    found = side_by_side([one, other])
    assert found.names == ("one", "other")
    assert [score.n - score.correct for score in found.scores] == [3, 37]
    pair = found.pairs[0, 1]
    assert (pair.first, pair.second, pair.neither) == (36, 2, 1)
    assert pair.p < 1e-6
    verdicts = [row[-1] for row in found.section().tables[1].rows]
    assert verdicts == ["differ"]


def test_held_out_images_that_both_share_will_do(digits, tmp_path):
    one = evidence(tmp_path / "a/run", digits, [7], np.arange(0, 1000), truth=False)
    other = evidence(tmp_path / "b/run", digits, [600, 900], np.arange(500, 1500), truth=False)
    found = side_by_side([one, other])
    assert found.names == ("a/run", "b/run")
    assert found.ground == "the same 500 images held out by all"
    assert [score.correct for score in found.scores] == [500, 498]


def test_runs_without_common_ground_are_a_sentence(digits, tmp_path):
    one = evidence(tmp_path / "one", digits, [], np.arange(0, 100), truth=False)
    other = evidence(tmp_path / "two", digits, [], np.arange(100, 200), truth=False)
    with pytest.raises(DataError, match="share no images"):
        side_by_side([one, other])
    elsewhere = replace(other.held_out, data="other data", rows=np.arange(0, 100))
    with pytest.raises(DataError, match="share no images"):
        side_by_side([one, replace(other, held_out=elsewhere)])
    with pytest.raises(DataError, match="at least two"):
        side_by_side([one])
    with pytest.raises(DataError, match="stands there twice"):
        side_by_side([one, one])


def test_it_becomes_a_page(digits, tmp_path):
    found = side_by_side(
        [evidence(tmp_path / str(seed), digits, [seed, 20 + seed]) for seed in range(3)]
    )
    write_comparison(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    html5lib.HTMLParser(strict=True).parse(page)
    assert page.count("may be equally good") == 3
    assert "p is adjusted for the number of pairs, 3" in page


def test_the_command_compares_runs(digits, tmp_path):
    def tenfold(*words):
        command = [sys.executable, "-m", "tenfold", "report", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for name, width in (("narrow", 4), ("wide", 8)):
        choices = ("training.max_epochs=1", "data.split_seed=0", f"network.width={width}")
        recipe = Recipe.load("quick", overrides=choices)
        learn(digits, recipe, RunFolder(tmp_path / name))
    done = tenfold("--compare", tmp_path / "narrow", tmp_path / "wide", "--json")
    told = json.loads(done.stdout)
    assert [run["run"] for run in told["runs"]] == ["narrow", "wide"]
    assert told["runs"][0]["n"] == told["runs"][1]["n"] == 100
    assert 0 <= told["pairs"][0]["p"] <= 1
    done = tenfold("--compare", tmp_path / "narrow")
    assert (done.returncode, "at least two" in done.stderr) == (2, True)
    done = tenfold(tmp_path)
    assert (done.returncode, "holds no run" in done.stderr) == (2, True)
