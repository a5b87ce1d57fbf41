import inspect
import re
import tomllib

import pytest
from pydantic import ValidationError

from tenfold.config import NETWORK_OPTIONS
from tenfold.errors import RecipeError
from tenfold.networks import NETWORKS
from tenfold.recipe import Recipe, list_recipes


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_that_we_ship_survives_its_own_toml(name, tmp_path):
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert recipe.description
    path = tmp_path / "again.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.load(path) == recipe


def test_off_survives_the_toml_too(tmp_path):
    recipe = Recipe.load("quick", overrides=["data.validation=none", "training.ema_decay=none"])
    path = tmp_path / "again.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.load(path).data.validation is None
    assert Recipe.load(path) == recipe


def test_a_bad_value_within_a_list_is_told_once():
    with pytest.raises(RecipeError) as caught:
        Recipe.load("logbook-mlp", overrides=["network.hidden=[128, 0]"])
    assert len(caught.value.problems) == 1


def test_overrides_and_seed_take_effect():
    recipe = Recipe.load(
        "lenet5",
        overrides=["training.max_epochs=3", "network.name=mlp", "network.hidden=[64, 32]"],
        seed=7,
    )  # fmt: skip
    assert recipe.training.max_epochs == 3
    assert recipe.network.options == {"hidden": (64, 32)}
    assert (recipe.seed, recipe.split_seed) == (7, 7)


def test_the_logbook_keeps_its_own_split_seed():
    assert Recipe.load("logbook-mlp", seed=5).split_seed == 42


def test_every_problem_is_told_at_once():
    with pytest.raises(RecipeError) as caught:
        Recipe.load(
            "deotte",
            overrides=[
                "training.max_epoch=3",  # misspelt
                "optimizer.learning_rate=-1",  # out of range
                "network.hidden=[3]",  # takes no hidden layers
                "data.validation=none",
                "training.patience_epochs=2",  # needs validation
                "nonsense",
            ],
        )
    problems = caught.value.problems
    assert len(problems) == 5
    text = str(caught.value)
    assert "did you mean max_epochs?" in text
    assert "optimizer.learning_rate is -1, expected" in text
    assert "network.hidden does not apply to deotte, which takes dropout, width" in text
    assert "training.patience_epochs needs validation images" in text
    assert "'nonsense': expected key=value" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name = ", "is not valid TOML"),
        ("seed = " + "9" * 5000, "is not valid TOML"),
        ("seed = " + "[" * 5000, "is not valid TOML"),
        ("seed = true", "seed is true, expected a number"),
        ("[training]\nbatch_size = true", "training.batch_size is true, expected a number"),
        ("[data]\nfold = 0\nvalidation = 0.9", "expected at most 0.5 where folds"),
        ("[data]\nfold = 0\n[ensemble]\nmembers = 2", "each member holds out its own"),
        ("[data]\nvalidation = 0.9\n[ensemble]\nmembers = 2", "expected at most 0.5 where folds"),
        ("\xff\xfe", "is not valid TOML"),
        ("[network]\nname = 'resnet'", "network.name is 'resnet'"),
        ("seed = -1", "seed is -1"),
        ("[training]\nmax_epochs = inf", "training.max_epochs"),
        ("[optimizer]\nlearning_rate = nan", "optimizer.learning_rate"),
        ("network = 3", "network is 3"),
        ("name = '../escape'", "name is '../escape'"),
        ("[network]\nname = 'deotte'\n[training]\nbatch_size = 1", "expected at least 2"),
    ],
)
def test_a_bad_file_is_a_sentence(content, says, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=says) as caught:
        Recipe.load(path)
    assert str(path) in str(caught.value)


def test_a_recipe_that_is_not_there_lists_those_that_are(tmp_path):
    with pytest.raises(RecipeError, match=r"no such file or recipe, expected .* quick"):
        Recipe.load("quikc")
    with pytest.raises(RecipeError, match=r": cannot be read \(is a directory\)$"):
        Recipe.load(tmp_path)


def test_a_recipe_cannot_be_changed():
    recipe = Recipe.load("quick")
    with pytest.raises(ValidationError):
        recipe.seed = 3  # type: ignore[misc]


def test_recipes_and_constructors_agree_on_the_options():
    assert set(NETWORK_OPTIONS) == set(NETWORKS)
    for name, constructor in NETWORKS.items():
        parameters = inspect.signature(constructor).parameters.values()
        options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert options == NETWORK_OPTIONS[name], name


def ensemble(**choices):
    return Recipe.model_validate({"name": "many", "seed": 7, "ensemble": choices})


def test_members_differ_in_seed_and_fold():
    recipe = ensemble(members=25)
    members = [recipe.member(index) for index in range(25)]
    assert len({member.seed for member in members}) == 25
    assert [member.data.fold for member in members] == [*range(10), *range(10), *range(5)]
    assert len({(member.split_seed, member.data.fold) for member in members}) == 25
    assert {member.ensemble.members for member in members} == {1}
    other = Recipe.model_validate(recipe.model_dump() | {"seed": 8})
    assert not {m.seed for m in members} & {other.member(index).seed for index in range(25)}


def test_members_without_validation_have_no_fold():
    recipe = Recipe.model_validate(
        {
            "data": {"validation": None},
            "training": {"checkpoint_selection": "last"},
            "ensemble": {"members": 2},
        }
    )
    assert recipe.member(1).data == recipe.data


def test_variants_of_a_single_network_are_refused():
    with pytest.raises(RecipeError, match=r"but ensemble\.members is 1; expected at least 2"):
        Recipe.load("best", overrides=["ensemble.members=1"])


def test_what_is_off_in_a_variant_is_written_as_everywhere(tmp_path):
    variants = [{"network": {"width": None}}, {"training": {"progressive_sizes": []}}]
    recipe = Recipe.model_validate({"ensemble": {"members": 2, "member_overrides": variants}})
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    again = Recipe.load(tmp_path / "recipe.toml")
    assert again.member(0) == recipe.member(0)
    assert again.to_toml() == recipe.to_toml()


def test_each_problem_is_told_once():
    with pytest.raises(RecipeError) as caught:
        Recipe.load("best", overrides=["ensemble.member_overrides=[{data = {}}]", "seed=-1"])
    assert len(caught.value.problems) == len(set(caught.value.problems)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "network.hidden=[1000000000000000000000]",
        "network.hidden=" + "[" * 3000,
        "network.hidden=" + "9" * 5000,
    ],
)
def test_absurd_values_are_answered_with_a_sentence(text):
    with pytest.raises(RecipeError, match=r"network\.hidden"):
        Recipe.load("logbook-mlp", overrides=[text])


def test_members_take_turns_with_the_variants():
    wide = {"network": {"width": 48}, "training": {"max_epochs": 3}}
    other = {"network": {"name": "deotte"}}
    recipe = Recipe.model_validate(
        {"network": {"width": 24}, "ensemble": {"members": 4, "member_overrides": [wide, other]}}
    )
    found = [recipe.member(index) for index in range(4)]
    assert [member.model.name for member in found] == ["compact", "deotte"] * 2
    assert [member.model.width for member in found] == [48, None] * 2  # its own sizes
    assert [member.training.max_epochs for member in found] == [3, 10] * 2
    assert Recipe.model_validate(tomllib.loads(recipe.to_toml())) == recipe


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        (
            {"data": {"validation": 0.3}},
            "ensemble.member_overrides.0 changes data, expected only augment",
        ),
        (
            {"network": {"name": "lenet5", "width": 3}},
            "member_overrides.0: network.width does not apply",
        ),
        ({"training": {"max_epochs": 0}}, "member_overrides.0: training.max_epochs is 0, expected"),
        ({"training": {"epochs": 5}}, "member_overrides.0: training.epochs is not a known field"),
        (
            {"training": {"precision": "fp32"}},
            "member_overrides.0 changes training.precision, expected one",
        ),
    ],
)
def test_a_variant_that_cannot_work_is_told_beforehand(variant, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        ensemble(members=2, member_overrides=[variant])


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ("optimizer.name=muon network.name=mlp network.width=none", "fixes the length of filters"),
        ("training.progressive_sizes=[20] network.name=deotte", "deotte takes one size alone"),
        ("data.validation=0.1 data.fold=10", "data.fold is 10, but data.validation makes 10 folds"),
        ("data.fold=0 data.validation=none training.checkpoint_selection=last", "makes 0 folds"),
        (
            "distillation.teacher=standard ensemble.members=2",
            "distillation.teacher teaches one network, but ensemble.members is 2",
        ),
        (
            "distillation.teacher=standard augmentation.mixup=0.1",
            "augmentation.mixup lays one image over another, and a teacher is asked about",
        ),
        ("ensemble.members=1001", "ensemble.members is 1001, expected"),
    ],
)
def test_choices_about_members_that_do_not_fit(choices, sentence):
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        Recipe.load("quick", overrides=choices.split())


@pytest.mark.parametrize(
    ("overrides", "caveat"),
    [
        ([], None),
        (["data.validation=none"], None),
        (
            ["training.checkpoint_selection=best", "schedule.name=plateau"],
            "The held-out images also selected the epoch, the learning rate, so the validation "
            "score is optimistic.",
        ),
        (
            ["training.patience_epochs=3", "distillation.teacher=some/run"],
            "The held-out images also selected when to stop, so the validation score is "
            "optimistic. It is unknown whether the teacher was trained on the held-out images.",
        ),
        (
            ["ensemble.members=2", "data.pseudo_label_threshold=0.9"],
            "Each held-out image was predicted only by the members that did not train on it. Test "
            "images were trained on too, with predicted labels that were selected by a confidence "
            "calibrated on the held-out images.",
        ),
    ],
)
def test_a_caveat_says_why_validation_may_not_predict_the_test_score(overrides, caveat):
    assert Recipe.load("lenet5", overrides=overrides).validation_caveat() == caveat
