"""An application to call without a network, pictures to send it, and its page in Chromium."""

import asyncio
import io
import shutil
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from tenfold.classifier import Classifier
from tenfold.decision import DecisionRule
from tenfold.models import load
from tenfold.serving.app import make_app
from tenfold.serving.page import write_page
from tenfold.serving.settings import ServerSettings

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="session")
def box() -> Classifier:
    return load(None)


@pytest.fixture
def make_client(box):
    """Return a function that makes a client of a new application."""

    def make(classifier=None, **settings):
        return Client(make_app(ServerSettings(**settings), classifier or box))

    return make


class Client:
    """Sends requests to an application, each call from a loop of its own."""

    def __init__(self, app):
        self.app = app
        self.host = "http://127.0.0.1:8000"

    def request(self, method, path, **named) -> httpx.Response:
        return self.together([(method, path, named)])[0]

    def get(self, path, **named) -> httpx.Response:
        return self.request("GET", path, **named)

    def post(self, path, **named) -> httpx.Response:
        return self.request("POST", path, **named)

    def pixels(self, images, **named) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream"} | named.pop("headers", {})
        content = images.tobytes()
        return self.post("/v1/predict/pixels", content=content, headers=headers, **named)

    def together(self, requests) -> list[httpx.Response]:
        async def send():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=self.host) as client:
                calls = (client.request(how, path, **named) for how, path, named in requests)
                return await asyncio.gather(*calls)

        # In a thread of its own, as a browser's driver has a loop in this one.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, send()).result()


class SlowClassifier(Classifier):
    """Says that everything is the first class, after a while."""

    classes = ("0", "1")
    image_size = 28
    decision_rule = DecisionRule()
    card = {"is": "slow"}  # noqa: RUF012

    def __init__(self, seconds):
        self.seconds = 0
        self._seconds = seconds

    def predictor(self):
        return self

    def predict_proba(self, images):
        import time

        time.sleep(self.seconds)
        self.seconds = self._seconds  # the first call is the server's own
        return np.tile(np.array([[0.9, 0.1]], np.float32), (len(images), 1))


def png(image, scale=6) -> bytes:
    """Return a digit, uint8 [28, 28], as a drawing on white paper."""
    side = 28 * scale
    grey = Image.fromarray(255 - image).resize((side, side), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    grey.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    """The page with the model in the box."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(None, path)
    return path


@pytest.fixture(scope="module")  # while it is open, no other event loop can run here
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()
