"""Recipes: read, validated with every problem at once, written and read again."""

import inspect
import re
import tomllib
import tracemalloc

import pytest
from pydantic import ValidationError

from tenfold.config import NETWORK_OPTIONS, RENAMED_FIELDS
from tenfold.errors import RecipeError
from tenfold.networks import NETWORKS
from tenfold.recipe import Recipe, list_recipes


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_round_trips_through_toml(name, tmp_path):
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert recipe.description
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.load(path) == recipe


def test_none_round_trips_through_toml(tmp_path):
    recipe = Recipe.load("quick", overrides=["data.validation=none", "training.ema_decay=none"])
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    assert Recipe.load(path).data.validation is None
    assert Recipe.load(path) == recipe


def test_a_bad_value_in_a_list_is_one_problem():
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


def test_a_recipes_own_split_seed_overrides_the_seed():
    assert Recipe.load("logbook-mlp", seed=5).split_seed == 42


def test_every_problem_is_reported_at_once():
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


def test_a_bad_field_hides_no_other_problem_of_its_section():
    with pytest.raises(RecipeError) as caught:
        Recipe.load("quick").with_overrides(
            {"training": {"max_epochs": 0, "batch_size": True}, "network": {"name": "mlp"}}
        )
    text = str(caught.value)
    assert "training.max_epochs is 0, expected" in text
    assert "training.batch_size is true, expected a number" in text
    assert "mlp has none; expected compact or deotte or pocket" in text  # batch normalisation


@pytest.mark.parametrize(("old", "new"), RENAMED_FIELDS.items())
def test_a_renamed_field_is_named_by_its_new_name(old, new):
    with pytest.raises(RecipeError) as caught:
        Recipe.load("lenet5", overrides=[f"{old}=1"])
    assert caught.value.problems == (f"{old} is now {new}",)


def test_renamed_fields_lead_to_fields_that_exist():
    fields = Recipe().model_dump()
    for old, new in RENAMED_FIELDS.items():
        section, _, field = new.rpartition(".")
        section_fields = fields[section] if section else fields
        assert field in section_fields, new
        assert old.rpartition(".")[2] not in section_fields, old


def test_a_renamed_field_of_a_member_is_named_too():
    with pytest.raises(ValueError, match=r"0: preprocessing\.frame is now preprocessing\.alignm"):
        ensemble(members=2, member_overrides=[{"preprocessing": {"frame": "box"}}])


def test_the_message_mentions_none_where_a_field_takes_it():
    with pytest.raises(RecipeError, match=r"'deskew' or 'bounding_box', or none$"):
        Recipe.load("lenet5", overrides=["preprocessing.alignment=page"])
    with pytest.raises(RecipeError, match=r"greater than or equal to 1$"):
        Recipe.load("lenet5", overrides=["training.max_epochs=0"])


def test_another_network_starts_from_its_own_options():
    recipe = Recipe.load("deotte", overrides=["network.width=16"])
    other = recipe.with_overrides({"network": {"name": "compact"}})
    assert other.network.options == {}
    assert recipe.with_overrides({"network": {"name": "deotte"}}).network.width == 16


@pytest.mark.parametrize(
    ("content", "message"),
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
def test_a_bad_file_raises_a_clear_error(content, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_recipe_lists_the_available_ones(tmp_path):
    with pytest.raises(
        RecipeError, match=r"no such file or recipe .did you mean quick\?., expected .* quick"
    ):
        Recipe.load("quikc")
    with pytest.raises(RecipeError, match=r": cannot be read \(is a directory\)$"):
        Recipe.load(tmp_path)


def test_a_recipe_is_immutable():
    recipe = Recipe.load("quick")
    with pytest.raises(ValidationError):
        recipe.seed = 3  # type: ignore[misc]


def test_network_options_match_the_constructors():
    assert set(NETWORK_OPTIONS) == set(NETWORKS)
    for name, constructor in NETWORKS.items():
        parameters = inspect.signature(constructor).parameters.values()
        options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert options == NETWORK_OPTIONS[name], name


def ensemble(**fields):
    return Recipe.model_validate({"name": "many", "seed": 7, "ensemble": fields})


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


def test_member_overrides_need_several_members():
    with pytest.raises(RecipeError, match=r"but ensemble\.members is 1; expected at least 2"):
        Recipe.load("best", overrides=["ensemble.members=1"])


def test_none_in_member_overrides_round_trips_through_toml(tmp_path):
    overrides = [{"network": {"width": None}}, {"training": {"progressive_sizes": []}}]
    recipe = Recipe.model_validate({"ensemble": {"members": 2, "member_overrides": overrides}})
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    again = Recipe.load(tmp_path / "recipe.toml")
    assert again.member(0) == recipe.member(0)
    assert again.to_toml() == recipe.to_toml()


def test_each_problem_is_reported_once():
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
def test_absurd_values_name_the_field(text):
    with pytest.raises(RecipeError, match=r"network\.hidden"):
        Recipe.load("logbook-mlp", overrides=[text])


def test_members_take_turns_with_member_overrides():
    wide = {"network": {"width": 48}, "training": {"max_epochs": 3}}
    other = {"network": {"name": "deotte"}}
    recipe = Recipe.model_validate(
        {"network": {"width": 24}, "ensemble": {"members": 4, "member_overrides": [wide, other]}}
    )
    members = [recipe.member(index) for index in range(4)]
    assert [member.network.name for member in members] == ["compact", "deotte"] * 2
    assert [member.network.width for member in members] == [48, None] * 2  # deotte's own
    assert [member.training.max_epochs for member in members] == [3, 10] * 2
    assert Recipe.model_validate(tomllib.loads(recipe.to_toml())) == recipe


@pytest.mark.parametrize(
    ("overrides", "message"),
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
def test_member_overrides_that_cannot_work_are_refused(overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ensemble(members=2, member_overrides=[overrides])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("optimizer.name=muon network.name=mlp network.width=none", "fixes the norm of filters"),
        ("training.progressive_sizes=[20] network.name=deotte", "deotte takes one size only"),
        ("data.validation=0.1 data.fold=10", "data.fold is 10, but data.validation makes 10 folds"),
        ("data.fold=0 data.validation=none training.checkpoint_selection=last", "makes 0 folds"),
        (
            "distillation.teacher=standard ensemble.members=2",
            "distillation.teacher teaches one network, but ensemble.members is 2",
        ),
        (
            "distillation.teacher=standard augmentation.mixup=0.1",
            "augmentation.mixup blends two images, and a teacher sees each alone; expected 0",
        ),
        (
            "training.outlier_fraction=0.1 augmentation.mixup=0.1",
            "training.outlier_fraction and augmentation.mixup are both set; expected one of them",
        ),
        (
            "training.outlier_fraction=0.1 distillation.teacher=standard",
            "training.outlier_fraction is set, and so is a teacher; expected one of them",
        ),
        ("ensemble.members=1001", "ensemble.members is 1001, expected"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(overrides, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        Recipe.load("quick", overrides=overrides.split())


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


DEEP_KEY = ".".join(["a"] * 60_000)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    [
        f"{DEEP_KEY} = 1",
        f"[{DEEP_KEY}]\n",
        f"[[{DEEP_KEY}]]\n",
        " . ".join(['"a"'] * 60_000) + " = 1",
        "a = " + "{a=" * 20_000,
        "# " + "x" * 2_000_000,
    ],
    ids=["key", "table", "array", "quoted", "inline", "comment"],
)
def test_no_recipe_costs_more_than_it_is_long(tmp_path, text):
    """A dotted key of 120 kB took 14 GB."""
    path = tmp_path / "deep.toml"
    path.write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError, match=r"deep.toml: is not valid TOML \(") as caught:
            Recipe.load(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 300


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "override",
    [f"{DEEP_KEY}=1", f"seed={DEEP_KEY}", f"network.{'x' * 120_000}=1", f"{'y' * 120_000}", "a.b"],
)
def test_no_override_costs_more_than_it_is_long(override):
    with pytest.raises(RecipeError) as caught:
        Recipe.load("quick", overrides=[override])
    assert len(str(caught.value)) < 2000


def test_a_message_of_many_problems_fits_on_a_screen():
    overrides = [f"network.x{index}=1" for index in range(1000)]
    with pytest.raises(RecipeError, match=r"; and 980 more$") as caught:
        Recipe.load("quick", overrides=overrides)
    assert len(caught.value.problems) == 1000
