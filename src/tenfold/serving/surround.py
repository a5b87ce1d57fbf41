"""What surrounds every request: checks before it, headers and an error's shape after it."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenfold.serving.api_errors import ApiError
from tenfold.serving.metrics import Metrics
from tenfold.serving.security import API_POLICY, HEADERS, Gate

logger = logging.getLogger(__name__)

API_PREFIX: Final = "/v1/"
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
CLIENT_GONE: Final = 499  # the status that metrics have for a client that did not wait
_ALWAYS: Final = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_DEFAULTS: Final = {
    b"cache-control": b"no-store",
    b"content-security-policy": API_POLICY.encode(),
}


class Surround:
    """An ASGI application around another.

    Args:
        app: the other.
        gate: checks each request.
        is_full: whether no more requests can be answered now.
        metrics: count each request.
        paths: that metrics name; all others are one.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        is_full: Callable[[], bool],
        metrics: Metrics,
        paths: Collection[str],
    ) -> None:
        self._app, self._gate, self._is_full, self._metrics = app, gate, is_full, metrics
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_headers(message.get("headers", ()))
            await send(message)

        self._metrics.in_progress.inc()
        try:
            self._check(scope)
            await self._app(scope, receive, send_with_headers)
        except ApiError as error:
            await error.response()(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = CLIENT_GONE
        except asyncio.CancelledError:  # the time to stop is over
            if not status:
                await ApiError("stopping").response()(scope, receive, send_with_headers)
        except Exception:
            # The type and the places in our code: no picture stands in them.
            logger.exception("a bug: %s %s", scope["method"], self._name(scope))
            if status:  # half an answer is out: the connection is closed
                raise
            await ApiError("internal").response()(scope, receive, send_with_headers)
        finally:
            self._metrics.in_progress.dec()
            name = self._name(scope)
            self._metrics.requests.labels(_method(scope), name, status or CLIENT_GONE).inc()
            self._metrics.duration.labels(name).observe(time.perf_counter() - started_s)

    def _check(self, scope: Scope) -> None:
        """Refuse who may not use the server; see `Gate`."""
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(pairs)
        if sum(name == b"host" for name, _ in pairs) != 1:
            raise ApiError("wrong_host")
        self._gate.check_site(headers)
        path = scope["path"]
        if path.startswith(API_PREFIX):
            if self._is_full():
                raise ApiError("overloaded")
            client = scope.get("client")
            self._gate.check_rate(client[0] if client else "")
        if path.startswith(API_PREFIX) or path == "/metrics":
            self._gate.check_token(headers)

    def _name(self, scope: Scope) -> str:
        path: str = scope["path"]
        return path if path in self._paths else "other"


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def _with_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Add the headers of every answer, and the usual ones where it has none of its own."""
    own = {name for name, _ in headers}
    usual = [(name, value) for name, value in _DEFAULTS.items() if name not in own]
    return [*headers, *_ALWAYS, *usual]
