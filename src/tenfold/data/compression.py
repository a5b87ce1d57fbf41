"""Read the bytes of a file, plain or compressed, and never more of them than memory can hold."""

import bz2
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

MAX_FILE_BYTES = 4 * 2**30
# Digits as CSV compress to about an eighth. What compresses to less than 1/200 is not a file of
# digits; it is refused unless it is too small to do harm.
MAX_COMPRESSION_RATIO = 200
HARMLESS_BYTES = 128 * 2**20
_READ_BYTES = 2**20
_OF_INTEREST = (".png", ".jpg", ".jpeg", ".npy", ".parquet", ".zip", ".gz", "ubyte", ".bmp", ".gif")

_GZIP_MAGIC, _ZIP_MAGIC, _EMPTY_ZIP_MAGIC = b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"
_BZIP2_MAGIC, _XZ_MAGIC = b"BZh", b"\xfd7zXZ\0"
_HEAD_BYTES = 512
_MAX_REASON = 200
# Damage in the right place makes zipfile fail on a name, a struct or its own assumptions.
DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
)


def read_bytes(path: Path) -> NDArray[np.uint8]:
    """Return the content of `path`, uint8 [B]; gzip, or a zip with one CSV in it, decompressed.

    Raises:
        DataError: as `open_decompressed`, or the content is too large.
    """
    with open_decompressed(path) as stream:
        file_bytes = path.stat().st_size
        if isinstance(stream, io.BufferedReader):
            if file_bytes > MAX_FILE_BYTES:
                raise _too_large_error(path, MAX_FILE_BYTES)
            # faster than read(), since its memory comes in huge pages
            return np.fromfile(stream, np.uint8)
        limit = min(MAX_FILE_BYTES, max(HARMLESS_BYTES, MAX_COMPRESSION_RATIO * file_bytes))
        return np.frombuffer(_read_at_most(path, stream, limit), np.uint8)


@contextmanager
def open_decompressed(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for reading, decompressed on the way; only a plain file is seekable.

    The format is recognized by the first bytes, not by the name: browsers rename downloads.

    Raises:
        DataError: the file is missing or unreadable, or compressed and damaged or cut short.
    """
    if "\0" in str(path):
        raise DataError(f"{path}: has a null byte, expected the name of a file")
    try:
        with path.open("rb") as file:
            magic = file.read(len(_XZ_MAGIC))
            file.seek(0)
            if magic.startswith((_ZIP_MAGIC, _EMPTY_ZIP_MAGIC)):
                with zipfile.ZipFile(file) as archive, _open_only_csv(path, archive) as member:
                    yield member
            elif magic.startswith(_GZIP_MAGIC):
                with gzip.GzipFile(fileobj=file) as stream:
                    yield cast(IO[bytes], stream)
            elif magic.startswith(_BZIP2_MAGIC):
                with bz2.BZ2File(file) as stream:
                    yield cast(IO[bytes], stream)
            elif magic.startswith(_XZ_MAGIC):
                with lzma.LZMAFile(file) as stream:
                    yield cast(IO[bytes], stream)
            elif magic and path.suffix.lower() in {".gz", ".zip"}:
                raise DataError(
                    f"{path}: is not {path.suffix[1:]} although its name says so, "
                    "expected a compressed file or another name"
                )
            else:
                yield file
    except DAMAGE_ERRORS as error:
        raise DataError(
            f"{path}: the compressed file is damaged or cut short ({one_line(error)}), "
            "expected a complete one: download or copy it again"
        ) from error
    except OSError as error:
        raise _unreadable_error(path, error) from error


def one_line(error: Exception) -> str:
    """Return the message of an error that quotes what is damaged, in one line of bounded length."""
    return " ".join(str(error).split())[:_MAX_REASON]


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file, gzip, bzip2 and xz decompressed, a zip as it is.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _unreadable_error(path, error) from error
    if head.startswith((_GZIP_MAGIC, _BZIP2_MAGIC, _XZ_MAGIC)):
        with open_decompressed(path) as stream:
            return stream.read(_HEAD_BYTES)
    return head


def _unreadable_error(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be read ({os_error_message(error)}), expected a file, plain, .gz or .zip"
    )


def read_zip_member(path: Path, name: str) -> bytes:
    """Return the content of the member `name` of the zip file `path`.

    Raises:
        DataError: the file or the member is missing, damaged or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            return _read_at_most(path, member, MAX_FILE_BYTES)
    except (*DAMAGE_ERRORS, KeyError, OSError) as error:
        raise DataError(f"{path}: {name} cannot be decompressed ({error})") from error


def only_csv(archive: zipfile.ZipFile) -> str | None:
    """Return the name of the one CSV in a zip that holds nothing else of interest."""
    files = [
        name
        for name in archive.namelist()
        if not name.startswith("__MACOSX/") and not name.endswith("/")
    ]
    tables = [name for name in files if name.lower().endswith((".csv", ".tsv", ".arff"))]
    others = [name for name in files if name not in tables and name.lower().endswith(_OF_INTEREST)]
    return tables[0] if len(tables) == 1 and not others else None


def _open_only_csv(path: Path, archive: zipfile.ZipFile) -> IO[bytes]:
    name = only_csv(archive)
    if name is None:
        shown = ", ".join(repr(each)[1:-1] for each in archive.namelist()[:4])
        raise DataError(f"{path}: the zip holds {shown or 'no CSV file'}, expected exactly one CSV")
    if archive.getinfo(name).flag_bits & 1:
        raise DataError(f"{path}: the zip is encrypted, expected one without a password")
    return archive.open(name)


def _read_at_most(path: Path, stream: IO[bytes], limit: int) -> bytes:
    """Read `stream` to its end, at most `limit` bytes, whatever size its header claims."""
    content = io.BytesIO()
    while block := stream.read(_READ_BYTES):
        content.write(block)
        if content.tell() > limit:
            raise _too_large_error(path, limit)
    return content.getvalue()


def _too_large_error(path: Path, limit: int) -> DataError:
    return DataError(
        f"{path}: holds more than {limit / 2**20:,.0f} MiB once decompressed, "
        "expected a table of digits, which is smaller"
    )
