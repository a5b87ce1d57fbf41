"""Spaces as TOML: what they may say, and every problem in one sentence."""

import json
import re

import pytest

from tenfold.errors import ExperimentError
from tenfold.experiments.space import Space, values_of
from tenfold.experiments.study import sampler_of
from tenfold.recipe import Recipe, list_recipes


def space_of(tmp_path, text, start="quick"):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return Space.load(path, Recipe.load(start))


def test_every_kind_of_range_ends_in_a_recipe(tmp_path):
    space = space_of(
        tmp_path,
        "optimizer.learning_rate = {log = [1e-4, 1e-2]}\n"
        "network.width = [16, 32, 64]\n"
        "[augmentation]\nrotation_degrees = {range = [0, 15]}\n"
        "[training]\nbatch_size = {range = [32, 256]}\nema_decay = ['none', 0.9]\n"
        "progressive_sizes = [[], [16], [16, 20]]\n",
    )
    drawn = {
        "optimizer.learning_rate": 0.003,
        "network.width": "64",
        "augmentation.rotation_degrees": 7.5,
        "training.batch_size": 40,
        "training.progressive_sizes": "[16, 20]",
        "training.ema_decay": '"none"',
    }
    assert set(space.distributions()) == set(drawn)
    recipe = space.recipe(drawn)
    assert recipe.optimizer.learning_rate == 0.003
    assert recipe.network.width == 64
    assert recipe.training.progressive_sizes == (16, 20)
    assert recipe.training.ema_decay is None
    kinds = {each.place: (each.kind, each.whole) for each in space.dimensions}
    assert kinds["augmentation.rotation_degrees"] == ("range", False)
    assert kinds["training.batch_size"] == ("range", True)
    assert values_of(drawn, space.dimensions)["training.progressive_sizes"] == [16, 20]
    assert json.loads(json.dumps(space.to_json()))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no field, expected at least one"),
        ("[optimiser]\nlr = [1, 2]", "optimiser is no section of a recipe; known are augmentation"),
        ("[optimizer]\nlr = [1, 2]", "optimizer.lr is not a known field; known here: name, learn"),
        ("[optimizer]\nlearning_rate = {log = [1e-2, 1e-4]}", "from 0.01 to 0.0001, expected 0 <"),
        ("[optimizer]\nlearning_rate = {log = [0, 1]}", "goes from 0 to 1, expected 0 < low"),
        ("[optimizer]\nlearning_rate = {range = [1e-4, 50]}", "learning_rate is 50.0, expected"),
        ("[network]\nwidth = {range = [1.5, 3]}", "from 1.5 to 3, expected whole numbers"),
        ("[network]\nwidth = [16]", "has 1 value to choose from, expected at least 2"),
        ("[network]\nwidth = {between = [1, 2]}", "expected a list of values, {range ="),
        ("[network]\nwidth = 16", "network.width is 16, expected a list of values"),
        ("[network]\nname = ['compact', 'vgg']", "network.name is 'vgg', expected"),
        ("[data]\nvalidation = [0.1, 0.2]", "data cannot be searched"),
        ("seed = [1, 2]", "seed is no section"),
        ("[network", "is not valid TOML"),
        ("[network]\nwidth = " + "[" * 5000, "is not valid TOML"),
        ("[optimizer]\nlearning_rate = {range = [1, " + "9" * 5000 + "]}", "is not valid TOML"),
        ("[optimizer]\nlearning_rate = {range = [1, " + "9" * 400 + "]}", "expected a list of val"),
        ("[network]\nwidth = {range = [1, inf]}", "expected a list of values"),
    ],
)
def test_what_cannot_be_searched_is_a_sentence(tmp_path, text, sentence):
    with pytest.raises(ExperimentError, match=re.escape(sentence)):
        space_of(tmp_path, text)


def test_all_problems_come_at_once(tmp_path):
    text = "[optimizer]\nlr = [1, 2]\n[network]\nwidth = [0, 16]\nhidden = [[], [-1]]"
    with pytest.raises(ExperimentError) as caught:
        space_of(tmp_path, text)
    for part in ("optimizer.lr is not", "network.width is 0", "hidden does not apply to compact"):
        assert part in str(caught.value)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(ExperimentError, match=r"none\.toml: cannot be read \(no such file"):
        Space.load(tmp_path / "none.toml", Recipe.load("quick"))
    with pytest.raises(ExperimentError, match=r": cannot be read \(is a directory\)$"):
        Space.load(tmp_path, Recipe.load("quick"))


@pytest.mark.parametrize("name", list_recipes())
def test_the_default_space_suits_every_recipe(name):
    space = Space.load(None, Recipe.load(name))
    places = {each.place for each in space.dimensions}
    assert ("optimizer.muon_learning_rate" in places) == (
        Recipe.load(name).optimizer.name == "muon"
    )
    assert "optimizer.learning_rate" in places


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_every_sampler_draws_the_same_for_the_same_seed_and_number(sampler):
    import optuna

    space = Space.load(None, Recipe.load("quick"))

    def drawn(seed, number):
        study = optuna.create_study(sampler=sampler_of(sampler, seed, number))
        return study.ask(space.distributions()).params

    assert drawn(0, 3) == drawn(0, 3)
    assert len({str(drawn(*which)) for which in ((0, 3), (0, 4), (1, 3))}) == 3
    space.recipe(drawn(0, 3))


def test_an_unknown_sampler():
    with pytest.raises(ExperimentError, match="--sampler grid: expected one of random, tpe, gp"):
        sampler_of("grid", 0, 0)
