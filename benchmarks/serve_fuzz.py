"""The server and damaged input: mutated pictures and forms must give answers or errors, no bugs.

    python benchmarks/serve_fuzz.py --requests 5000

What OpenAPI describes is for schemathesis, which you install for it, with a server running:

    st run http://127.0.0.1:8000/openapi.json --max-examples 900 \\
        --phases examples,coverage,fuzzing --checks not_a_server_error,status_code_conformance,\\
    content_type_conformance,response_headers_conformance,response_schema_conformance,\\
    unsupported_method,allow_header_conformance
"""

import argparse
import asyncio
import io
import json
import re
import signal
import subprocess
import sys
from collections import Counter

import httpx
import numpy as np
from machine import describe, print_machine
from PIL import Image

from tenfold import data

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")


def pictures(images):
    """Return the files of digits in every format."""
    found = []
    for image in images:
        grey = Image.fromarray(255 - image).resize((120, 120))
        for name in FORMATS:
            file = io.BytesIO()
            grey.save(file, name)
            found.append(file.getvalue())
    return found


def mutate(content, rng):
    """Damage a file: bytes changed, cut out, repeated, put in, or the end cut off."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 8)):
        at = int(rng.integers(len(changed))) if rng.random() < 0.6 else int(rng.integers(64))
        at = min(at, len(changed) - 1)
        length = int(rng.integers(1, 32))
        kind = rng.integers(5)
        if kind == 0:
            changed[at : at + length] = rng.bytes(length)
        elif kind == 1:
            del changed[at : at + length]
        elif kind == 2:
            changed[at:at] = changed[at : at + length]
        elif kind == 3:
            changed[at] = rng.choice([0, 1, 127, 128, 255])
        else:
            del changed[max(1, at) :]
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)


def request(number, files, rng):
    """Return the arguments of one request: most are a raw picture, some a form, some stored."""
    body = mutate(files[number % len(files)], rng)
    if number % 10 == 0:
        return "/v1/predict", {"files": [("a", (body[:9].hex(), body)), ("b", files[0])]}
    if number % 10 == 1:
        form = httpx.Request("POST", "http://a", files=[("a", body)])
        content = mutate(form.read(), rng)
        return "/v1/predict", {"content": content, "headers": dict(form.headers)}
    if number % 10 == 2:
        rows = json.dumps({"images": [[[0] * 28] * 28]}).encode()
        headers = {"Content-Type": "application/json"}
        return "/v1/predict/pixels", {"content": mutate(rows, rng), "headers": headers}
    return "/v1/predict", {"content": body, "headers": {"Content-Type": "image/png"}}


async def send_all(base, n, files, rng):
    """Send all, eight at once; return the statuses and the answers that are no JSON of ours."""
    statuses, odd = Counter(), []
    queue = iter(range(n))

    async def client():
        async with httpx.AsyncClient(base_url=base, timeout=60) as session:
            for number in queue:
                path, named = request(number, files, rng)
                named.get("headers", {}).pop("content-length", None)
                named.get("headers", {}).pop("host", None)
                answer = await session.post(path, **named)
                statuses[answer.status_code] += 1
                keys = answer.json().keys()
                expected = ({"pictures"}, {"digits"}, {"status", "code", "message"})
                if answer.status_code >= 500 or keys not in expected:
                    odd.append((number, answer.status_code, answer.text[:200]))

    await asyncio.gather(*(client() for _ in range(8)))
    return statuses, odd


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print_machine(describe())
    files = pictures(data.mnist()[1].images[:50])
    command = [sys.executable, "-m", "tenfold", "serve", "--port", "0", "--deadline", "60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        base = re.match(r"\S+", process.stdout.readline())[0]
        rng = np.random.default_rng(arguments.seed)
        statuses, odd = asyncio.run(send_all(base, arguments.requests, files, rng))
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    print(f"statuses: {dict(sorted(statuses.items()))}")
    print(f"5xx or of another shape: {len(odd)} {odd[:5]}")
    print(f"log: {log or 'empty'}")
    sys.exit(bool(odd or log))


if __name__ == "__main__":
    main()
