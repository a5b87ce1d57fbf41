"""The page with its server behind it: pictures are read there, corrections are kept there."""

from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image, ImageOps

from tenfold.data import read
from tenfold.errors import RecognizerError
from tenfold.serving.page import content_security_policy

from .test_page_browser import SEVEN, draw_with_mouse, expect_answer


@pytest.fixture
def open_served(browser, make_client):
    """Open the page of a new application, whose answers come without a network."""
    pages = []

    def open_(**settings):
        client, asked = make_client(**settings), []

        def answer(route, request):
            asked.append((request.method, urlsplit(request.url).path))
            named = {"content": request.post_data_buffer, "headers": request.all_headers()}
            found = client.request(*asked[-1], **named)
            route.fulfill(status=found.status_code, headers=dict(found.headers), body=found.content)

        page = browser.new_page()
        pages.append(page)
        page.route("**/*", answer)
        page.goto(client.host)
        return page, asked

    yield open_
    for page in pages:
        page.close()


def test_a_picture_is_read_by_the_server(open_served, digits, tmp_path):
    page, asked = open_served()
    row = np.concatenate(list(digits.images[:3]), axis=1)
    ImageOps.invert(Image.fromarray(row).resize((840, 280))).save(tmp_path / "three.png")
    page.set_input_files("#file", tmp_path / "three.png")
    expect_answer(page, "".join(digits.label_names()[:3]))
    assert ("POST", "/v1/predict") in asked
    assert "pictures are read by the server" in page.inner_text("#about")


def test_corrections_go_to_the_file_that_the_server_collects(open_served, tmp_path):
    page, asked = open_served(collect=tmp_path / "corrections.csv")
    page.wait_for_timeout(100)
    assert ("GET", "/v1/model") in asked
    draw_with_mouse(page, SEVEN)
    expect_answer(page, "7")
    page.click("#labels button:nth-child(2)")
    thanks = "() => document.getElementById('thanks').textContent.includes('keeps it as 1')"
    page.wait_for_function(thanks)
    assert page.locator("#download").is_hidden()
    kept = read(tmp_path / "corrections.csv", labels=True)
    assert kept.label_names() == ["1"]
    assert kept.images.max() == 255


def test_a_server_that_collects_nothing_leaves_the_download(open_served):
    page, asked = open_served()
    draw_with_mouse(page, SEVEN)
    expect_answer(page, "7")
    page.click("#labels button:nth-child(2)")
    page.wait_for_selector("#download:not([hidden])")
    assert ("POST", "/v1/feedback") not in asked


def test_the_page_comes_with_its_policy_and_may_not_be_framed(make_client):
    response = make_client().get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert policy == content_security_policy(server=True) + "; frame-ancestors 'none'"


def test_a_model_without_a_page_has_its_api_all_the_same(make_client, monkeypatch):
    def refuse(*_, **__):
        raise RecognizerError("digits.onnx: its network has Tanh")

    monkeypatch.setattr("tenfold.serving.app.page_html", refuse)
    client = make_client()
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == (
        "The API is here, but no page to draw on. digits.onnx: its network has Tanh."
    )
    assert client.get("/readyz").status_code == 200
