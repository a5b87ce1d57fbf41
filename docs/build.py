"""Run every chapter of the tutorial and write it as a web page: `make docs`.

A chapter that raises, or whose own assertions fail, stops the build with the cell and its error.
"""

import argparse
import html
import sys
import tempfile
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from traitlets.config import Config

DOCS = Path(__file__).parent
MAX_CHAPTER_S = 600  # stops a chapter that hangs; each should take less than two minutes
NO_ALT_TEXT = 'alt="No description has been provided for this image"'


def run_chapter(chapter: Path, out: Path) -> float:
    """Execute `chapter`, write it to `out` as HTML, and return the seconds it took."""
    notebook = jupytext.read(chapter)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as sockets:
        # In the file system, not on the network: no other user of the machine can connect.
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        client = NotebookClient(
            notebook, kernel_name="python3", config=config, timeout=MAX_CHAPTER_S
        )
        client.execute()
    elapsed_s = time.perf_counter() - started
    (out / f"{chapter.stem}.html").write_text(to_html(notebook), "utf-8")
    return elapsed_s


def to_html(notebook: NotebookNode) -> str:
    """Convert an executed notebook to a page, with the alternative text of its images."""
    notebook.metadata["title"] = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    page, _ = HTMLExporter(theme="light").from_notebook_node(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt is not None:  # nbconvert leaves it out
                page = page.replace(NO_ALT_TEXT, f'alt="{html.escape(alt)}"', 1)
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapters", nargs="*", type=Path, help="default: all")
    parser.add_argument("--out", type=Path, default=DOCS / "build", help="default: docs/build")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for chapter in options.chapters or sorted((DOCS / "tutorial").glob("[0-9]*.md")):
        try:
            elapsed_s = run_chapter(chapter, options.out)
        except CellExecutionError as error:
            print(f"{chapter.name}: {error}", file=sys.stderr)
            return 1
        print(f"{chapter.name}: {elapsed_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
