"""Corrected digits, kept in a CSV file of Kaggle's shape that `tenfold train` takes."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tenfold.errors import OutputError
from tenfold.files import os_error_message
from tenfold.serving.api_errors import ApiError

MAX_BYTES: Final = 1_000_000_000


class FeedbackFile:
    """A CSV file that rows are appended to: label, pixel0, pixel1 and so on.

    Several processes may append to it at once: a row is one write.

    Args:
        path: the file, made if it is missing.
        image_size: height and width of the images in pixels.

    Raises:
        OutputError: it cannot be written, or is another table.
    """

    def __init__(self, path: Path, image_size: int) -> None:
        self._path = path
        names = [f"pixel{number}" for number in range(image_size**2)]
        header = ",".join(["label", *names]).encode() + b"\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                if file.tell() == 0:
                    file.write(header)
                file.flush()
                file.seek(0)
                found = file.read(len(header))
                file.seek(-1, os.SEEK_END)
                ends = file.read(1)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({os_error_message(error)})") from error
        if found != header or ends != b"\n":
            raise OutputError(
                f"{path}: is another table or cut short, expected the columns label, pixel0 to "
                f"pixel{image_size**2 - 1} and a whole last line"
            )

    def append(self, label: str, pixels: Sequence[Sequence[int]]) -> None:
        """Append one digit and flush it to disk.

        Raises:
            ApiError: the file or the disk is full.
        """
        table = io.StringIO()
        values = (pixel for row in pixels for pixel in row)
        csv.writer(table, lineterminator="\n").writerow((label, *values))
        row = table.getvalue().encode()
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                size = os.fstat(handle).st_size
                if size + len(row) > MAX_BYTES:
                    raise ApiError("full")
                if os.write(handle, row) < len(row):
                    os.ftruncate(handle, size)
                    raise ApiError("full")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise ApiError("full", "The file that collects digits cannot be written.") from error
