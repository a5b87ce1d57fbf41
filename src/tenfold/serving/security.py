"""Who may use the server: checks of a request's head, before anything else is done with it."""

import hmac
import ipaddress
import math
import socket
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from tenfold.serving.api_errors import ApiError

COOKIE: Final = "tenfold_token"
MAX_CLIENTS: Final = 10_000  # that the rate limit remembers
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Answers of the API are data: nothing in them may run or load anything.
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Gate:
    """Checks host, origin, token and rate.

    Args:
        host: that the server listens on.
        host_names: by which clients may call it besides.
        token: that the API asks for; None for none.
        rate: requests in a second that one client may make on average; None is no limit.
    """

    def __init__(
        self, host: str, host_names: tuple[str, ...], token: str | None, rate: float | None
    ) -> None:
        self._loopback = is_loopback(host)
        own = {"localhost", host, *host_names}
        if not self._loopback:
            own.add(socket.gethostname())
        self._names = {name.lower() for name in own}
        self._token = None if token is None else token.encode()
        self._rate = None if rate is None else RateLimit(rate)

    def check_site(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse pages of other sites, which a browser may lead here.

        Another site's name that is made to point to this address (DNS rebinding) is not ours, and
        an address of digits cannot be made to point elsewhere. A page names its own site in Origin.

        Raises:
            ApiError: the request comes by a foreign name or from a foreign page.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = _without_port(host)
        address = _address(name)
        is_ours = name in self._names or (
            address is not None and (address.is_loopback or not self._loopback)
        )
        if not is_ours:
            raise ApiError("wrong_host")
        origin = headers.get(b"origin")
        if origin is not None and urlsplit_host(origin.decode("latin-1")) != host:
            raise ApiError("cross_site")

    def check_token(self, headers: Mapping[bytes, bytes]) -> None:
        """Ask for the token, in Authorization or in the page's cookie.

        Raises:
            ApiError: it is missing or wrong.
        """
        if self._token is None:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            given = _cookie(headers.get(b"cookie", b""))
        if not self.is_token(given.strip()):
            raise ApiError("token_required", headers={"WWW-Authenticate": "Bearer"})

    def is_token(self, given: bytes) -> bool:
        """Whether this is the token; how long it takes says nothing about it."""
        return self._token is not None and hmac.compare_digest(given, self._token)

    def check_rate(self, client: str) -> None:
        """Count a request of a client.

        Raises:
            ApiError: it has made too many.
        """
        if self._rate is not None:
            self._rate.check(client)


def _without_port(host: str) -> str:
    """Return the name or address in a Host header, an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def urlsplit_host(origin: str) -> str | None:
    """Return host and port of an origin; None for "null" and whatever is no origin."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _cookie(header: bytes) -> bytes:
    """Return the token in a Cookie header."""
    for pair in header.split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name == COOKIE.encode():
            return value
    return b""


class RateLimit:
    """A token bucket for each client: so many requests a second, and twice as many at once.

    Args:
        rate: requests a second, more than 0.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._burst = rate, max(1.0, 2 * rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Take one from the client's bucket.

        Raises:
            ApiError: it is empty.
        """
        now = time.monotonic()
        level, since = self._buckets.pop(client, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        allowed = level >= 1
        self._buckets[client] = (level - 1 if allowed else level, now)
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)  # it has waited longest, and so is nearly full
        if not allowed:
            wait = math.ceil((1 - level) / self._rate)
            raise ApiError("too_many_requests", headers={"Retry-After": str(wait)})
