"""Run every chapter of the course, solutions included: `make docs`.

Each chapter becomes a page in docs/build, and a notebook with its outputs beside its source, so
that any forge shows text, code and figures. Cells tagged `remove-cell` are checks: they run and are
left out of both. A chapter that raises, or whose checks fail, stops the build with the cell and its
error.
"""

import argparse
import copy
import html
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from traitlets.config import Config

DOCS = Path(__file__).parent
COURSE = DOCS / "tutorial"
MAX_CHAPTER_S = 600  # stops a chapter that hangs; each should take less than two minutes
NO_ALT_TEXT = 'alt="No description has been provided for this image"'
HIDDEN = "remove-cell"
PLAIN_OUTPUT = {"TTY_COMPATIBLE": "0"}  # commands print lines, no moving bars
CODE_IN_SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```\n", re.DOTALL)
CHAPTER_LINK = re.compile(r"\]\((\d\d-[\w-]+)\.md\)")


def run_chapter(chapter: Path) -> NotebookNode:
    """Execute `chapter` and its solutions; return what its reader sees, outputs included."""
    notebook = jupytext.read(chapter)
    solutions = add_solutions(notebook)
    with tempfile.TemporaryDirectory() as sockets:
        # In the file system, not on the network: no other user of the machine can connect.
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            config=config,
            timeout=MAX_CHAPTER_S,
            coalesce_streams=True,
            record_timing=False,
            store_widget_state=False,
            resources={"metadata": {"path": str(COURSE)}},
        )
        client.execute(env=os.environ | PLAIN_OUTPUT)
    for exercise, solution in solutions:
        printed = "".join(each.text for each in solution.outputs if each.get("name") == "stdout")
        end = CODE_IN_SOLUTION.search(exercise.source).end()
        exercise.source = (
            f"{exercise.source[:end]}\n```text\n{printed.rstrip()}\n```\n{exercise.source[end:]}"
        )
    return visible(notebook)


def add_solutions(notebook: NotebookNode) -> list[tuple[NotebookNode, NotebookNode]]:
    """Insert a hidden cell after each exercise whose solution has code; return these pairs."""
    cells, solutions = [], []
    for cell in notebook.cells:
        cells.append(cell)
        code = CODE_IN_SOLUTION.search(cell.source) if cell.cell_type == "markdown" else None
        if code is not None:
            solution = new_code_cell(code[1], metadata={"tags": [HIDDEN]})
            cells.append(solution)
            solutions.append((cell, solution))
    notebook.cells = cells
    return solutions


def visible(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook without its hidden cells, numbered so that two builds are alike."""
    cells = [cell for cell in notebook.cells if HIDDEN not in cell.metadata.get("tags", [])]
    for index, cell in enumerate(cells):
        cell.id = f"cell-{index}"
    code = [cell for cell in cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    notebook.cells = cells
    return notebook


def with_links(notebook: NotebookNode, suffix: str, index: str) -> NotebookNode:
    """Return a copy that links to chapters ending in `suffix`, and to the course at `index`."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = CHAPTER_LINK.sub(rf"](\1{suffix})", cell.source)
            cell.source = source.replace("](README.md)", f"]({index})")
    return notebook


def to_html(notebook: NotebookNode) -> str:
    """Convert an executed notebook to a page, with the alternative text of its images."""
    notebook.metadata["title"] = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    page, _ = HTMLExporter(theme="light").from_notebook_node(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):  # nbconvert gives it no alternative text
                alt = html.escape(cell.metadata.get("alt", "figure"))
                page = page.replace(NO_ALT_TEXT, f'alt="{alt}"', 1)
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapters", nargs="*", type=Path, help="default: all")
    parser.add_argument("--out", type=Path, default=DOCS / "build", help="default: docs/build")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for chapter in options.chapters or sorted(COURSE.glob("[0-9]*.md")):
        started = time.perf_counter()
        try:
            notebook = run_chapter(chapter)
        except CellExecutionError as error:
            print(f"{chapter.name}: {error}", file=sys.stderr)
            return 1
        page = to_html(with_links(notebook, ".html", "../tutorial/README.md"))
        (options.out / f"{chapter.stem}.html").write_text(page, "utf-8")
        kept = with_links(notebook, ".ipynb", "README.md")
        nbformat.write(kept, COURSE / f"{chapter.stem}.ipynb")
        print(f"{chapter.name}: {time.perf_counter() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
