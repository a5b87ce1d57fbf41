"""The page as a person uses it, in headless Chromium: from a file, with the network off."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from .strokes import pen_strokes

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

# Pointer events of a whole digit in one task, as a hand is faster than the test's connection.
DRAW = """async (strokes) => {
  const pad = document.getElementById('pad');
  const { left, top, width, height } = pad.getBoundingClientRect();
  const frame = () => new Promise(requestAnimationFrame);
  pad.setPointerCapture = () => {};
  const send = (type, [x, y]) => pad.dispatchEvent(new PointerEvent(type, {
    pointerId: 1, button: 0, buttons: 1, pointerType: 'pen', bubbles: true,
    clientX: left + x * width / 400, clientY: top + y * height / 320,
  }));
  for (const points of strokes) {
    send('pointerdown', points[0]);
    points.slice(1).forEach((point) => send('pointermove', point));
    send('pointerup', points[points.length - 1]);
  }
  await frame();
  await frame();
  return document.getElementById('headline').textContent;
}"""
SEVEN = [[(130, 70), (190, 72), (250, 70), (230, 130), (205, 190), (190, 250)]]
ONE = [[(80, 60), (80, 150), (80, 240)]]


@pytest.fixture
def open_page(browser, page_file):
    """Open the page with the network off; no request may leave it, and no error be logged."""
    contexts, problems, requests = [], [], []

    def open_(width=1280, scheme="light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, **options
        )
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def draw_with_mouse(page, strokes):
    box = page.locator("#pad").bounding_box()
    for stroke in strokes:
        for index, (x, y) in enumerate(stroke):
            page.mouse.move(
                box["x"] + x * box["width"] / 400, box["y"] + y * box["height"] / 320, steps=4
            )
            if index == 0:
                page.mouse.down()
        page.mouse.up()


def expect_answer(page, text):
    page.wait_for_function(
        "(text) => document.getElementById('headline').textContent === text", arg=text
    )


def test_real_digits_drawn_as_strokes_are_read(open_page, mnist):
    page = open_page()
    generator = np.random.default_rng(0)
    _, test_set = mnist
    wrong = []
    for index in generator.choice(len(test_set), 100, replace=False).tolist():
        height = generator.integers(70, 260)
        left, top = generator.integers(5, 120), generator.integers(5, 310 - height)
        strokes = pen_strokes(test_set.images[index], height=height, left=left, top=top)
        found = page.evaluate(DRAW, strokes)
        if found != str(test_set.labels[index]):
            wrong.append((index, int(test_set.labels[index]), found))
        page.evaluate("document.getElementById('clear').click()")
    assert len(wrong) <= 3, f"(index, label, answer): {wrong}"


def test_nothing_is_predicted_without_ink(open_page):
    page = open_page()
    for draw in (lambda: None, lambda: draw_with_mouse(page, SEVEN)):
        draw()
        if page.locator("#clear").is_enabled():
            expect_answer(page, "7")
            page.click("#clear")
        expect_answer(page, "")
        assert page.inner_text("#verdict") == "No ink yet"
        assert set(page.locator(".bars .value").all_inner_texts()) == {""}
        assert page.locator("#inside").is_hidden()
        assert page.locator("#feedback").is_hidden()


def test_several_digits_are_read_in_order_and_explained(open_page):
    page = open_page()
    ten = [*ONE, [(200 + 55 * np.sin(a), 150 - 85 * np.cos(a)) for a in np.linspace(0, 6.28, 30)]]
    draw_with_mouse(page, ten)
    expect_answer(page, "10")
    buttons = page.locator("#headline button")
    assert buttons.nth(1).get_attribute("aria-pressed") == "true"
    assert page.inner_text("#which") == "digit 2"
    buttons.nth(0).click()
    assert page.inner_text("#verdict").startswith("Digit 1 of 2. Sure: 1 (")
    page.wait_for_function("() => document.getElementById('status').textContent.startsWith('1 0.')")
    page.wait_for_selector("#decided[aria-busy=false]")
    assert page.evaluate(HAS_ORANGE)
    assert len(page.locator("#stages canvas").all()) == 3
    page.click("#undo")
    expect_answer(page, "1")


HAS_ORANGE = """() => {
  const canvas = document.getElementById('decided');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.some((value, index) => index % 4 === 0 && value > data[index + 2] + 60);
}"""


def test_scribbles_are_no_digit(open_page):
    page = open_page()
    star = [[(100, 60), (300, 250)], [(300, 60), (100, 250)], [(200, 40), (200, 280)]]
    draw_with_mouse(page, star)
    expect_answer(page, "?")
    assert page.inner_text("#verdict").startswith("No digit")


def test_the_keyboard_draws_undoes_and_clears(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pad"
    page.keyboard.press("Space")
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect_answer(page, "1")
    page.keyboard.press("Backspace")
    expect_answer(page, "")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached[:2] == ["width", "file"]  # undo and clear have nothing to do


def test_a_finger_draws_and_the_page_does_not_scroll(open_page):
    page = open_page(360, has_touch=True)
    assert page.evaluate("getComputedStyle(document.getElementById('pad')).touchAction") == "none"
    client = page.context.new_cdp_session(page)
    box = page.locator("#pad").bounding_box()
    for step in range(10):
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 30 + 20 * step}
        kind = "touchMove" if step else "touchStart"
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect_answer(page, "1")
    assert page.evaluate("scrollY") == 0


def test_a_picture_is_read(open_page, digits, tmp_path):
    page = open_page()
    row = np.concatenate(list(digits.images[:3]), axis=1)
    picture = ImageOps.invert(Image.fromarray(row).resize((840, 280)))
    picture.save(tmp_path / "three.png")
    page.set_input_files("#file", tmp_path / "three.png")
    expect_answer(page, "".join(digits.label_names()[:3]))
    page.click("#clear")
    expect_answer(page, "")
    (tmp_path / "text.png").write_text("no picture")
    page.set_input_files("#file", tmp_path / "text.png")
    page.wait_for_function(
        "() => document.getElementById('verdict').textContent.includes('cannot open')"
    )


def test_a_correction_becomes_a_row_of_kaggles_table(open_page):
    page = open_page()
    draw_with_mouse(page, SEVEN)
    expect_answer(page, "7")
    page.click("#labels button:nth-child(2)")
    with page.expect_download() as waiting:
        page.click("#download")
    text = waiting.value.path().read_text()
    header, row = text.splitlines()
    assert header.split(",")[:2] == ["label", "pixel0"]
    values = [int(each) for each in row.split(",")]
    assert values[0] == 1
    assert len(values) == 785
    assert max(values) == 255


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_and_the_page_fits(open_page, width, scheme):
    page = open_page(width, scheme, bypass_csp=True)  # axe adds a script of its own
    for strokes in ([], SEVEN, [*ONE, *SEVEN]):
        page.evaluate(DRAW, strokes)
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["impact"], one["help"]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_policy_forbids_requests_and_foreign_scripts(browser, page_file):
    page = browser.new_page()
    page.goto(page_file.as_uri())
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    blocked, is_clean = page.evaluate(
        """async () => {
          const blocked = [];
          document.addEventListener('securitypolicyviolation', (event) => {
            blocked.push(event.effectiveDirective);
          });
          await fetch('https://example.org/').catch(() => null);
          const script = document.createElement('script');
          script.textContent = 'window.intruder = true';
          document.body.append(script);
          await new Promise((resolve) => setTimeout(resolve, 50));
          return [blocked.sort(), window.intruder === undefined];
        }"""
    )
    page.close()
    assert blocked == ["connect-src", "script-src-elem"]
    assert is_clean
    assert requests == []
