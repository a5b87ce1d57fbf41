"""Run every chapter of the tutorial and leave it as a web page: `make docs`.

A chapter that raises, or whose own assertions fail, breaks the build with the cell and its error.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from traitlets.config import Config

HERE = Path(__file__).parent
MINUTES_A_CHAPTER = 10  # a limit against hanging; two are meant


def run_chapter(chapter: Path, out: Path) -> float:
    """Execute `chapter`, write it to `out` as HTML, and return the seconds it took."""
    notebook = jupytext.read(chapter)
    started = time.perf_counter()
    limit_s = 60 * MINUTES_A_CHAPTER
    with tempfile.TemporaryDirectory() as sockets:
        # In the file system, not on the network: nobody else on the machine may listen.
        local = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        NotebookClient(notebook, kernel_name="python3", config=local, timeout=limit_s).execute()
    took = time.perf_counter() - started
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    notebook.metadata["title"] = title
    page, _ = HTMLExporter(theme="light").from_notebook_node(notebook)
    (out / f"{chapter.stem}.html").write_text(page, "utf-8")
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapters", nargs="*", type=Path, help="default: all")
    parser.add_argument("--out", type=Path, default=HERE / "build")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for chapter in given.chapters or sorted((HERE / "tutorial").glob("[0-9]*.md")):
        try:
            took = run_chapter(chapter, given.out)
        except CellExecutionError as error:
            print(f"{chapter.name}: {error}", file=sys.stderr)
            return 1
        print(f"{chapter.name}: {took:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
