"""Files that are whole and for whom they are; folders that are new, or had by one process alone."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tenfold.errors import OutputError
from tenfold.files import atomic_path, exclusive_lock, new_folder, output_folder, write_text

AT_WORK = """
import sys
from pathlib import Path
from tenfold.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "run"):
    print("at work", flush=True)
    sys.stdin.read()
"""


def test_a_new_folder_is_new(tmp_path):
    made = [new_folder(tmp_path / "runs" / "quick") for _ in range(3)]
    assert [path.name for path in made] == ["quick", "quick-2", "quick-3"]
    assert all(path.is_dir() for path in made)


def test_a_new_folder_where_a_file_is(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(OutputError, match="runs: cannot be written to"):
        new_folder(tmp_path / "runs" / "quick")


def test_two_at_once_in_one_folder(tmp_path):
    folder = tmp_path / "run"
    other = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline() == "at work\n"
        messages = "another process is at work there"
        with pytest.raises(OutputError, match=messages), exclusive_lock(folder, "run"):
            pass
        other.kill()
    with exclusive_lock(folder, "run"):  # the lock of a killed process holds nobody up
        pass


def test_a_folder_in_which_nothing_was_left_is_gone(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive_lock(tmp_path / "bad", "run"):
        _ = 1 / 0
    with exclusive_lock(tmp_path / "good", "run"):
        (tmp_path / "good" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["good", "file"]


@pytest.mark.parametrize(
    ("sign", "of", "others"),
    [
        ("recipe.toml", "run", ("search", "comparison")),
        ("search.json", "search", ("run", "comparison")),
        ("compare.json", "comparison", ("run", "search")),
    ],
)
def test_a_folder_is_of_one_kind(tmp_path, sign, of, others):
    (tmp_path / sign).write_text("left before")
    with exclusive_lock(tmp_path, of):
        pass
    for kind in others:
        messages = rf"holds a {of} \({sign}\), expected an empty folder for a {kind}; name another"
        with pytest.raises(OutputError, match=messages), exclusive_lock(tmp_path, kind):
            pass
    assert [path.name for path in tmp_path.iterdir()] == [sign]


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path):
    for name in (".checkpoint.123.partial.safetensors", ".submission.4.partial.csv", "kept.txt"):
        (tmp_path / name).write_text("half")
    with exclusive_lock(tmp_path, "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def plainly(path):
    path.write_text("content")


def for_its_owner_alone(path):
    """As some libraries write: a file with a name of its own, then renamed."""
    handle, other = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    Path(other).write_text("content")
    Path(other).replace(path)


@pytest.fixture
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as POSIX has them")
@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002], ids=oct, indirect=True)
@pytest.mark.parametrize("write", [plainly, for_its_owner_alone])
def test_the_umask_decides_who_may_read(tmp_path, umask, write):
    path = tmp_path / "file.txt"
    with atomic_path(path) as temporary:
        write(temporary)
    assert path.read_text() == "content"
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "link", "dead link", "pipe"])
def test_a_lock_that_is_no_file_has_an_error_message(tmp_path, kind):
    lock = tmp_path / "lock"
    match kind:
        case "folder":
            lock.mkdir()
        case "link":
            (tmp_path / "target").touch()
            lock.symlink_to(tmp_path / "target")
        case "dead link":
            lock.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(lock)
    before = sorted(path.name for path in tmp_path.iterdir())
    with (
        pytest.raises(OutputError, match=r"lock: is no ordinary file, expected a lock or nothing"),
        exclusive_lock(tmp_path, "run"),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_was_left_half_written_is_cleared_away_in_the_folders_inside_too(tmp_path):
    for folder in ("members", "figures", "teacher"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ".labelled.123.partial.safetensors").write_text("half")
        (tmp_path / folder / ".mine.partial.txt").write_text("of somebody else")
    with exclusive_lock(tmp_path, "run"):
        pass
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [".mine.partial.txt"] * 3


KILLED_WHILE_IT_SAVES = """
import os, sys
from pathlib import Path
import numpy as np
from tenfold import files
files.os.fsync = lambda handle: os.kill(os.getpid(), 9)
files.save_arrays(Path(sys.argv[1]) / "checkpoint.safetensors", {"a": np.ones(10**6)}, "a-1", {})
"""


def test_a_kill_during_a_save_leaves_nothing_that_the_next_start_keeps(tmp_path):
    code = [sys.executable, "-c", KILLED_WHILE_IT_SAVES, str(tmp_path)]
    assert subprocess.run(code, check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.stat().st_size > 10**6
    with exclusive_lock(tmp_path, "run"):
        pass
    assert list(tmp_path.parent.glob(f"{tmp_path.name}/*")) == []


@pytest.mark.parametrize("make", [output_folder, lambda path: write_text(path, "x")])
def test_a_null_byte_in_a_name_has_an_error_message(tmp_path, make):
    with pytest.raises(OutputError, match="has a null byte"):
        make(tmp_path / "a\0b")


@pytest.mark.skipif(os.name != "posix", reason="other systems keep names as text")
def test_a_folder_whose_name_is_not_utf_8_has_an_error_message(tmp_path):
    with (
        pytest.raises(OutputError, match="has a name that is not UTF-8"),
        exclusive_lock(tmp_path / "bad\udcff", "run"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
