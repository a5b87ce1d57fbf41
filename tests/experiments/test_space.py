"""Search spaces as TOML: what is valid, and all problems in one message."""

import json
import re

import pytest

from tenfold.errors import ExperimentError
from tenfold.experiments.space import Space, decode_params
from tenfold.experiments.study import make_sampler
from tenfold.recipe import Recipe, list_recipes


def load_space(tmp_path, text):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return Space.load(path, Recipe.load("quick"))


def test_every_kind_of_dimension_sets_a_field_of_the_recipe(tmp_path):
    space = load_space(
        tmp_path,
        "optimizer.learning_rate = {log = [1e-4, 1e-2]}\n"
        "network.width = [16, 32, 64]\n"
        "[augmentation]\nrotation_degrees = {range = [0, 15]}\n"
        "[training]\nbatch_size = {range = [32, 256]}\nema_decay = ['none', 0.9]\n"
        "progressive_sizes = [[], [16], [16, 20]]\n",
    )
    params = {
        "optimizer.learning_rate": 0.003,
        "network.width": "64",
        "augmentation.rotation_degrees": 7.5,
        "training.batch_size": 40,
        "training.progressive_sizes": "[16, 20]",
        "training.ema_decay": '"none"',
    }
    assert set(space.distributions()) == set(params)
    recipe = space.recipe(params)
    assert recipe.optimizer.learning_rate == 0.003
    assert recipe.network.width == 64
    assert recipe.training.progressive_sizes == (16, 20)
    assert recipe.training.ema_decay is None
    kinds = {each.param_name: (each.kind, each.is_integer) for each in space.dimensions}
    assert kinds["augmentation.rotation_degrees"] == ("range", False)
    assert kinds["training.batch_size"] == ("range", True)
    assert decode_params(params, space.dimensions)["training.progressive_sizes"] == [16, 20]
    assert json.loads(json.dumps(space.to_json()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no field, expected at least one"),
        (
            "[optimiser]\nlr = [1, 2]",
            "optimiser is not a section of a recipe; known sections: augmentation",
        ),
        (
            "[optimizer]\nlr = [1, 2]",
            "optimizer.lr is not a known field; known fields here: name, learn",
        ),
        ("[optimizer]\nlearning_rate = {log = [1e-2, 1e-4]}", "from 0.01 to 0.0001, expected 0 <"),
        ("[optimizer]\nlearning_rate = {log = [0, 1]}", "goes from 0 to 1, expected 0 < low"),
        ("[optimizer]\nlearning_rate = {range = [1e-4, 50]}", "learning_rate is 50.0, expected"),
        ("[network]\nwidth = {range = [1.5, 3]}", "from 1.5 to 3, expected integers"),
        ("[network]\nwidth = [16]", "has 1 value to choose from, expected at least 2"),
        ("[network]\nwidth = {between = [1, 2]}", "expected a list of values, {range ="),
        ("[network]\nwidth = 16", "network.width is 16, expected a list of values"),
        ("[network]\nname = ['compact', 'vgg']", "network.name is 'vgg', expected"),
        ("[data]\nvalidation = [0.1, 0.2]", "data cannot be searched"),
        ("seed = [1, 2]", "seed is not a section"),
        ("[network", "is not valid TOML"),
        ("[network]\nwidth = " + "[" * 5000, "is not valid TOML"),
        ("[optimizer]\nlearning_rate = {range = [1, " + "9" * 5000 + "]}", "is not valid TOML"),
        ("[optimizer]\nlearning_rate = {range = [1, " + "9" * 400 + "]}", "expected a list of val"),
        ("[network]\nwidth = {range = [1, inf]}", "expected a list of values"),
    ],
)
def test_an_invalid_space_has_an_error_message(tmp_path, text, message):
    with pytest.raises(ExperimentError, match=re.escape(message)):
        load_space(tmp_path, text)


def test_all_problems_are_reported_at_once(tmp_path):
    text = "[optimizer]\nlr = [1, 2]\n[network]\nwidth = [0, 16]\nhidden = [[], [-1]]"
    with pytest.raises(ExperimentError) as caught:
        load_space(tmp_path, text)
    for part in ("optimizer.lr is not", "network.width is 0", "hidden does not apply to compact"):
        assert part in str(caught.value)


def test_a_missing_file_has_an_error_message(tmp_path):
    with pytest.raises(ExperimentError, match=r"none\.toml: cannot be read \(no such file"):
        Space.load(tmp_path / "none.toml", Recipe.load("quick"))
    with pytest.raises(ExperimentError, match=r": cannot be read \(is a directory\)$"):
        Space.load(tmp_path, Recipe.load("quick"))


@pytest.mark.parametrize("name", list_recipes())
def test_the_default_space_is_valid_for_every_recipe(name):
    space = Space.load(None, Recipe.load(name))
    names = {each.param_name for each in space.dimensions}
    assert ("optimizer.muon_learning_rate" in names) == (Recipe.load(name).optimizer.name == "muon")
    assert "optimizer.learning_rate" in names


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_every_sampler_is_a_function_of_seed_and_trial_number(sampler):
    import optuna

    space = Space.load(None, Recipe.load("quick"))

    def sample(seed, number):
        study = optuna.create_study(sampler=make_sampler(sampler, seed, number))
        return study.ask(space.distributions()).params

    assert sample(0, 3) == sample(0, 3)
    assert len({str(sample(*which)) for which in ((0, 3), (0, 4), (1, 3))}) == 3
    space.recipe(sample(0, 3))


def test_an_unknown_sampler_has_an_error_message():
    with pytest.raises(ExperimentError, match="--sampler grid: expected one of random, tpe, gp"):
        make_sampler("grid", 0, 0)
