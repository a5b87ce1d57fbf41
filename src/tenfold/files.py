"""Files that are whole or absent, arrays in them, and folders that one process has to itself."""

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.errors import OutputError, RecognizerError

if TYPE_CHECKING:
    from filelock import FileLock
    from numpy.typing import NDArray


def output_folder(path: Path) -> Path:
    """Make `path` a folder that can be written to, and return it.

    Raises:
        OutputError: the path exists and is not a folder, or it may not be written to; or its name
            is no text, which TensorBoard cannot write to.
    """
    _check_name(path)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise OutputError(
            f"{path}: has a name that is not UTF-8, expected a folder with another name"
        ) from error
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".tenfold-"):
            pass
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written to ({os_error_message(error)}), expected a writable folder"
        ) from error
    return path


def _check_name(path: Path) -> None:
    if "\0" in str(path):
        raise OutputError(f"{path}: has a null byte, expected the name of a file or folder")


def new_folder(path: Path) -> Path:
    """Make a folder that was not there, and return it: `path`, or path-2, path-3 and so on.

    Raises:
        OutputError: none can be made there.
    """
    output_folder(path.parent)
    for number in count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("counting ends nowhere")


# The file that marks which kind of work a folder holds. Each has its own report.html, so it is
# of one kind.
MARKER_FILES = {"run": "recipe.toml", "search": "search.json", "comparison": "compare.json"}


@contextmanager
def exclusive_lock(folder: Path, kind: str) -> Iterator[None]:
    """Make `folder`, and keep every other process of ours out of it meanwhile.

    It is taken away again if nothing was left in it.

    Args:
        folder: where the work is done.
        kind: "run", "search" or "comparison".

    Raises:
        OutputError: it cannot be written to, somebody is at work there, or it holds work of
            another kind.
    """
    from filelock import Timeout  # noqa: PLC0415 - slow to import

    lock = folder_lock(output_folder(folder))
    try:
        with lock_errors(folder):
            lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{folder}: another process is at work there, expected to be alone; wait for it, or "
            "name another folder in --out"
        ) from error
    try:
        clear_partials(folder)
        for other, sign in MARKER_FILES.items():
            if other != kind and path_exists(folder / sign):
                raise OutputError(
                    f"{folder}: holds a {other} ({sign}), expected an empty folder for a {kind}; "
                    "name another one in --out"
                )
        yield
    finally:
        (folder / "lock").unlink(missing_ok=True)  # ours still, so nobody else's
        lock.release()
        with suppress(OSError):
            folder.rmdir()


def folder_lock(folder: Path) -> "FileLock":
    """Return the lock of `folder`, not acquired yet.

    Raises:
        OutputError: something else bears its name.
    """
    from filelock import FileLock  # noqa: PLC0415 - slow to import

    path = folder / "lock"
    if path.is_symlink() or (path_exists(path) and not path.is_file()):
        raise OutputError(f"{path}: is no ordinary file, expected a lock or nothing; remove it")
    return FileLock(path)


@contextmanager
def lock_errors(folder: Path) -> Iterator[None]:
    """Say in a sentence why a lock cannot be had; that another process has it is no such reason."""
    from filelock import Timeout  # noqa: PLC0415 - slow to import

    try:
        yield
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        reason = os_error_message(error) if isinstance(error, OSError) else str(error)
        raise OutputError(
            f"{folder / 'lock'}: cannot be locked ({reason}), expected a folder where files can be"
        ) from error


_PARTIAL = re.compile(r"\..*\.\d+\.partial(\.\w+)?")


def clear_partials(folder: Path) -> None:
    """Remove what killed processes left half written in `folder`, which is ours alone.

    Also in the folders in it: of members, of figures.
    """
    for path in (*folder.glob(".*.partial*"), *folder.glob("*/.*.partial*")):
        if _PARTIAL.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def path_exists(path: Path) -> bool:
    """Whether `path` exists; False if it is inaccessible or too long for a name."""
    try:
        return path.exists()
    except OSError:
        return False


@contextmanager
def cleanup_on_error(out: Path) -> Iterator[None]:
    """Where nothing comes of `out`, remove the folders that were made for it."""
    new = [folder for folder in out.parents if not path_exists(folder)]
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something else was put there
            for folder in new:
                folder.rmdir()
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success flush it to disk and rename it to `path`.

    Readers see the old file or the new one, never half of it; a failure leaves no temporary file.
    The temporary name keeps the suffix, since some writers choose the format by it.

    Raises:
        OutputError: the folder or the disk does not take the file.
    """
    _check_name(path)
    if not path.name or (path_exists(path) and not path.is_file()):
        raise OutputError(f"{path}: is no ordinary file, expected the name of one to write")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # for whom it is, the umask decides
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # some writers make files for their owner alone
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({os_error_message(error)})") from error
    finally:
        with suppress(OSError):  # the folder may be the very thing that is wrong
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the rename itself; a no-op where folders cannot be opened (Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def os_error_message(error: OSError) -> str:
    """The system's own words for `error`, in lower case: 'no space left on device'."""
    return (error.strerror or str(error)).lower()


def save_arrays(
    path: Path, arrays: Mapping[str, "NDArray[Any]"], format: str, metadata: Any
) -> None:
    """Write arrays and a JSON description of them to one safetensors file, with a checksum.

    Args:
        path: the file.
        arrays: by name.
        format: what the file is, with the number of its version: "tenfold-recognizer-5".
        metadata: the description, as JSON values.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.numpy import save  # noqa: PLC0415 - `tenfold --help` needs no numpy

    header = {"format": format, "metadata": json.dumps(metadata)}
    header["sha256"] = checksum(header["metadata"], arrays)
    # One entry: safetensors writes several in random order, and equal content shall be equal bytes.
    entry = {"tenfold": json.dumps(header)}
    # Not by its `save_file`, whose own temporary file would stay where the process is killed.
    write_bytes(path, save(dict(arrays), entry))


# The dtypes that numpy has, as safetensors names them.
_NUMPY_DTYPES = {"BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "F16", "F32", "F64"}


def load_arrays(path: Path, format: str) -> tuple[dict[str, "NDArray[Any]"], str]:
    """Read back what `save_arrays` wrote, believing nothing before the checksum agrees.

    `tenfold.artifact.load_artifact` also checks that it makes sense.

    Returns:
        The arrays by name, and the description as the text that was saved.

    Raises:
        RecognizerError: the file is missing, damaged, of another format, or of another version.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - as above

    if not (path_exists(path) and path.is_file()):
        raise RecognizerError(f"{path}: there is no such file, expected one that tenfold saved")
    try:
        with safe_open(path, framework="numpy") as file:
            found = file.metadata() or {}
            header = json.loads(found["tenfold"]) if "tenfold" in found else found
            names = list(file.keys())
            for name in names:
                if (dtype := file.get_slice(name).get_dtype()) not in _NUMPY_DTYPES:
                    raise ValueError(f"the array {name!r:.40} is {dtype}")
            # A copy owns its memory: the file may be replaced while the arrays are in use.
            arrays = {name: file.get_tensor(name).copy() for name in names}
        format_found, text, sha256 = (
            str(header.get(key, "")) for key in ("format", "metadata", "sha256")
        )
    except (
        SafetensorError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise RecognizerError(
            f"{path}: is damaged, or was not saved by tenfold ({error}), expected {format!r} as a "
            "safetensors file"
        ) from error
    check_format(path, format_found or "no format", format)
    if sha256 != checksum(text, arrays):
        raise RecognizerError(f"{path}: is damaged, its checksum does not match its content")
    return arrays, text


def check_format(path: Path | str, found: str, expected: str) -> None:
    """Make sure that what stands in `path` has the format and version that is expected.

    Raises:
        RecognizerError: it has not; another version of the same format is named as such.
    """
    if found == expected:
        return
    kind, _, version = expected.rpartition("-")
    if found.startswith(f"{kind}-") and found.rpartition("-")[2].isdigit():
        age = "an older" if int(found.rpartition("-")[2]) < int(version) else "a newer"
        raise RecognizerError(
            f"{path}: was written by {age} version of tenfold ({found}), expected {expected}: "
            "train again with this version, or use the version that wrote it"
        )
    raise RecognizerError(f"{path}: is {found!r:.80}, expected {expected!r}")


def checksum(text: str, arrays: Mapping[str, "NDArray[Any]"]) -> str:
    """Sha256 over a description and the name, dtype, shape and content of every array."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {list(arrays[name].shape)}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
