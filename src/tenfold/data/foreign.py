"""What people take for a file of digits and is none: said by its first bytes."""

from pathlib import Path
from typing import Final

from tenfold.errors import DataError

_AGAIN: Final = "expected the data itself: download it again, signed in where that is needed"
_SAVE: Final = "expected CSV, Parquet or npz: save it as one of these"

# First bytes in lower case, and what the file is.
_FOREIGN: Final = (
    (b"<!doctype", f"is a web page, {_AGAIN}"),
    (b"<html", f"is a web page, {_AGAIN}"),
    (b"<?xml", f"is XML, {_AGAIN}"),
    (b"{", f"is JSON, perhaps an error message of a server, {_AGAIN}"),
    (b"version https://git-lfs", f"is a pointer of Git LFS, {_AGAIN} (git lfs pull)"),
    (b"\x89hdf", f"is HDF5, {_SAVE}"),
    (b"matlab 5.0", f"is a file of MATLAB, {_SAVE}"),
    (b"\xd0\xcf\x11\xe0", f"is an old Excel file, {_SAVE}"),
    (b"sqlite format 3", f"is a database of SQLite, {_SAVE}"),
    (b"7z\xbc\xaf", "is a 7z archive, expected zip or tar: extract it"),
    (b"rar!", "is a RAR archive, expected zip or tar: extract it"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd, expected plain, gzip, bzip2 or xz"),
    (b"\x1f\x8b", "is compressed twice, expected once: decompress it once"),
    (b"%pdf", f"is a PDF, {_SAVE}"),
    (b"\x89png", "is a picture, expected a data file, or a folder of pictures for each class"),
    (b"\xff\xd8\xff", "is a picture, expected a data file, or a folder of pictures for each class"),
)
_PICKLE_VERSIONS: Final = b"\x02\x03\x04\x05"


def refuse_foreign(path: Path, head: bytes) -> None:
    """Make sure that a file is not something else that people often have in its place.

    Args:
        path: the file, for messages.
        head: its first bytes.

    Raises:
        DataError: it is; the sentence says what to do.
    """
    start = head[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, sentence in _FOREIGN:
        if start.startswith(magic):
            raise DataError(f"{path}: {sentence}")
    if head[:1] == b"\x80" and head[1:2] and head[1] in _PICKLE_VERSIONS:
        raise DataError(
            f"{path}: is a pickle, which can run any program and is never read, expected npz: "
            "numpy.savez(file, x_train=…, y_train=…) saves arrays"
        )
