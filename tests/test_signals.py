"""Signals at any moment: one sentence and exit code 130, and no import is ever broken off."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tenfold.signals import graceful_shutdown, handle_signals

READY = """
from tenfold.cli import handle_signals, main
handle_signals()
print('ready', flush=True)
main()
"""


@pytest.fixture
def handlers():
    """Handlers as the command line has them, and as they were afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    handle_signals()
    yield numbers
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2])
def test_a_signal_before_and_during_the_imports(number, delay_s):
    with subprocess.Popen(
        [sys.executable, "-c", READY, "recipes", "--show", "quick"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        process.send_signal(number)
        _, errors = process.communicate()
    if errors.startswith("Exception ignored in atexit callback"):
        errors = ""  # it came after the command's end, while Python was leaving
    assert (process.returncode, errors) in {(130, "tenfold: interrupted\n"), (0, "")}


def test_the_command_line_imports_next_to_nothing_before_it_handles_signals():
    code = "import sys, tenfold.cli; print({'typer', 'rich', 'pathlib', 'json'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("which", [0, 1])
def test_an_import_is_not_broken_off(handlers, tmp_path, monkeypatch, which):
    """It comes to its end, and the signal comes again."""
    name = f"slow_to_import_{which}"
    code = f"import signal\nsignal.raise_signal({int(handlers[which])})\nwhole = True\n"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    def work():
        importlib.import_module(name)
        time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert sys.modules[name].whole


class Swallows:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_a_destructor_swallowed_stops_the_training_that_follows(handlers):
    del handlers
    with graceful_shutdown() as stop:
        assert not stop.is_set()
    Swallows()
    with graceful_shutdown() as stop:
        assert stop.is_set()
    handle_signals()  # the next command begins anew
    with graceful_shutdown() as stop:
        assert not stop.is_set()


def test_outside_the_main_thread_nothing_is_handled():
    found = []

    def work():
        handle_signals()
        with graceful_shutdown() as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
