"""Folders that are new, and folders that one process has to itself."""

import subprocess
import sys

import pytest

from tenfold.errors import OutputError
from tenfold.files import alone_in, new_folder

AT_WORK = """
import sys
from pathlib import Path
from tenfold.files import alone_in
with alone_in(Path(sys.argv[1])):
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
        with pytest.raises(OutputError, match="another process is at work there"), alone_in(folder):
            pass
        other.kill()
    with alone_in(folder):  # the lock of a killed process holds nobody up
        pass


def test_a_folder_in_which_nothing_was_left_is_gone(tmp_path):
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path / "bad"):
        _ = 1 / 0
    with alone_in(tmp_path / "good"):
        (tmp_path / "good" / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["good", "file"]
