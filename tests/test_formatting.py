import logging
import subprocess
import sys
import zipfile

import pytest

from tenfold.formatting import (
    ProgressLogger,
    format_duration,
    format_value,
    pluralize,
    printable,
    printable_lines,
    pydantic_message,
)


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (28_000, "28,000 images")]
)
def test_pluralize(n, text):
    assert pluralize(n, "image") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (1e-05, "1e-05"), (28, "28"), ("adam", "adam")]
)
def test_format_value(value, text):
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (58.4, "0:58"),
        (59.6, "1:00"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (7300, "2:01:40"),
    ],
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Input should be a valid integer, unable to parse string", "a valid integer"),
        ("Input should be greater than 0", "greater than 0"),
        ("Field required", "field required"),
    ],
)
def test_pydantic_message(message, text):
    assert pydantic_message(message) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [((1200, 28_000), "1,200 of 28,000 images"), ((1200,), "1,200 images")],
)
def test_progress_logger(caplog, arguments, text):
    caplog.set_level(logging.INFO, logger="tenfold")
    log = ProgressLogger(logging.getLogger("tenfold.test"), "images", interval_s=0)
    log(*arguments)
    assert caplog.messages == [text]


def test_progress_logger_waits_for_its_interval(caplog):
    caplog.set_level(logging.INFO, logger="tenfold")
    log = ProgressLogger(logging.getLogger("tenfold.test"), "images", interval_s=60)
    for done in range(100):
        log(done, 100)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("train.csv", "train.csv"),
        ("Ziffern χ².csv", "Ziffern χ².csv"),
        ("\x1b[2J", r"\x1b[2J"),
        ("bad\udcff", r"bad\xff"),
        ("a\nb\tc\x00", r"a\nb\tc\x00"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert printable(text) == shown


def test_lines_stay_lines():
    assert printable_lines("a\x07\nb") == "a\\x07\nb"


def test_a_message_about_a_file_cannot_write_to_the_terminal(tmp_path):
    """Also not by the names in a zip file."""
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("\x1b[31mred.csv", "other.csv"):
            archive.writestr(name, "label\n")
    done = subprocess.run(
        [sys.executable, "-m", "tenfold", "check", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert r"\x1b[31mred.csv" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
