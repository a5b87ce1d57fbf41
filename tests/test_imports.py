"""Imports run one way, as docs/architecture.md says, and `tenfold --help` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tenfold

SOURCE = Path(tenfold.__file__).parent

# A package or module may import itself and what has a lower number.
FLOORS = {
    "errors": 0,
    "formatting": 0,
    "signals": 0,
    "files": 1,
    "config": 1,
    "machine": 1,
    "toml": 1,
    "recipe": 2,
    "artifact": 2,
    "jobs": 2,
    "run_folder": 3,
    "data": 3,
    "device": 3,
    "images": 2,
    "metrics": 3,
    "networks": 3,
    "preprocessing": 3,
    "kaggle": 4,
    "decision": 4,
    "classifier": 5,
    "onnx_graph": 1,
    "recognizer_file": 5,
    "recognizer": 6,
    "onnx_recognizer": 6,
    "models": 7,
    "predictions": 8,
    "predict": 8,
    "evaluation": 8,
    "pictures": 8,
    "training": 9,
    "export": 9,
    "report": 10,
    "estimator": 10,
    "experiments": 11,
    "run": 11,
    "serving": 11,
    "cli": 12,
    "__main__": 13,
}


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_packages(path: Path) -> set[str]:
    return packages_in(path.read_text("utf-8"))


def packages_in(source: str) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "tenfold":
            modules |= {f"tenfold.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    parts = (module.split(".") for module in modules)
    return {others[0] for package, *others in parts if package == "tenfold" and others}


def test_every_way_to_import_is_seen():
    source = (
        "import tenfold.run, numpy\nfrom tenfold import data\nfrom tenfold.cli.common import app"
    )
    assert packages_in(source) == {"run", "data", "cli"}


MODULES = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path):
    package = package_of(path)
    wrong = {
        other
        for other in imported_packages(path)
        if other != package and FLOORS[other] >= FLOORS[package]
    }
    assert not wrong, f"{package} must not import {wrong}"


def test_no_two_classes_have_one_name():
    names = [
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(names) == sorted(set(names))


def test_the_tree_stays_small():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert len(lengths) <= 150
    assert {path.name: n for path, n in lengths.items() if n > 400} == {}


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
