"""Models: whatever predicts, read from its file; and the model in the box."""

from pathlib import Path
from typing import Final

from tenfold.classifier import Classifier
from tenfold.errors import DependencyError
from tenfold.files import path_exists
from tenfold.onnx_recognizer import OnnxRecognizer
from tenfold.run_folder import RunFolder

BOX: Final = Path(__file__).parent / "box" / "digits.onnx"
SUFFIXES: Final = (".safetensors", ".onnx")


def load(path: Path | str | None = None) -> Classifier:
    """Read what predicts.

    Args:
        path: a run folder, a recognizer's file (.safetensors), or an exported one (.onnx); None is
            the model in the box, which reads digits and needs no PyTorch.

    Raises:
        RecognizerError: it is missing, damaged, or no model.
        DependencyError: it needs PyTorch, which is not installed.
    """
    path = model_file(path)
    if path.suffix == ".onnx":
        return OnnxRecognizer.load(path)
    try:
        from tenfold.recognizer import Recognizer  # noqa: PLC0415 - torch takes a second
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise DependencyError(
            f"{path}: needs PyTorch: pip install 'tenfold[train]'; or, where it was trained, "
            "`tenfold export` it to an .onnx file, which needs none"
        ) from error
    return Recognizer.load(path)


def is_model(path: Path) -> bool:
    """Whether `path` names a model: a run folder, or a file by its suffix."""
    if path_exists(path) and path.is_dir():
        return path_exists(RunFolder(path).recipe) or path_exists(RunFolder(path).recognizer)
    return path.suffix in SUFFIXES


def model_file(path: Path | str | None) -> Path:
    """Return the file of a model; see `load`."""
    if path is None:
        return BOX
    path = Path(path)
    return RunFolder(path).recognizer if path_exists(path) and path.is_dir() else path
