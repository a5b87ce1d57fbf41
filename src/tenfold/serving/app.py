"""The application: its addresses, and the page's files."""

import mimetypes
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

import tenfold
from tenfold.classifier import Classifier
from tenfold.models import load
from tenfold.serving.api_errors import ApiError, status_error
from tenfold.serving.metrics import Metrics
from tenfold.serving.openapi import DOCUMENTED
from tenfold.serving.security import COOKIE, Gate, page_policy
from tenfold.serving.service import Service
from tenfold.serving.settings import ServerSettings
from tenfold.serving.surround import Surround

STATIC: Final = Path(__file__).parent / "static"


def make_app(
    settings: ServerSettings,
    classifier: Classifier | None = None,
    *,
    is_worker: bool = False,
    on_end: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Make the application of one process.

    Args:
        settings: every choice.
        classifier: what predicts; by default it is loaded from `settings.model`.
        is_worker: whether others answer at the same address and add their counts to its own.
        on_end: is called when everything is answered and nothing more will come.

    Raises:
        RecognizerError: the model is missing or damaged.
        OutputError: the file for corrected digits cannot be written.
    """
    metrics = Metrics(shared=is_worker)
    service = Service(settings, classifier or load(settings.model), metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        yield {"service": service}
        service.engine.close()
        on_end()

    app = FastAPI(
        title="tenfold",
        description="Reads handwritten digits.",
        version=tenfold.__version__,
        lifespan=lifespan,
        docs_url=None,  # its page asks other sites for scripts
        redoc_url=None,
    )
    _add_api(app, service)
    gate = Gate(settings.host, settings.host_names, settings.token, settings.rate)
    _add_page(app, gate)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    paths = {route.path for route in app.routes if hasattr(route, "path")}
    app.add_middleware(
        Surround, gate=gate, is_full=lambda: service.is_full, metrics=metrics, paths=paths
    )
    return app


def _add_api(app: FastAPI, service: Service) -> None:
    """Add the addresses of the API."""

    async def predict_pictures(request: Request) -> Response:
        return await service.predict_pictures(request)

    async def predict_pixels(request: Request) -> Response:
        return await service.predict_pixels(request)

    async def keep_feedback(request: Request) -> Response:
        return await service.keep_feedback(request)

    for path, method, endpoint in (
        ("/v1/predict", "POST", predict_pictures),
        ("/v1/predict/pixels", "POST", predict_pixels),
        ("/v1/feedback", "POST", keep_feedback),
        ("/v1/model", "GET", service.describe_model),
        ("/metrics", "GET", service.show_metrics),
        ("/healthz", "GET", service.is_alive),
        ("/readyz", "GET", service.is_ready),
    ):
        app.add_api_route(path, endpoint, methods=[method], response_model=None, **DOCUMENTED[path])


def _add_page(app: FastAPI, gate: Gate) -> None:
    """Add the page and its files, which are read now: a request names none that is not there."""
    files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.is_file()}
    html = files.pop("index.html")
    policy = {"Content-Security-Policy": page_policy(html.decode()), "Cache-Control": "no-cache"}

    async def page(request: Request) -> Response:
        token = request.query_params.get("token")
        if token is None:
            return Response(html, media_type="text/html", headers=policy)
        # The token goes from the link that was printed to a cookie, and out of the address.
        response = Response(status_code=303, headers={"Location": "/"})
        if gate.is_token(token.encode()):
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    app.add_route("/", page, include_in_schema=False)
    for name, content in files.items():
        app.add_route(f"/{name}", _file_endpoint(name, content), include_in_schema=False)


def _file_endpoint(name: str, content: bytes) -> Any:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"

    async def file(_request: Request) -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return file


async def _answer_http_exception(_request: Request, error: Exception) -> Response:
    """Answer what FastAPI itself refuses in the shape of all errors."""
    assert isinstance(error, HTTPException)
    found: ApiError = status_error(error.status_code)
    found.headers |= error.headers or {}
    return found.response()
