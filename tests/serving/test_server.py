"""A real server in a process of its own, which cannot import PyTorch."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

from tenfold.cli import main

OCTETS = {"Content-Type": "application/octet-stream"}

# The extra `train` is not there, and slow clients are given up early.
PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in tenfold.cli.EXTRA_TRAIN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import tenfold.cli
sys.meta_path.insert(0, Absent())
from dataclasses import replace
from tenfold.serving import server
serve, short = server.serve, {"head_timeout_s": 0.5, "body_timeout_s": 0.5}
server.serve = lambda settings, *others: serve(replace(settings, **short), *others)
tenfold.cli.main()
"""


@contextmanager
def serving(*options, environment=None):
    """Start a server on a free port; yield its process and address, and make sure it ends."""
    command = [sys.executable, "-c", PROGRAM, "serve", "--port", "0", *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )
    try:
        link = process.stdout.readline().strip()
        yield process, link
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.out, process.err = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


@pytest.fixture(scope="module")
def server():
    with serving() as (process, link):
        yield link
    assert (process.returncode, process.err) == (0, "")


def connect(link):
    address = httpx.URL(link)
    return socket.create_connection((address.host, address.port), timeout=5)


def read_all(connection) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def status_and_error(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


def test_it_answers_without_pytorch(server, digits):
    answer = httpx.post(
        f"{server}v1/predict/pixels", content=digits.images[:5].tobytes(), headers=OCTETS
    )
    assert [each["digit"] for each in answer.json()["digits"]] == digits.label_names()[:5].tolist()
    assert "<html" in httpx.get(server).text


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: local", 408, "too_slow"),
        (b"", 408, "too_slow"),
        (b"hello\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000, 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 500_000, 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 421, "wrong_host"),
        (b"GET / HTTP/1.0\r\nHost: localhost\r\nHost: evil\r\n\r\n", 421, "wrong_host"),
        (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
         b"Content-Length: 1000\r\n\r\nabc", 408, "too_slow"),
        (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
         b"Content-Length: 1000000000\r\n\r\nabc", 413, "too_large"),
    ],
)  # fmt: skip
def test_slow_and_greedy_clients_are_answered_and_let_go(server, sent, status, code):
    with connect(server) as connection:
        connection.sendall(sent)
        raw = read_all(connection)  # up to the end: the server closes
    assert status_and_error(raw) == (status, code)


def test_others_are_served_while_a_hundred_connections_dawdle(server, digits):
    dawdling = [connect(server) for _ in range(100)]
    for each in dawdling:
        each.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: ")
    answer = httpx.post(
        f"{server}v1/predict/pixels", content=digits.images[:1].tobytes(), headers=OCTETS
    )
    assert answer.status_code == 200
    for each in dawdling:
        each.close()


def test_told_to_stop_it_answers_what_it_accepted(digits):
    """Clients that send one request after another lose none: each is answered, or never sent."""
    lost, answered, is_up = [], [], threading.Event()

    def send_on(link):
        with httpx.Client(base_url=link) as client:
            while True:
                try:
                    found = client.post("/v1/predict/pixels", content=body, headers=OCTETS)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    return  # it accepts no more
                except httpx.HTTPError as error:
                    lost.append(error)
                    return
                answered.append(found.status_code)
                is_up.set()

    body = digits.images[:20].tobytes()
    with serving("--grace", "5") as (process, link):
        clients = [threading.Thread(target=send_on, args=(link,)) for _ in range(4)]
        for client in clients:
            client.start()
        assert is_up.wait(20)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(10)
        assert process.wait(10) == 0
    assert lost == []
    assert set(answered) == {200}


def test_workers_share_the_port_and_add_their_counts(digits):
    with serving("--workers", "2") as (process, link):
        images = np.array(digits.images[:3])
        for _ in range(10):
            answer = httpx.post(
                f"{link}v1/predict/pixels", content=images.tobytes(), headers=OCTETS, timeout=30
            )
            assert answer.status_code == 200
        assert "tenfold_digits_total 30.0" in httpx.get(f"{link}metrics").text
    assert (process.returncode, process.err) == (0, "")


def test_elsewhere_than_on_this_machine_a_token_is_made_and_printed(digits):
    with serving("--host", "0.0.0.0") as (_process, link):
        port, token = re.fullmatch(r"http://0\.0\.0\.0:(\d+)/\?token=([\w-]{32})", link).groups()
        url = f"http://127.0.0.1:{port}/v1/model"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize(
    ("options", "environment", "sentence"),
    [
        (["nowhere.onnx"], {}, "nowhere.onnx: there is no such file"),
        (["--host", "192.0.2.1"], {}, "192.0.2.1:0: cannot be listened to"),
        ([], {"TENFOLD_TOKEN": "two words"}, "TENFOLD_TOKEN: expected ASCII without spaces"),
        (["--workers", "2", "--collect", "/dev/null/x.csv"], {}, "/dev/null/x.csv: cannot be"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(options, environment, sentence, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tenfold", "serve", "--port", "0", *options])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tenfold: {sentence}")
    assert error.count("\n") == 1
