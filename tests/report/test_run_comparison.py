"""Comparison of runs, with constructed predictions and with real runs."""

import dataclasses
import json
import subprocess
import sys

import html5lib
import numpy as np
import pytest

from tenfold.errors import DataError
from tenfold.predictions import Predictions
from tenfold.recipe import Recipe
from tenfold.report.artifacts import RunArtifacts
from tenfold.report.run_comparison import compare_runs, write_comparison
from tenfold.run_folder import RunFolder
from tenfold.training.train import train


def artifacts(folder, digits, wrong, indices=None, *, kind="predictions"):
    """A run whose predictions for `digits` are correct except those at `wrong`."""
    indices = np.arange(len(digits)) if indices is None else indices
    predicted = digits.select(indices)
    probabilities = np.eye(10, dtype=np.float32)[predicted.labels]
    is_wrong = np.isin(indices, wrong)
    probabilities[is_wrong] = np.roll(probabilities[is_wrong], 1, axis=1)
    fields = dict.fromkeys(field.name for field in dataclasses.fields(RunArtifacts))
    fields |= {"folder": RunFolder(folder), "recipe": Recipe.load("quick"), "missing": ()}
    fields[kind] = Predictions.from_probabilities(
        predicted, probabilities, indices=indices, dataset_sha256=digits.content_hash()
    )
    return RunArtifacts(**fields)


def test_two_runs_are_compared_on_the_same_images(digits, tmp_path):
    one = artifacts(tmp_path / "one", digits, [1, 2, 3])
    other = artifacts(tmp_path / "other", digits, np.arange(3, 40))
    found = compare_runs([one, other])
    assert found.names == ("one", "other")
    assert [score.n - score.correct for score in found.scores] == [3, 37]
    pair = found.pairs[0, 1]
    assert (pair.first, pair.second, pair.neither) == (36, 2, 1)
    assert pair.p < 1e-6
    assert found.eval_set == "the same 2,000 test images"
    assert [row[-1] for row in found.section().tables[1].rows] == ["different"]
    answer = found.section().paragraphs[0]
    assert answer.startswith("one is most accurate: 99.85%. The difference from each other run is")


def test_runs_are_compared_on_the_images_that_all_held_out(digits, tmp_path):
    one = artifacts(tmp_path / "a/run", digits, [7], np.arange(0, 1000), kind="validation")
    other = artifacts(
        tmp_path / "b/run", digits, [600, 900], np.arange(500, 1500), kind="validation"
    )
    found = compare_runs([one, other])
    assert found.names == ("a/run", "b/run")
    assert found.eval_set == "the same 500 held-out images"
    assert [score.correct for score in found.scores] == [500, 498]


def test_runs_without_common_images_have_an_error_message(digits, tmp_path):
    one = artifacts(tmp_path / "one", digits, [], np.arange(0, 100), kind="validation")
    other = artifacts(tmp_path / "two", digits, [], np.arange(100, 200), kind="validation")
    with pytest.raises(DataError, match="share no labelled images"):
        compare_runs([one, other])
    elsewhere = dataclasses.replace(
        other.validation, dataset_sha256="of other data", indices=np.arange(0, 100)
    )
    with pytest.raises(DataError, match="share no labelled images"):
        compare_runs([one, dataclasses.replace(other, validation=elsewhere)])
    with pytest.raises(DataError, match="at least two"):
        compare_runs([one])
    with pytest.raises(DataError, match="is given twice, expected different runs"):
        compare_runs([one, one])


def test_a_comparison_is_written_as_a_page(digits, tmp_path):
    found = compare_runs(
        [artifacts(tmp_path / str(seed), digits, [seed, 20 + seed]) for seed in range(3)]
    )
    write_comparison(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "0 is most accurate: 99.90%. It does not differ significantly from 1, 2." in page
    html5lib.HTMLParser(strict=True).parse(page)
    assert page.count("statistically indistinguishable") == 3
    assert "p is adjusted for the number of pairs, 3" in page


def test_the_command_compares_runs(digits, tmp_path):
    def report(*arguments):
        command = [sys.executable, "-m", "tenfold", "report", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for name, width in (("narrow", 4), ("wide", 8)):
        overrides = ("training.max_epochs=1", "data.split_seed=0", f"network.width={width}")
        recipe = Recipe.load("quick", overrides=overrides)
        train(digits, recipe, RunFolder(tmp_path / name))
    done = report("--compare", tmp_path / "narrow", tmp_path / "wide", "--json")
    found = json.loads(done.stdout)
    assert found["eval_set"] == "the same 100 held-out images"
    assert [run["run"] for run in found["runs"]] == ["narrow", "wide"]
    narrow, wide = found["runs"]
    assert narrow["n"] == wide["n"] == 100
    (pair,) = found["pairs"]
    assert pair["both"] + pair["first"] == narrow["correct"]
    assert pair["both"] + pair["second"] == wide["correct"]
    assert pair["p"] == pair["p_adjusted"]
    done = report("--compare", tmp_path / "narrow")
    assert (done.returncode, "at least two" in done.stderr) == (2, True)
    done = report(tmp_path)
    assert (done.returncode, "holds no run" in done.stderr) == (2, True)
