"""Zip and tar: unpacked into a temporary folder within bounds, and read as that folder is."""

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tenfold.data.compression import (
    DAMAGE_ERRORS,
    HARMLESS_BYTES,
    MAX_COMPRESSION_RATIO,
    MAX_FILE_BYTES,
    one_line,
    only_csv,
)
from tenfold.data.folders import is_data_file
from tenfold.data.picture_files import is_picture_file
from tenfold.errors import DataError

MAX_MEMBERS = 1_000_000
_ZIP_MAGIC, _EMPTY_ZIP_MAGIC, _TAR_MAGIC = b"PK\x03\x04", b"PK\x05\x06", b"ustar"
_COPY_BYTES = 2**20


def is_archive(path: Path, head: bytes) -> bool:
    """Return whether a file is a tar, or a zip that is more than one compressed CSV.

    Args:
        path: the file.
        head: its first bytes, gzip, bzip2 and xz decompressed.
    """
    if head[257:262] == _TAR_MAGIC:
        return True
    if not head.startswith((_ZIP_MAGIC, _EMPTY_ZIP_MAGIC)):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return only_csv(archive) is None
    except DAMAGE_ERRORS:
        return False  # whoever reads it says what is wrong


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield a folder with the data files and pictures of an archive; it is removed at the end.

    Raises:
        DataError: the archive is damaged, encrypted, too large, or holds nothing of use; or an
            error about a file in it, which it names.
    """
    with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch:
        folder = Path(scratch) / path.name
        folder.mkdir()
        try:
            left = max(HARMLESS_BYTES, MAX_COMPRESSION_RATIO * path.stat().st_size)
            _unpack(path, folder, min(MAX_FILE_BYTES, left))
            yield folder
        except DataError as error:
            shown = str(error).replace(str(folder), str(path))
            raise type(error)(shown) from error


def _unpack(path: Path, folder: Path, left: int) -> None:
    n_members = 0
    try:
        for name, stream in _members(path):
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if name == "[Content_Types].xml":
                raise DataError(f"{path}: is an Excel file, expected CSV: save it as CSV")
            if ".." in parts or name.startswith(("/", "\\")) or "__MACOSX" in parts:
                continue
            target = folder.joinpath(*(part.replace("\0", "") for part in parts))
            if not (is_data_file(target) or is_picture_file(target)):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            left -= _copy(path, stream, target, left)
            n_members += 1
            if n_members > MAX_MEMBERS:
                raise DataError(f"{path}: holds more than {MAX_MEMBERS:,} files, expected fewer")
    except tarfile.TarError as error:
        raise DataError(
            f"{path}: is damaged ({one_line(error)}), expected a whole archive"
        ) from error
    except DAMAGE_ERRORS as error:
        raise DataError(
            f"{path}: the compressed file is damaged or cut short ({one_line(error)}), expected a "
            "complete one: download or copy it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be unpacked ({error.strerror or error})") from error
    if not n_members:
        raise DataError(
            f"{path}: holds no CSV file and no other data or pictures, expected train.csv, or a "
            "folder of pictures for each class"
        )


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the content of each file in an archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.flag_bits & 1:
                    raise DataError(
                        f"{path}: the zip is encrypted, expected one without a password"
                    )
                if not member.filename.endswith("/"):
                    with archive.open(member) as stream:
                        yield member.filename, stream
        return
    with tarfile.open(path, "r:*") as tar:
        for entry in tar:
            content = tar.extractfile(entry) if entry.isfile() else None
            if content is not None:
                yield entry.name, content
        # The module takes a damaged header in the middle for the end, which is a block of zeros.
        tar.fileobj.seek(tar.offset)
        end = tar.fileobj.read(tarfile.BLOCKSIZE)
        if end.strip(b"\0") or not end:
            raise tarfile.ReadError("a file in it has no valid header")


def _copy(path: Path, source: IO[bytes], target: Path, left: int) -> int:
    """Copy a member and return its size, at most `left` bytes."""
    with target.open("wb") as file:
        size = 0
        while block := source.read(_COPY_BYTES):
            size += len(block)
            if size > left:
                raise DataError(
                    f"{path}: holds too much once decompressed, expected a dataset of digits"
                )
            file.write(block)
    return size


def copy_stream(source: IO[bytes], target: Path) -> None:
    """Copy what can be read only once, such as standard input, to a file."""
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, _COPY_BYTES)
