"""The page to draw on, as one self-contained HTML file: modules, styles and weights inlined.

It works from a file, a static host, or the server, and its content security policy allows it no
request to anywhere but the server that it came from.
"""

import base64
import hashlib
import json
import re
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from tenfold.errors import OutputError, RecognizerError
from tenfold.files import path_exists, write_text
from tenfold.models import model_file
from tenfold.serving.browser_network import browser_network

MAX_BYTES: Final = 1_000_000
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def page_html(model: Path | str | None = None, *, server: bool = False) -> str:
    """Return the page with a model in it.

    Args:
        model: a run folder, a recognizer's file or an exported one; None is the model in the box.
        server: whether the page is served by tenfold, which then reads its pictures.

    Raises:
        RecognizerError: there is no such model, or its network is not one that the page computes.
        DependencyError: the model needs PyTorch, which is not installed.
    """
    path = model_file(model)
    network = browser_network(_onnx_content(path), str(path))
    content = json.dumps(network | {"server": server, "about": _about(network, server=server)})
    policy = content_security_policy(server=server)
    replacements = {
        '<meta charset="utf-8">': '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<link rel="stylesheet" href="style.css">': f"<style>{_style()}</style>",
        '<script type="application/json" id="model"></script>': (
            '<script type="application/json" id="model">'
            + content.replace("<", r"\u003c")
            + "</script>"
        ),
        '<script type="module" src="page.js"></script>': (
            f'<script type="module">{bundle("page")}</script>'
        ),
    }
    html = _static("index.html")
    for placeholder, inlined in replacements.items():
        html = html.replace(placeholder, inlined)
    return html


def write_page(model: Path | str | None, path: Path) -> int:
    """Write the page with a model in it, and return its size in bytes.

    Raises:
        RecognizerError: as for `page_html`.
        OutputError: the file cannot be written, or would be larger than 1 MB.
    """
    html = page_html(model)
    size = len(html.encode())
    if size > MAX_BYTES:
        raise OutputError(
            f"{path}: would have {size / 1e6:.1f} MB, expected at most {MAX_BYTES / 1e6:g} MB: a "
            "smaller network, or fewer members"
        )
    write_text(path, html)
    return size


def content_security_policy(*, server: bool) -> str:
    """Return the policy of the page: its own script and style, and its own server if it has one.

    A server sends it as a header besides, with `frame-ancestors 'none'` added, which only a header
    can say.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(bundle('page'))}'",
            f"style-src '{_hash(_style())}'",
            "img-src data:",
            f"connect-src '{'self' if server else 'none'}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


@cache
def bundle(name: str) -> str:
    """Return a JavaScript module and all that it imports as one script.

    Each module becomes a function that returns its exports, in a constant of the module's name
    after a `$`; the imports are taken from those constants.
    """
    return "".join(f"\n{_as_function(each)}" for each in _in_order(name))


def _in_order(name: str) -> list[str]:
    """Return a module's imports, theirs before them, and the module itself."""
    found: dict[str, None] = {}
    for _, imported in _IMPORT.findall(_static(f"{name}.js")):
        found |= dict.fromkeys(_in_order(imported))
    return [*found, name]


def _as_function(name: str) -> str:
    source = _static(f"{name}.js")
    exports = [found[1] for found in _EXPORT.findall(source)]
    body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const \1 = $\2;\n", source))
    return f"const ${name} = (() => {{\n{body}return {{ {', '.join(exports)} }};\n}})();\n"


def _static(name: str) -> str:
    return (resources.files("tenfold") / "serving" / "static" / name).read_text("utf-8")


def _style() -> str:
    return _static("style.css")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _onnx_content(path: Path) -> bytes:
    """Return the content of an exported model; a recognizer is exported first."""
    if not (path_exists(path) and path.is_file()):
        raise RecognizerError(f"{path}: there is no such file, expected a model")
    if path.suffix == ".onnx":
        return path.read_bytes()
    from tenfold.export import export_onnx  # noqa: PLC0415 - torch takes a second
    from tenfold.recognizer import Recognizer  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "model.onnx"
        # Without test-time views: they cost five times as much and change next to nothing.
        export_onnx(Recognizer.load(path), exported, weights_dtype="float16", tta=False)
        return exported.read_bytes()


def _about(network: dict[str, Any], *, server: bool) -> str:
    """Return a sentence about the network, for the foot of the page."""
    layers = [layer for member in network["members"] for layer in member["layers"]]
    weights = sum(_size(layer["shape"]) + layer["shape"][0] for layer in layers if "shape" in layer)
    members = len(network["members"])
    what = "one network" if members == 1 else f"{members} networks"
    where = "what you draw is read in this browser and does not leave the page"
    if server:
        where = "what you draw is read in this browser; pictures are read by the server"
    return f"tenfold reads with {what} of {weights:,} weights; {where}."


def _size(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
