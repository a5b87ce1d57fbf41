"""Progress: the live classes on a pseudo-terminal, plain lines in a file."""

import io
import logging
import os
import pty
import select

import pytest
from rich.console import Console

from tenfold.training import console as console_module
from tenfold.training.callbacks import EpochMetrics, Status, StepProgress
from tenfold.training.console import PlainLogger, ProgressBar, console_callback, log_to_console

STATUS = Status("2 running", ("trial", "accuracy"), [("0", "0.9912"), ("1", "[b]x")])


class Training:
    """Stands in for the state of a training that is half done."""

    max_epochs = 2
    intervals = ()
    history = (EpochMetrics(1, 0.5, 0.9, 0.1, 0.98, 0.001, 4000.0, 10.0, 1.0, 11.0),)

    def progress(self):
        return StepProgress(50, 100, "epoch 2/2", 0.9512, 4321.0, 65.0)


class Terminal:
    """A pseudo-terminal: what is written to it can be read as a person would see it arrive."""

    def __init__(self):
        self._leader, follower = pty.openpty()
        self.stream = os.fdopen(follower, "w")
        self.console = Console(file=self.stream, force_terminal=True, width=100, emoji=False)

    def read(self):
        self.stream.flush()
        received = b""
        while select.select([self._leader], [], [], 0.2)[0]:
            received += os.read(self._leader, 1 << 16)
        return received.decode()

    def close(self):
        self.stream.close()
        os.close(self._leader)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def always(monkeypatch):
    """Nothing is throttled."""
    for name in ("PROGRESS_INTERVAL_S", "TABLE_INTERVAL_S", "LOG_INTERVAL_S"):
        monkeypatch.setattr(console_module, name, 0.0)


def test_a_terminal_gets_a_bar_and_anything_else_plain_lines(terminal):
    assert isinstance(console_callback(terminal.console), ProgressBar)
    plain = console_callback(Console(file=io.StringIO()))
    assert type(plain) is PlainLogger


@pytest.mark.usefixtures("always")
def test_the_bar_moves_on_a_terminal_and_is_taken_away(terminal):
    bar = ProgressBar(terminal.console)
    bar.on_step_end(Training())
    shown = terminal.read()
    assert "epoch 2/2  accuracy 0.9512  4,321 images/s  1:05 left" in shown
    assert "\u2501" in shown  # the bar itself
    assert "\x1b[?25l" in shown  # the cursor is hidden meanwhile
    bar.on_epoch_end(Training())
    assert "epoch 1/2  validation 0.9800 (loss 0.1000)  training 0.9000" in terminal.read()
    bar.teardown()
    assert "\x1b[?25h" in terminal.read()  # and comes back


@pytest.mark.usefixtures("always")
def test_the_table_is_drawn_on_a_terminal_and_taken_away(terminal):
    table = ProgressBar(terminal.console)
    table.on_status(STATUS)
    shown = terminal.read()
    assert "trial" in shown
    assert "0.9912" in shown
    assert "[b]x" in shown  # not taken for markup
    assert "2 running" in shown
    table.teardown()
    assert "\x1b[?25h" in terminal.read()


def test_the_bar_is_not_drawn_at_every_step(terminal):
    bar = ProgressBar(terminal.console)
    for _ in range(1000):
        bar.on_step_end(Training())
        bar.on_status(STATUS)
    bar.on_epoch_end(Training())
    assert terminal.read().count("accuracy 0.9512") <= 3


def test_a_file_gets_a_line_an_epoch_and_few_between(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tenfold.training.callbacks.time.monotonic", lambda: now[0])
    file = io.StringIO()
    plain = PlainLogger(Console(file=file, width=200))
    for _ in range(20):
        now[0] += 1.0
        plain.on_step_end(Training())
    plain.on_epoch_end(Training())
    plain.on_status(STATUS)  # too soon after the last line
    lines = file.getvalue().splitlines()
    assert len(lines) == 6
    assert set(lines[:5]) == {"  epoch 2/2  accuracy 0.9512  4,321 images/s  1:05 left"}
    assert lines[5].startswith("epoch 1/2  validation 0.9800")


def test_messages_are_printed_as_they_are_and_warnings_are_named():
    file, logger = io.StringIO(), logging.getLogger("tenfold.some.module")
    with log_to_console(Console(file=file, width=20)):
        logger.info("a message [b]that is longer[/b] than the console is wide")
        logger.warning("careful")
    logger.info("nobody listens any more")
    assert file.getvalue() == (
        "a message [b]that is longer[/b] than the console is wide\nwarning: careful\n"
    )
