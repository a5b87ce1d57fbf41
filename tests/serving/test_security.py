"""Checks of a request's head."""

import pytest

from tenfold.serving import security
from tenfold.serving.api_errors import ApiError
from tenfold.serving.security import Gate, RateLimit, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"])
def test_loopback_addresses_are_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])
def test_other_addresses_are_not(host):
    assert not is_loopback(host)


def allowed(gate, host, origin=None):
    headers = {b"host": host.encode()} | ({} if origin is None else {b"origin": origin.encode()})
    try:
        gate.check_site(headers)
    except ApiError:
        return False
    return True


def test_an_open_server_is_called_by_address_or_by_its_names():
    gate = Gate("0.0.0.0", ("digits.example.org",), "token", None)
    for host in ("192.168.1.7:8000", "[fe80::1]:8000", "digits.example.org", "localhost"):
        assert allowed(gate, host)
    for host in ("evil.example", "digits.example.org.evil.example", "", "1.2.3", "[evil]"):
        assert not allowed(gate, host)


def test_a_page_must_be_of_the_same_host_and_port():
    gate = Gate("127.0.0.1", ("digits.example.org",), None, None)
    assert allowed(gate, "digits.example.org", "https://digits.example.org")  # behind a TLS proxy
    for origin in ("https://evil.example", "null", "", "http://[", "https://digits.example.org:1"):
        assert not allowed(gate, "digits.example.org", origin)


def test_each_client_has_a_rate_of_its_own_and_few_are_remembered(monkeypatch):
    now = 0.0
    monkeypatch.setattr(security.time, "monotonic", lambda: now)
    monkeypatch.setattr(security, "MAX_CLIENTS", 3)
    limit = RateLimit(0.5)
    limit.check("a")
    with pytest.raises(ApiError) as refused:
        limit.check("a")
    assert refused.value.headers == {"Retry-After": "2"}
    limit.check("b")
    now = 2.0
    limit.check("a")
    for client in "bcde":
        limit.check(client)
    assert len(limit._buckets) == 3
