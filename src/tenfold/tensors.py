"""Tensors on disk: one safetensors file with a description and a checksum. No pickle."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tenfold.errors import RecognizerError
from tenfold.files import atomic_path, is_there


def save_tensors(path: Path, tensors: dict[str, Tensor], kind: str, about: Any) -> None:
    """Write tensors and a JSON description of them to one safetensors file, with a checksum."""
    metadata = {"format": kind, "about": json.dumps(about)}
    metadata["sha256"] = checksum(metadata["about"], tensors)
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # it wraps a full disk, among others
            raise OSError(str(error)) from error


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save_tensors` wrote, believing nothing before the checksum agrees.

    Raises:
        RecognizerError: the file is missing, damaged or of another kind.
    """
    if not (is_there(path) and path.is_file()):
        raise RecognizerError(f"{path}: there is no such file, expected one that tenfold saved")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # A clone owns its memory: the file may be replaced while the tensors are in use.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise RecognizerError(
            f"{path}: is damaged, or was not saved by tenfold ({error}), expected {kind!r} as a "
            "safetensors file"
        ) from error
    if metadata.get("format") != kind:
        found = metadata.get("format", "no format")
        raise RecognizerError(f"{path}: says {found!r}, expected {kind!r}")
    about = metadata.get("about", "")
    if metadata.get("sha256") != checksum(about, tensors):
        raise RecognizerError(f"{path}: is damaged, its checksum does not agree with its content")
    described: dict[str, Any] = json.loads(about)
    return tensors, described


def checksum(about: str, tensors: Mapping[str, Tensor]) -> str:
    """Sha256 over a description and the name, type, shape and content of every tensor."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
