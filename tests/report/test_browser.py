"""The report in a browser: headless Chromium, skipped where there is none."""

import shutil

import numpy as np
import pytest

from tenfold.predictions import Predictions
from tenfold.recipe import Recipe
from tenfold.report.run_report import write_report
from tenfold.run import run
from tenfold.run_folder import RunFolder

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

LOADED = (
    "() => [...document.querySelectorAll('figure img')]"
    ".map(one => [one.closest('figure').id, one.naturalWidth])"
)
# Figures of which a part is hidden, and whether a hint is visible that there is more.
CUT = """() => [...document.querySelectorAll('figure')]
    .filter(one => one.scrollWidth > one.clientWidth + 1)
    .map(one => [one.id, Boolean(one.querySelector('.hint')?.checkVisibility())])"""
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
def unlabelled(report, digits, tmp_path_factory):
    """The report as it would be if nobody had known the test labels."""
    run_folder = RunFolder(
        shutil.copytree(report.parent, tmp_path_factory.mktemp("kaggle") / "run")
    )
    run_folder.score.unlink()
    known = Predictions.load(run_folder.predictions)
    images = digits.select(np.arange(1500, 2000)).without_labels()
    predictions = Predictions.from_probabilities(images, known.probabilities, classes=known.classes)
    predictions.save(run_folder.predictions)
    return write_report(run_folder.path)


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
    headings = page.locator("main section > h2").all_inner_texts()
    assert headings == [
        "Errors", "Label issues", "Training", "Data", "Augmentation", "Network",
        "What the network sees", "Details",
    ]  # fmt: skip
    loaded = page.evaluate(LOADED)
    assert len(loaded) >= 12
    assert all(pixels > 300 for _, pixels in loaded)
    assert all(page.evaluate("() => [...document.images].map(one => one.naturalWidth > 0)"))
    assert not problems
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    content_width, window_width = page.evaluate(WIDTH)
    assert content_width <= window_width, "the page itself must not scroll sideways"
    cut = page.evaluate(CUT)
    assert bool(cut) == (width < 400)
    assert all(has_hint for _, has_hint in cut), "what is cut says so"
    assert page.evaluate(BACKGROUND) == {
        "light": "rgb(255, 255, 255)", "dark": "rgb(20, 20, 20)"
    }[scheme]  # fmt: skip
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["run", "unlabelled", "search", "compare"])
def test_axe_finds_no_accessibility_violation(
    browser, report, unlabelled, search_page, compare_page, which, scheme
):
    pages = {
        "run": report, "unlabelled": unlabelled, "search": search_page, "compare": compare_page,
    }  # fmt: skip
    page = browser.new_page(color_scheme=scheme)
    page.goto(pages[which].as_uri())
    found = axe.Axe().run(page).response["violations"]
    page.close()
    assert [(one["id"], one["impact"], one["help"]) for one in found] == []
