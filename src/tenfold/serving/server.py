"""The server: uvicorn, with bounds on slow and greedy connections, and an end that loses nothing.

uvicorn itself waits for ever for the head of a request, and closes idle connections at once when it
is told to stop, though a request may be on its way.
"""

import asyncio
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from tenfold.errors import OutputError
from tenfold.files import os_error_message
from tenfold.models import load
from tenfold.serving.api_errors import ApiError
from tenfold.serving.app import make_app
from tenfold.serving.feedback import FeedbackFile
from tenfold.serving.metrics import MULTIPROCESS_FOLDER
from tenfold.serving.settings import ServerSettings

MAX_HEAD_BYTES: Final = 65_536
LINGER_S: Final = 0.5  # a connection stays open for so long when nothing more is wanted of it
IDLE_S: Final = 15
# A thread that waits for Python's lock gets it after so long: the event loop shall not wait for
# those that read pictures. Python's own choice is five times as long.
SWITCH_INTERVAL_S: Final = 0.001


class BoundedProtocol(HttpToolsProtocol):
    """An HTTP connection that bounds how long and how large the head of a request is."""

    def __init__(self, config: "BoundedConfig", *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self._head_timeout_s = config.settings.head_timeout_s
        self._max_connections = config.settings.max_connections
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes, self._heads = 0, 0
        self._in_head, self._in_body = True, False
        self._is_stopping = self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request, or refuse one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(ApiError("overloaded"))
            transport.close()
        else:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, as long as the head is within its bounds."""
        if self._is_refused or self.transport.is_closing():
            return
        was_in_head, heads = self._in_head, self._heads
        if was_in_head and self._head_timer is None:
            self._start_clock()
        super().data_received(data)
        if was_in_head and self._heads == heads and not self._is_refused:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(ApiError("head_too_large"))

    def on_headers_complete(self) -> None:
        """Go on with the request, whose head is whole."""
        self._stop_clock()
        self._head_bytes, self._heads = 0, self._heads + 1
        self._in_head, self._in_body = False, True
        super().on_headers_complete()
        if self._is_stopping:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Expect the head of the next request."""
        self._in_head, self._in_body = True, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give a client that was answered before its body ended the time to read the answer."""
        super().on_response_complete()
        if self._in_body and not self.transport.is_closing():
            self.loop.call_later(LINGER_S, self._close_unless_used, self.cycle)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        del msg
        self._refuse(ApiError("malformed"))

    def shutdown(self) -> None:
        """Answer what is under way and what arrives at this moment, and close the connection."""
        self._is_stopping = self.app_state["service"].is_stopping = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LINGER_S, self._close_unless_used, self.cycle)
        else:
            self.cycle.keep_alive = False

    def _close_unless_used(self, cycle: Any) -> None:
        """Close the connection if no other request has come since."""
        is_same = self.cycle is cycle and (self._in_body or self._is_stopping)
        if is_same and not self.transport.is_closing():
            self.transport.close()

    def _start_clock(self) -> None:
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._head_is_late)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._refuse(ApiError("too_slow"))

    def _refuse(self, error: ApiError) -> None:
        """Answer without the application, and close the connection when that has been read.

        What the client still sends is read and forgotten: closed over it, the connection would be
        reset, and the answer lost.
        """
        self._stop_clock()
        self._is_refused = True
        if self.cycle is not None:  # a request before may still be answered, to nobody
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = to_json(error.to_json())
        headers = error.headers | {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", body]))
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


class BoundedConfig(uvicorn.Config):
    """What uvicorn is told. It is sent to each worker."""

    def __init__(self, settings: ServerSettings, workers: int = 1) -> None:
        self.settings = settings
        super().__init__(
            partial(_make_app, settings, is_worker=workers > 1),
            factory=True,
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=settings.behind_proxy,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=settings.grace_s,
            workers=workers,
        )


def _make_app(settings: ServerSettings, *, is_worker: bool) -> FastAPI:
    app = make_app(settings, is_worker=is_worker, on_end=_exit_soon)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Damaged pictures and requests make libraries warn, and anybody can send them for ever.
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    return app


class Workers(Multiprocess):
    """Several processes that accept from one socket."""

    def terminate_all(self) -> None:
        """Let nobody connect any more, and stop them all."""
        for each in self.sockets:
            each.close()
        super().terminate_all()


def serve(settings: ServerSettings, listener: socket.socket, workers: int = 1) -> None:
    """Serve until SIGINT or SIGTERM, and answer what was accepted by then.

    Args:
        settings: every choice.
        listener: the socket, as `listen` opened it.
        workers: processes; each has its own copy of the model.

    Raises:
        RecognizerError: the model is missing or damaged.
        OutputError: the file for corrected digits cannot be written.
    """
    if workers == 1:
        uvicorn.Server(BoundedConfig(settings)).run([listener])
        return
    classifier = load(settings.model)  # what is wrong with it is said once, here
    if settings.collect is not None:
        FeedbackFile(settings.collect, classifier.image_size)
    del classifier
    shared = Path(tempfile.mkdtemp(prefix="tenfold-metrics-"))
    os.environ[MULTIPROCESS_FOLDER] = str(shared)
    try:
        Workers(BoundedConfig(settings, workers), [listener]).run()
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _exit_soon() -> None:
    """End the process even if a thread still reads a picture, whose client has its answer."""
    timer = threading.Timer(LINGER_S, os._exit, [0])
    timer.daemon = True
    timer.start()


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that is served; port 0 is any free one.

    Raises:
        OutputError: nobody can listen there.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OutputError(
            f"{host}:{port}: cannot be listened to ({os_error_message(error)}), expected an "
            "address of this machine and a free port"
        ) from error
