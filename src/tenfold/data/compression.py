"""The bytes of a file, plain or packed, never more of them than memory can take."""

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import DataError
from tenfold.files import os_error_message

LARGEST_BYTES = 4 * 2**30
# Digits as CSV shrink to about an eighth. What shrinks to less than 1/200 is no data of ours,
# except where it is small enough not to matter.
LARGEST_RATIO = 200
HARMLESS_BYTES = 128 * 2**20
_CHUNK_BYTES = 2**20

_GZIP, _ZIP, _EMPTY_ZIP = b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"
# Damage in the right place makes zipfile stumble over a name, a struct or its own assumptions.
_DAMAGED = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    UnicodeDecodeError,
)


def contents(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of `path`, uint8 [B], unpacked if it is gzip or a zip with one CSV in it.

    Raises:
        DataError: as `opened`, or it is too large once unpacked.
    """
    with opened(path) as stream:
        packed_bytes = path.stat().st_size
        if isinstance(stream, io.BufferedReader):
            if packed_bytes > LARGEST_BYTES:
                raise _too_large(path, LARGEST_BYTES)
            # quicker than read(): its memory comes in huge pages
            return np.fromfile(stream, np.uint8)
        limit = min(LARGEST_BYTES, max(HARMLESS_BYTES, LARGEST_RATIO * packed_bytes))
        return np.frombuffer(_bounded(path, stream, limit), np.uint8)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` to be read piece by piece, unpacked on the way; a plain file can be sought in.

    What a file is, its first bytes decide, not its name: browsers rename downloads.

    Raises:
        DataError: it is missing or unreadable, or packed and damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
            file.seek(0)
            if start in (_ZIP, _EMPTY_ZIP):
                with zipfile.ZipFile(file) as archive, _only_csv(path, archive) as member:
                    yield member
            elif start.startswith(_GZIP):
                with gzip.GzipFile(fileobj=file) as stream:
                    yield cast(IO[bytes], stream)
            elif start and path.suffix.lower() in {".gz", ".zip"}:
                raise DataError(
                    f"{path}: is not {path.suffix[1:]} although its name says so, "
                    "expected a packed file or another name"
                )
            else:
                yield file
    except _DAMAGED as error:
        raise DataError(
            f"{path}: the packed file is damaged or cut short ({error}), "
            "expected a whole one: fetch or copy it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({os_error_message(error)}), expected a file, plain, .gz or .zip"
        ) from error


def zip_member(path: Path, name: str) -> bytes:
    """Return the member `name` of the zip file `path`; raises as `contents` does."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            return _bounded(path, member, LARGEST_BYTES)
    except (*_DAMAGED, KeyError, OSError) as error:
        raise DataError(f"{path}: {name} cannot be unpacked ({error})") from error


def _only_csv(path: Path, archive: zipfile.ZipFile) -> IO[bytes]:
    names = [
        name
        for name in archive.namelist()
        if name.lower().endswith(".csv") and not name.startswith("__MACOSX/")
    ]
    if len(names) != 1:
        found = f"{len(names)} CSV files ({', '.join(names[:4])})" if names else "no CSV file"
        raise DataError(
            f"{path}: the zip holds {found}, expected exactly one: extract it and name the CSV"
        )
    if archive.getinfo(names[0]).flag_bits & 1:
        raise DataError(f"{path}: the zip is encrypted, expected one without a password")
    return archive.open(names[0])


def _bounded(path: Path, stream: IO[bytes], limit: int) -> bytes:
    """Read `stream` to its end, believing no header about how far away that is."""
    unpacked = io.BytesIO()
    while chunk := stream.read(_CHUNK_BYTES):
        unpacked.write(chunk)
        if unpacked.tell() > limit:
            raise _too_large(path, limit)
    return unpacked.getvalue()


def _too_large(path: Path, limit: int) -> DataError:
    return DataError(
        f"{path}: holds more than {limit / 2**20:,.0f} MiB once unpacked, "
        "expected a table of digits, which is smaller"
    )
