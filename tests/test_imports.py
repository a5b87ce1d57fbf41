"""Imports run one way, as README's tree says, and `tenfold --help` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tenfold

SOURCE = Path(tenfold.__file__).parent

# A room may import itself and rooms with a lower number.
FLOORS = {
    "errors": 0,
    "files": 1,
    "interrupt": 1,
    "choices": 1,
    "recipe": 2,
    "tensors": 2,
    "jobs": 2,
    "data": 3,
    "networks": 3,
    "machine": 3,
    "preprocessing": 3,
    "recognizer": 4,
    "answers": 4,
    "predict": 5,
    "training": 5,
    "report": 6,
    "estimator": 6,
    "submit": 6,
    "experiments": 7,
    "run": 7,
    "cli": 8,
    "__main__": 9,
}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tenfold"):
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return rooms


MODULES = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path):
    room = room_of(path)
    wrong = {
        other for other in imported_rooms(path) if other != room and FLOORS[other] >= FLOORS[room]
    }
    assert not wrong, f"{room} must not import {wrong}"


def test_the_command_line_starts_without_torch():
    code = (
        "import sys, tenfold.cli; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_had():
    for name in tenfold.__all__:
        assert getattr(tenfold, name).__name__ == name


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'flip'"):
        tenfold.flip  # noqa: B018
