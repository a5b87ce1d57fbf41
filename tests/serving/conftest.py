"""The page in headless Chromium; tests that need it are skipped where there is none."""

import shutil

import pytest

from tenfold.serving.page import write_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    """The page with the model in the box."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(None, path)
    return path


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()
