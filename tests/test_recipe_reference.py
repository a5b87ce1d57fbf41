"""docs/recipe-reference.md is what its generator makes, and says something of every field."""

import importlib.util
from pathlib import Path

import pytest

from tenfold.recipe import Recipe

SCRIPT = Path(__file__).parent.parent / "docs" / "recipe_reference.py"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("recipe_reference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(reference):
    page = reference.PAGE.read_text("utf-8")
    assert page == reference.render(), "run `python docs/recipe_reference.py`"


def test_every_field_has_a_docstring(reference):
    for section in (Recipe, *reference.SECTIONS.values()):
        docstrings = reference.attribute_docstrings(section)
        fields = set(section.model_fields) - set(reference.SECTIONS)
        assert not [name for name in fields if not docstrings[name]], section.__name__


@pytest.mark.parametrize(
    "row",
    [
        "| `seed` | int | `0` | 0 to 4,294,967,295 | Determines",
        '| `fold` | int or none | `"none"` | at least 0 | Hold out this fold',
        "| `learning_rate` | float | `0.001` | above 0, at most 10 | The peak",
        '| `hidden` | list of ints or none | `"none"` | at most 16, each 1 to 1,000,000 | Units',
        '| `name` | str | `"adamw"` | `adamw`, `muon`, `rmsprop`, `sgd` |',
        "| `standardize` | bool | `true` |  | Subtract",
        "`[20, 24]`: best, robust, standard, tiny; `[20]`: quick |",
        "with the fields that differ. | best |",
        "| `momentum` | float | `0.0` | at least 0, below 1 |",
    ],
)
def test_types_defaults_bounds_and_recipes_are_spelled_out(reference, row):
    assert row in reference.render()
