"""The server under load: one client, many, too many, hostile ones, and told to stop meanwhile.

It starts `tenfold serve` on a free port of this machine, and sends it real digits over loopback
from one process, which shares the cores with the server. Every part is bounded in requests and in
time.

    python benchmarks/serve_load.py                 all parts
    python benchmarks/serve_load.py one batches     some
    python benchmarks/serve_load.py --workers 2
    python benchmarks/serve_load.py compare --peer-python peers/bin/python
"""

import argparse
import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import uvloop
from machine import describe, print_machine
from PIL import Image

from tenfold import data
from tenfold.models import BOX

MAX_SECONDS = 60  # of one part
MIB = 2**20


class Client(asyncio.Protocol):
    """One keep-alive connection that sends one request after another, and notes each answer."""

    def __init__(self, load):
        self.load = load
        self.buffer = b""
        self.sent_s = None

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        request = self.load.next_request()
        if request is None:
            self.transport.close()
            return
        self.sent_s = time.perf_counter()
        self.transport.write(request)

    def data_received(self, chunk):
        self.buffer += chunk
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
        if len(body) < length:
            return
        self.load.note(int(head[9:12]), time.perf_counter() - self.sent_s)
        self.buffer, self.sent_s = b"", None
        if b"connection: close" in head.lower():
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, _error):
        if self.sent_s is not None:
            self.load.lost += 1
        self.load.closed(self)


class Load:
    """What many clients send together, and what came back."""

    def __init__(self, requests, most, seconds=MAX_SECONDS):
        self.requests, self.most, self.seconds = requests, most, seconds
        self.sent = self.lost = 0
        self.latencies_s = {}
        self.connected = 0

    def next_request(self):
        if self.sent >= self.most or time.perf_counter() > self.ends_s:
            return None
        self.sent += 1
        return self.requests[self.sent % len(self.requests)]

    def note(self, status, latency_s):
        self.latencies_s.setdefault(status, []).append(latency_s)

    def closed(self, _client):
        self.connected -= 1
        if not self.connected and not self.done.done():
            self.done.set_result(None)

    async def run(self, port, clients):
        """Send all with so many clients; return the seconds it took."""
        loop = asyncio.get_running_loop()
        self.done = loop.create_future()
        started_s = time.perf_counter()
        self.ends_s = started_s + self.seconds
        for _ in range(clients):
            self.connected += 1
            await loop.create_connection(lambda: Client(self), "127.0.0.1", port)
        await self.done
        self.took_s = time.perf_counter() - started_s
        return self

    def summary(self):
        """Return statuses, answers a second and the latencies of the answers."""
        good = np.array(self.latencies_s.get(200, [np.nan])) * 1000
        return {
            "statuses": {status: len(each) for status, each in sorted(self.latencies_s.items())},
            "lost": self.lost,
            "answers_per_s": len(self.latencies_s.get(200, ())) / self.took_s,
            "p50_ms": float(np.percentile(good, 50)),
            "p99_ms": float(np.percentile(good, 99)),
        }


def post(path, body, content_type):
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def pixels(images):
    return post("/v1/predict/pixels", images.tobytes(), "application/octet-stream")


def drawing(image):
    """Return a request with a digit as it is drawn: a PNG of 280 × 280 pixels."""
    file = io.BytesIO()
    grey = Image.fromarray(255 - image).resize((280, 280), Image.Resampling.BICUBIC)
    grey.save(file, "PNG")
    return post("/v1/predict", file.getvalue(), "image/png")


@contextmanager
def serving(workers, *options):
    """Start the server; yield its process and port, and stop it."""
    command = [sys.executable, "-m", "tenfold", "serve", "--port", "0", "--workers", str(workers)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
        asyncio.run(Load([pixels(np.zeros((1, 28, 28), np.uint8))], 20).run(port, 1))
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def memory_mib(process):
    """Return the resident memory of the server and its workers."""
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    return sum(each.memory_info().rss for each in family) / MIB


def send(port, clients, requests, most, seconds=MAX_SECONDS):
    return uvloop.run(Load(requests, most, seconds).run(port, clients))


def one(process, port, digits):
    """One client, one digit at a time: as 28 × 28 pixels, and as a drawing."""
    singles = [pixels(image) for image in digits[:500]]
    drawings = [drawing(image) for image in digits[:200]]
    return {
        "pixels": send(port, 1, singles, 5000).summary(),
        "drawing": send(port, 1, drawings, 1000).summary(),
    }


def many(process, port, digits):
    """64 clients, one digit a request; memory after 10,000 and after all requests."""
    singles = [pixels(image) for image in digits[:500]]
    send(port, 64, singles, 10_000)
    before = memory_mib(process)
    found = send(port, 64, singles, 100_000, 120).summary()
    return found | {"memory_mib": [before, memory_mib(process)]}


def batches(process, port, digits):
    """Eight clients, 256 digits a request."""
    requests = [pixels(digits[start : start + 256]) for start in range(0, 5120, 256)]
    found = send(port, 8, requests, 2000).summary()
    return found | {"digits_per_s": 256 * found["answers_per_s"]}


def overload(process, port, digits):
    """Ten times the clients, who come again at once when they are refused."""
    found = {}
    for name, requests, most, clients in (
        ("pixels", [pixels(image) for image in digits[:500]], 100_000, 64),
        ("batches", [pixels(digits[:256])], 20_000, 16),
        ("drawings", [drawing(image) for image in digits[:200]], 20_000, 16),
    ):
        capacity = send(port, clients, requests, most // 10, 15).summary()
        before = memory_mib(process)
        over = send(port, 10 * clients, requests, most, 15).summary()
        found[name] = {
            "capacity": capacity,
            "overload": over,
            "p99_ratio": over["p99_ms"] / capacity["p99_ms"],
            "memory_mib": [before, memory_mib(process)],
        }
    return found


async def _hostile(port, digits):
    """Send slow heads, slow bodies, endless heads and huge bodies, and one digit after another."""

    async def dawdle(start, rest, pause_s):
        ends_s = time.perf_counter() + 15
        while time.perf_counter() < ends_s:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(start)
                while time.perf_counter() < ends_s and not reader.at_eof():
                    writer.write(rest)
                    await asyncio.wait_for(writer.drain(), 5)
                    await asyncio.sleep(pause_s)
                    if reader._buffer:
                        answers[bytes(reader._buffer[9:12]).decode()] += 1
                        break
            except (OSError, TimeoutError):
                answers["cut"] += 1
                await asyncio.sleep(0.1)
            finally:
                writer.close()

    answers = Counter()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
    attacks = [dawdle(b"GET / HT", b"", 1) for _ in range(100)]
    attacks += [dawdle(head, b"A: b\r\n", 1) for _ in range(100)]
    attacks += [dawdle(head + b"Content-Length: 9999999\r\n\r\n", b"x", 1) for _ in range(100)]
    attacks += [dawdle(head, b"A: " + b"b" * 50_000 + b"\r\n", 0.1) for _ in range(10)]
    huge = head + b"Content-Length: 1000000000\r\n\r\n"
    attacks += [dawdle(huge, b"x" * 65536, 0.05) for _ in range(10)]
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    attacks += [dawdle(chunked, chunk, 0.01) for _ in range(10)]
    attackers = asyncio.gather(*attacks)
    await asyncio.sleep(2)
    found = await Load([pixels(image) for image in digits[:500]], 100_000, 10).run(port, 1)
    await attackers
    return found.summary() | {"answers_to_hostile_clients": dict(answers)}


def hostile(process, port, digits):
    """One good client among 330 hostile ones."""
    before = memory_mib(process)
    found = asyncio.run(_hostile(port, digits))
    return found | {"memory_mib": [before, memory_mib(process)]}


def stop(workers, digits, times=20):
    """SIGTERM while 64 clients send as fast as they can; who was accepted must be answered."""
    requests = [pixels(image) for image in digits[:500]]
    requests += [drawing(image) for image in digits[:20]]
    found = []
    for number in range(times):
        with serving(workers) as (process, port):
            load = Load(requests, 10**9, 10)

            async def run(load=load, process=process, port=port, number=number):
                after_s = 0.5 + 0.05 * number
                asyncio.get_running_loop().call_later(after_s, process.terminate)
                await load.run(port, 64)
                return time.perf_counter()

            ended_s = uvloop.run(run())
            code = process.wait(30)
            summary = load.summary()
            found.append({key: summary[key] for key in ("statuses", "lost")} | {"exit_code": code})
            found[-1]["exit_after_s"] = time.perf_counter() - ended_s
    return {
        "times": times,
        "answered": sum(sum(each["statuses"].values()) for each in found),
        "statuses": sorted({status for each in found for status in each["statuses"]}),
        "lost": sum(each["lost"] for each in found),
        "exit_codes": sorted({each["exit_code"] for each in found}),
        "longest_exit_s": max(each["exit_after_s"] for each in found),
    }


@contextmanager
def peer(name, python):
    """Start a peer's server; yield its port when it answers, and stop it."""
    peers, port = Path(__file__).parent / "peers", 8900
    command = [str(python), f"{name}_peer.py", str(port)]
    if name == "bentoml":
        command = [str(Path(python).parent / name), "serve", "bentoml_peer:Digits"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(
            command, cwd=peers, env=os.environ | {"MODEL": str(BOX)}, stdout=nowhere, stderr=nowhere
        )
    family = psutil.Process(process.pid)
    try:
        for _ in range(120):
            with suppress(OSError):
                asyncio.run(Load([as_json(np.zeros((1, 28, 28), np.uint8))], 20).run(port, 1))
                break
            time.sleep(0.5)
        yield port
    finally:
        for each in [*family.children(recursive=True), family]:
            with suppress(psutil.NoSuchProcess):
                each.terminate()
        process.wait(30)
        time.sleep(2)


def as_json(images, path="/predict"):
    body = json.dumps({"images": images.reshape(-1, 28, 28).tolist()}).encode()
    return post(path, body, "application/json")


def compare(workers, digits, python, rounds=3):
    """The same JSON to three servers that hold the same file: one digit, then 256 in a request."""
    loads = {
        "one client": (1, [digits[at : at + 1] for at in range(200)], 2000, 8),
        "64 clients": (64, [digits[at : at + 1] for at in range(200)], 20_000, 8),
        "8 clients, 256 digits": (
            8,
            [digits[at : at + 256] for at in range(0, 2560, 256)],
            1000,
            8,
        ),
    }
    found = {}
    for number in range(rounds):
        for name in ("tenfold", "litserve", "bentoml"):
            ours = name == "tenfold"
            path = "/v1/predict/pixels" if ours else "/predict"
            server = serving(workers) if ours else peer(name, python)
            with server as its:
                port = its[1] if ours else its
                for load, (clients, images, most, seconds) in loads.items():
                    requests = [as_json(each, path) for each in images]
                    summary = send(port, clients, requests, most, seconds).summary()
                    found.setdefault(load, {}).setdefault(name, []).append(summary)
        print(f"round {number + 1} of {rounds}", flush=True)
    keys = ("answers_per_s", "p50_ms", "p99_ms")
    return {
        load: {
            name: {key: float(np.median([each[key] for each in all_rounds])) for key in keys}
            | {"statuses": all_rounds[-1]["statuses"], "lost": all_rounds[-1]["lost"]}
            for name, all_rounds in servers.items()
        }
        for load, servers in found.items()
    }


PARTS = {"one": one, "many": many, "batches": batches, "overload": overload, "hostile": hostile}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[*PARTS, "stop"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--peer-python", type=Path, help="of an environment with the peers")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    machine = describe()
    print_machine(machine)
    digits = data.mnist()[1].images
    found = {"machine": machine, "workers": arguments.workers}
    for part in arguments.parts:
        if part == "stop":
            found[part] = stop(arguments.workers, digits)
        elif part == "compare":
            found[part] = compare(arguments.workers, digits, arguments.peer_python)
        else:
            with serving(arguments.workers) as (process, port):
                found[part] = PARTS[part](process, port, digits)
        print(part, json.dumps(found[part], indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
