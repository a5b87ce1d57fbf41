"""The page as a file: what it holds, what it refuses."""

import base64
import hashlib
import json
import re

import pytest

from tenfold import data
from tenfold.cli.common import app
from tenfold.errors import OutputError, RecognizerError
from tenfold.export import export_onnx
from tenfold.networks import build
from tenfold.preprocessing import Preprocessing
from tenfold.recipe import Recipe
from tenfold.recognizer import Member, Recognizer
from tenfold.serving import page
from tenfold.serving.page import bundle, content_security_policy, page_html, write_page


def recognizer(recipe, preprocessing=None, **changes):
    config = Recipe.load(recipe).network
    model = build(config, image_size=28, n_classes=10, seed=0).eval()
    return Recognizer(
        [Member(model, config, preprocessing or Preprocessing())], data.DIGITS, 28, **changes
    )


def inlined(html, tag):
    return re.search(rf"<{tag}>(.*?)</{tag.split()[0]}>", html, re.DOTALL)[1]


def sha256(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_page_holds_all_it_needs_within_a_megabyte(page_file):
    html = page_file.read_text("utf-8")
    assert page_file.stat().st_size <= 1_000_000
    assert "http://" not in html
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert not re.search(r"^\s*(import|export) ", html, re.MULTILINE)
    network = json.loads(inlined(html, 'script type="application/json" id="model"'))
    assert network["classes"] == list("0123456789")
    assert network["server"] is False
    assert re.search(r"one network of \d+,\d+ weights", network["about"])


@pytest.mark.parametrize("server", [False, True])
def test_the_policy_names_the_script_and_the_style_by_hash(server):
    html = page_html(server=server)
    policy = content_security_policy(server=server)
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in html
    script = inlined(html, 'script type="module"')
    assert f"script-src {sha256(script)};" in policy
    assert f"style-src {sha256(inlined(html, 'style'))};" in policy
    assert f"connect-src '{'self' if server else 'none'}'" in policy
    assert "default-src 'none'" in policy


def test_a_model_cannot_end_the_script_it_is_in(monkeypatch):
    monkeypatch.setattr(page, "_about", lambda network, server: "</script><script>alert(1)")
    html = page_html()
    assert html.count("<script") == 2
    assert json.loads(inlined(html, 'script type="application/json" id="model"'))["about"] == (
        "</script><script>alert(1)"
    )


def test_modules_come_after_what_they_import():
    order = re.findall(r"^const \$(\w+) = ", bundle("page"), re.MULTILINE)
    assert len(order) == len(set(order))
    assert order[-1] == "page"
    assert order.index("ink") < order.index("normalize") < order.index("page")


def test_a_recognizer_is_exported_on_the_way(tmp_path, capsys):
    recognizer("pocket", tta_shift=1.0).save(tmp_path / "recognizer.safetensors")
    out = tmp_path / "page.html"
    app(
        ["export", str(tmp_path / "recognizer.safetensors"), str(out), "--json"],
        standalone_mode=False,
    )
    assert json.loads(capsys.readouterr().out) == {
        "file": str(out), "bytes": out.stat().st_size
    }  # fmt: skip
    # Of 9,042, two for each of 80 filters normalise; folded into the filters they are one.
    assert "8,962 weights" in out.read_text("utf-8")
    assert out.stat().st_size < 120_000


@pytest.mark.parametrize(
    ("recipe", "preprocessing", "tta", "what"),
    [
        ("lenet5", None, False, "Tanh"),
        ("pocket", Preprocessing(alignment="deskew"), False, "no constant"),
        ("pocket", None, True, "Where"),
    ],
)
def test_what_the_page_does_not_compute_is_said(tmp_path, recipe, preprocessing, tta, what):
    path = tmp_path / "model.onnx"
    export_onnx(recognizer(recipe, preprocessing, tta_shift=1.0 if tta else None), path, tta=tta)
    with pytest.raises(RecognizerError, match="expected networks of the families") as caught:
        page_html(path)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / "text.onnx").write_text("a text")
    with pytest.raises(RecognizerError, match=r"damaged or no ONNX file .* expected a file that"):
        page_html(tmp_path / "text.onnx")
    with pytest.raises(RecognizerError, match="there is no such file"):
        page_html(tmp_path / "missing.onnx")
    monkeypatch.setattr(page, "MAX_BYTES", 300_000)
    with pytest.raises(OutputError, match=r"would have 0\.4 MB, expected at most 0\.3 MB"):
        write_page(None, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
