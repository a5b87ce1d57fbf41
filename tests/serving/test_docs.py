"""docs/serving.md says what the server does."""

import re
from pathlib import Path

import httpx

from tenfold.serving.api_errors import ERRORS
from tenfold.serving.settings import ServerSettings
from tests.serving.conftest import png

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")


def test_the_table_of_errors_is_complete():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert {code: (int(status), sentence) for code, status, sentence in rows} == ERRORS


def test_the_addresses_are_those_that_there_are(make_client):
    document = make_client().get("/openapi.json").json()
    table = PAGE.split("## Errors")[0]
    named = set(re.findall(r"`(?:GET |POST )?(/[\w/.]+)`", table))
    assert named == {*document["paths"], "/openapi.json"}


def test_the_client_in_python_works(make_client, digits, tmp_path, monkeypatch, capsys):
    example = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "digit.png").write_bytes(png(digits.images[0]))
    monkeypatch.chdir(tmp_path)
    client = make_client()
    monkeypatch.setattr(
        httpx, "post", lambda url, **named: client.post(httpx.URL(url).path, **named)
    )
    exec(compile(example.replace("open(", "Path("), "serving.md", "exec"), {"Path": Opened})
    assert capsys.readouterr().out == f"{digits.label_names()[0]}\n"


class Opened:
    """A file that is closed when it is read, as an example need not show."""

    def __init__(self, name, _mode):
        self.read = Path(name).read_bytes


def test_the_bounds_are_those_of_the_settings():
    settings = ServerSettings()
    assert f"up to {settings.max_images:,} images" in PAGE
    assert f"up to {settings.max_pictures} in a form" in PAGE
    assert f"{settings.max_picture_bytes // 10**6} MB in all" in PAGE
    assert f"{settings.max_picture_pixels // 10**6} million pixels" in PAGE
    assert (
        f"| images that wait | {settings.max_queue_images:,}, and for {settings.max_wait_s} s"
        in PAGE
    )
    assert f"| requests that are answered at once | {settings.max_requests} for" in PAGE
    assert f"| pictures that wait or are read | {settings.max_queue_pictures} |" in PAGE
    assert f"| connections | {settings.max_connections:,} for" in PAGE
    assert f"| answer | `--deadline`, {settings.deadline_s} s |" in PAGE
    assert f"| time to stop | `--grace`, {settings.grace_s} s |" in PAGE
    assert f"64 kB, {settings.head_timeout_s} s" in PAGE
    assert (
        f"{settings.body_timeout_s} s; of all bodies {settings.max_held_bytes // 10**6} MB" in PAGE
    )
