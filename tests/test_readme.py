"""What the README shows works as shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold.kaggle import leaderboard_entries
from tenfold.recipe import Recipe, list_recipes

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
BENCHMARKED = [name for name in list_recipes() if Recipe.load(name).benchmark]


def tenfold(*arguments):
    """Return what a command prints."""
    command = [sys.executable, "-m", "tenfold", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_python_example_runs(digits_csv, tmp_path, monkeypatch):
    """Its six lines on real digits, with a recipe that takes seconds in place of minutes."""
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example
    code = example[1]
    assert len([line for line in code.splitlines() if line and "import" not in line]) == 6
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_bytes((digits_csv / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    assert '"quick"' in code
    exec(compile(code.replace('"quick"', '"lenet5"'), "README.md", "exec"), {})
    rows = (tmp_path / "submission.csv").read_text().splitlines()
    assert rows[0] == "ImageId,Label"
    assert len(rows) == 801


def test_every_command_in_the_table_is_there_and_no_other():
    listed = re.findall(r"^\| `tenfold (\w+)", README, re.MULTILINE)
    commands = tenfold("--help").split("Commands:")[1]
    assert sorted(listed) == sorted(re.findall(r"^  (\w+)  ", commands, re.MULTILINE))


def test_it_is_read_in_five_minutes():
    assert len(README.split()) <= 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_recipe_field_and_benchmark_exists(page):
    """In `--set section.field=value` and `python benchmarks/script.py`."""
    text = page.read_text("utf-8")
    for section, field in re.findall(r"--set\s+(?!section\.field)(\w+)\.(\w+)=", text):
        assert field in type(getattr(Recipe(), section)).model_fields, f"{section}.{field}"
    for script in re.findall(r"python (benchmarks/[\w/]+\.py)", text):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("name", BENCHMARKED)
def test_a_recipes_figure_is_the_same_everywhere(name):
    """In its file, in docs/results.md and, where they have it, in README and the leaderboard."""
    figure = re.search(r"(0\.\d+)(?: ± 0\.\d+)? on", Recipe.load(name).benchmark)
    assert figure
    assert figure[1] in (ROOT / "docs" / "results.md").read_text("utf-8")
    rows = re.findall(rf"^\| `{name}`[^|×]*\| .*seeds\).*$", README, re.MULTILINE)
    rows += [
        f"{entry.score:g}"
        for entry in leaderboard_entries()
        if entry.method.startswith(f"recipe {name}")
    ]
    assert all(figure[1] in row for row in rows), rows
