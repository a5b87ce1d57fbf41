"""tenfold reads handwritten digits. The public names; each is imported when it is first used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenfold.data import (
        Dataset,
        check,
        kaggle_split,
        mnist,
        read,
        read_submission,
        split,
        write_submission,
    )
    from tenfold.errors import TenfoldError
    from tenfold.estimator import DigitClassifier
    from tenfold.export import export_onnx
    from tenfold.metrics import score
    from tenfold.models import load
    from tenfold.pictures import read_images
    from tenfold.predictions import evaluate
    from tenfold.recipe import Recipe
    from tenfold.recognizer import Recognizer
    from tenfold.training.train import fit

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "tenfold.data",
    "DigitClassifier": "tenfold.estimator",
    "export_onnx": "tenfold.export",
    "Recipe": "tenfold.recipe",
    "Recognizer": "tenfold.recognizer",
    "TenfoldError": "tenfold.errors",
    "check": "tenfold.data",
    "evaluate": "tenfold.predictions",
    "fit": "tenfold.training.train",
    "kaggle_split": "tenfold.data",
    "load": "tenfold.models",
    "mnist": "tenfold.data",
    "read": "tenfold.data",
    "read_images": "tenfold.pictures",
    "read_submission": "tenfold.data",
    "score": "tenfold.metrics",
    "split": "tenfold.data",
    "write_submission": "tenfold.data",
}

__all__ = [
    "Dataset",
    "DigitClassifier",
    "Recipe",
    "Recognizer",
    "TenfoldError",
    "check",
    "evaluate",
    "export_onnx",
    "fit",
    "kaggle_split",
    "load",
    "mnist",
    "read",
    "read_images",
    "read_submission",
    "score",
    "split",
    "write_submission",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: `tenfold --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tenfold' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
