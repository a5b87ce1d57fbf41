"""The course: three exercises a chapter, links that lead on, public names, outputs kept."""

import ast
import re
import runpy
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
import pytest

import tenfold

COURSE = Path(__file__).parent.parent / "docs" / "tutorial"
CHAPTERS = sorted(COURSE.glob("[0-9]*.md"))
MAX_KEPT_BYTES = 3_000_000  # all executed copies together
BUILD = runpy.run_path(str(COURSE.parent / "build.py"))
EXERCISE = re.compile(
    r"^\*\*(\d)\.\*\*.+<details><summary>Solution</summary>.+</details>", re.DOTALL
)
OUTPUT_OF_SOLUTION = re.compile(r"(```\n)\n```text\n.*?\n```\n", re.DOTALL)
OLD_WORDS = (
    r"stands?\b", r"answers\b", r"learn(s|ed)? from", r"judged? by", "foretold", "reckon",
    "whoever", r"hand(ed)? in\b", r"\d %", "beforehand", "oftener",
)  # fmt: skip

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)


def code_of(cell):
    """Return what Python runs of a cell: its code, or that of a solution; no shell commands."""
    if cell.cell_type == "markdown":
        found = BUILD["CODE_IN_SOLUTION"].search(cell.source)
        source = found[1] if found else ""
    else:
        source = cell.source
    return re.sub(r"^[!%].*$", "pass", source, flags=re.MULTILINE)


def title(chapter):
    return re.search(r"^# (.*)$", chapter.read_text("utf-8"), re.MULTILINE)[1]


def test_chapters_are_numbered_and_listed_in_order():
    assert [title(chapter).split(".")[0] for chapter in CHAPTERS] == [
        str(number) for number in range(1, len(CHAPTERS) + 1)
    ]
    listed = re.findall(r"^(\d+\. )\[(.*)\]\((.*\.md)\)", (COURSE / "README.md").read_text(), re.M)
    assert [(number + name, file) for number, name, file in listed] == [
        (title(chapter), chapter.name) for chapter in CHAPTERS
    ]


@each_chapter
def test_it_has_three_exercises_with_folded_solutions(chapter):
    exercises = jupytext.read(chapter).cells
    found = [EXERCISE.match(cell.source) for cell in exercises if cell.cell_type == "markdown"]
    assert [match[1] for match in found if match] == ["1", "2", "3"]
    assert chapter.read_text("utf-8").count("<details>") == 3


@pytest.mark.parametrize(("chapter", "following"), list(pairwise(CHAPTERS)))
def test_it_links_to_the_next_and_the_next_links_back(chapter, following):
    """Both at the top and at the end."""
    forward = f"[{title(following)} →]({following.name})"
    back = f"[← {title(chapter)}]({chapter.name})"
    assert chapter.read_text("utf-8").count(forward) == 2
    assert following.read_text("utf-8").count(back) == 2


@each_chapter
def test_it_uses_public_names_only(chapter):
    for cell in jupytext.read(chapter).cells:
        for node in ast.walk(ast.parse(code_of(cell))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None), *(each.name for each in node.names)]
                assert not any((name or "").startswith("tenfold.") for name in names), names
                assert names[0] != "tenfold"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "tenfold" or node.attr in tenfold.__all__, node.attr
                assert not node.attr.startswith("_")


@each_chapter
def test_checks_are_hidden_and_figures_have_alternative_text(chapter):
    for cell in jupytext.read(chapter).cells:
        if cell.cell_type == "code" and BUILD["HIDDEN"] not in cell.metadata.get("tags", []):
            statements = ast.walk(ast.parse(code_of(cell)))
            assert not any(isinstance(node, ast.Assert) for node in statements), cell.source
            draws = "plt.show()" in cell.source and "def " not in cell.source
            assert not draws or cell.metadata.get("alt"), cell.source


@each_chapter
def test_it_is_in_plain_words(chapter):
    text = " ".join(chapter.read_text("utf-8").split())
    assert [word for word in OLD_WORDS if re.search(rf"\b{word}", text)] == []
    assert "$" not in text  # a formula in TeX needs a script from elsewhere to be readable


@each_chapter
def test_its_notebook_is_kept_with_outputs(chapter):
    """`make docs` writes it; its text and code are those of the chapter."""
    kept = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)
    source = BUILD["with_links"](BUILD["visible"](jupytext.read(chapter)), ".ipynb", "README.md")
    assert [OUTPUT_OF_SOLUTION.sub(r"\1", cell.source) for cell in kept.cells] == [
        cell.source for cell in source.cells
    ], "run make docs"
    outputs = [output for cell in kept.cells for output in cell.get("outputs", [])]
    assert outputs
    assert not any(output.output_type == "error" for output in outputs)


def test_the_kept_notebooks_are_small():
    assert sum(path.stat().st_size for path in COURSE.glob("*.ipynb")) < MAX_KEPT_BYTES
