"""The model in the box: its file, its card and its recipe agree."""

import re

import numpy as np
import pytest

import tenfold
from tenfold import models
from tenfold.data import DIGITS
from tenfold.recipe import Recipe


@pytest.fixture(scope="module")
def box():
    return tenfold.load()


def test_it_is_small_and_whole(box):
    assert models.BOX.stat().st_size <= 300_000
    assert box.classes == DIGITS
    assert box.image_size == 28
    assert box.decision_rule.n >= 10_000


def test_the_card_in_the_file_is_of_this_recipe(box, mnist):
    recipe = Recipe.load(box.card["recipe"]).model_copy(update={"benchmark": ""})
    assert box.card["recipe_toml"] == recipe.to_toml()
    assert box.card["data_sha256"] == mnist[0].content_hash()


def test_it_scores_on_mnists_test_digits_what_its_card_says(box, mnist):
    test_set = mnist[1]
    found = tenfold.score(box.predict(test_set), test_set.labels)
    assert found.n == box.card["score"]["n"] == 10_000
    assert abs(found.correct - box.card["score"]["correct"]) <= 2  # processors sum differently
    assert found.accuracy >= 0.9955


def test_the_printed_card_says_what_the_file_says(box):
    card = (models.BOX.parent / "README.md").read_text("utf-8")
    correct, accuracy = box.card["score"]["correct"], box.card["score"]["accuracy"]
    assert f"{accuracy:.4f} ({correct:,} right;" in card
    assert f"{models.BOX.stat().st_size / 1000:,.0f} kB" in card
    assert f"from a probability of {box.decision_rule.sure_threshold:.3f}" in card
    assert f"less than {box.decision_rule.digit_threshold:.3f}" in card
    assert re.search(r"`tenfold recipes --show (\w+)`", card)[1] == box.card["recipe"]


def test_it_is_unsure_where_there_is_no_digit(box):
    noise = np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    blank = np.broadcast_to(np.arange(0, 250, 10, dtype=np.uint8)[:, None, None], (25, 28, 28))
    for images in (noise, blank):
        decisions = box.decision_rule.decide(box.predict_proba(images))
        assert decisions.count("sure") == 0
        assert decisions.count("no digit") >= 0.5 * len(images)
