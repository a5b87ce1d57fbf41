"""The report in a browser: headless Chromium, skipped where there is none."""

import shutil

import numpy as np
import pytest

from tenfold.recipe import Recipe
from tenfold.run import run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

LOADED = "() => [...document.images].map(one => [one.closest('figure').id, one.naturalWidth])"
WIDTH = "() => [document.documentElement.scrollWidth, window.innerWidth]"
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def report(digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("browser") / "run"
    overrides = ("network.width=4", "training.max_epochs=2", "data.validation=0.25")
    recipe = Recipe.load("quick", overrides=overrides)
    train_set, test_set = digits.select(np.arange(1500)), digits.select(np.arange(1500, 2000))
    run(
        train_set,
        test_set.without_labels(),
        recipe,
        out,
        test_labels=test_set.label_names(),
    )
    return out / "report.html"


@pytest.fixture(scope="module")
def browser():
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_section_and_figure_is_displayed(browser, report, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    headings = page.locator("section > h2").all_inner_texts()
    assert headings == [
        "Summary", "Data", "Augmentation", "Network", "Training", "Interpretability", "Errors",
        "Label issues",
    ]  # fmt: skip
    loaded = page.evaluate(LOADED)
    assert len(loaded) >= 15
    assert all(pixels > 300 for _, pixels in loaded)
    assert not problems
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    content_width, window_width = page.evaluate(WIDTH)
    assert content_width <= window_width, "the page itself must not scroll sideways"
    assert page.evaluate(BACKGROUND) == {
        "light": "rgb(255, 255, 255)", "dark": "rgb(20, 20, 20)"
    }[scheme]  # fmt: skip
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["run", "search", "compare"])
def test_axe_finds_no_accessibility_violation(
    browser, report, search_page, compare_page, which, scheme
):
    pages = {"run": report, "search": search_page, "compare": compare_page}
    page = browser.new_page(color_scheme=scheme)
    page.goto(pages[which].as_uri())
    found = axe.Axe().run(page).response["violations"]
    page.close()
    assert [(one["id"], one["impact"], one["help"]) for one in found] == []
