"""docs/architecture.md describes the code as it is: its tree, its levels and its walks."""

import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

import tenfold
from tenfold.recipe import Recipe
from tenfold.run import run
from tenfold.training.callbacks import Callback

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "tenfold"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
FLOORS = runpy.run_path(str(ROOT / "tests" / "test_imports.py"))["FLOORS"]


def section(title: str) -> str:
    """Return the section of the page with this title."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def block(title: str) -> list[str]:
    """Return the lines of the first text block of a section."""
    found = re.search(r"```text\n(.*?)```", section(title), re.DOTALL)
    assert found
    return [line for line in found[1].splitlines() if line]


def test_the_tree_names_every_module_and_no_other():
    named = [line.split()[0] for line in block("Every module")[1:]]
    modules = [path.relative_to(SOURCE) for path in SOURCE.rglob("*.py")]
    packages = [f"{path.parent}/" for path in modules if path.name == "__init__.py"]
    others = [str(path) for path in modules if path.name != "__init__.py"]
    assert sorted(named) == sorted(["__init__.py", *others, *(set(packages) - {"./"})])


def test_each_module_of_the_tree_has_a_description():
    assert all(len(line.split()) > 1 for line in block("Every module")[1:])


def test_the_levels_are_those_that_the_imports_are_held_to():
    levels = {}
    for level, names in re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE):
        levels |= dict.fromkeys(re.findall(r"`(\w+)`", names), int(level))
    assert levels == FLOORS


def resolve(name: str) -> object:
    """Return the module, class or function called `name`."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


NO_CODE = {"data.json", "recipe.toml", "training.max_epochs"}
NAMES = sorted(
    name
    for name in set(re.findall(r"`((?:\w+\.)+\w+)(?:\(.*?\))?`", PAGE)) - NO_CODE
    if name.split(".")[0] in FLOORS
)


@pytest.mark.parametrize("name", NAMES)
def test_every_function_and_class_on_the_page_exists(name):
    assert resolve(f"tenfold.{name}")


def test_the_page_lists_all_hooks_in_order():
    listed = re.findall(r"^\| `(\w+)` \|", section("Callbacks"), re.MULTILINE)
    assert listed == [name for name in vars(Callback) if not name.startswith("_")]


def calls_before_the_network(call, *, training):
    """Run `call`, and return tenfold's functions on the stack when a network is first called."""
    stacks = []

    def record(module, _inputs):
        if stacks or module.training != training:
            return
        frame, names = sys._getframe(1), []
        while frame is not None:
            module_name = frame.f_globals.get("__name__", "")
            if module_name.startswith("tenfold."):
                names.append(f"{module_name}.{frame.f_code.co_qualname}")
            frame = frame.f_back
        stacks.append(names[::-1])

    handle = torch.nn.modules.module.register_module_forward_pre_hook(record)
    try:
        call()
    finally:
        handle.remove()
    return stacks[0]


def walk(title: str) -> list[str]:
    """Return the functions of a walk on the page, in order; its last line is the network."""
    *functions, _network = (line.strip(" └").split()[0] for line in block(title))
    return functions


def test_the_walk_from_run_to_the_network(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("tenfold.run.write_report", lambda _folder: None)
    recipe = Recipe.load("lenet5", overrides=["training.max_epochs=1"])
    test_set = digits[1000:].without_labels()
    found = calls_before_the_network(
        lambda: run(digits[:1000], test_set, recipe, tmp_path / "run"), training=True
    )
    assert found == walk("From `tenfold run` to the network")
    assert len(found) <= 5


def test_the_walk_from_predict_to_the_network(digits):
    recognizer = tenfold.fit(
        digits[:500], recipe=Recipe.load("lenet5", overrides=["training.max_epochs=1"])
    )
    found = calls_before_the_network(lambda: recognizer.predict(digits[500:600]), training=False)
    assert found == walk("From `predict` to the network")
    assert len(found) <= 4
