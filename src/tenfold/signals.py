"""Ctrl-C and SIGTERM, from the first instruction of a command to its last.

A KeyboardInterrupt must not hit an import: some modules turn it into an ImportError, others swallow
it. So the handler of the command line waits for the import to end. In training the signal is an
event, which is looked at after each step.

Nothing here imports more than Python has loaded already, or nearly so: it comes first.
"""

import atexit
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

HANDLED: Final = (signal.SIGINT, signal.SIGTERM)
RETRY_S: Final = 0.05  # until a signal that came during an import comes again
INTERRUPTED: Final = "tenfold: interrupted\n"

_requested = threading.Event()


def handle_signals() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt in the main thread, but never in an import."""
    _requested.clear()
    if threading.current_thread() is not threading.main_thread():
        return  # where Python allows no handlers
    for number in HANDLED:
        signal.signal(number, _on_signal)
    atexit.register(_ignore_signals)


def _on_signal(number: int, frame: FrameType | None) -> None:
    _requested.set()  # for `graceful_shutdown`, should a destructor swallow the exception
    if not _is_importing(frame):
        raise KeyboardInterrupt
    again = threading.Timer(RETRY_S, signal.raise_signal, (number,))
    again.daemon = True
    again.start()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _ignore_signals() -> None:
    """The work is done and its exit code known: a late signal changes neither."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def graceful_shutdown() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into an event; a second SIGINT breaks off at once.

    So Ctrl-C waits for the end of a step, and no weight is half changed. Outside the main thread
    Python allows no handlers, and the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, request_stop) for number in HANDLED}
    if _requested.is_set():
        stop.set()
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
