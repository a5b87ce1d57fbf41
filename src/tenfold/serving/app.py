"""The application: its addresses, and the page."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

import tenfold
from tenfold.classifier import Classifier
from tenfold.errors import RecognizerError
from tenfold.models import load
from tenfold.serving.api_errors import ApiError, status_error
from tenfold.serving.metrics import Metrics
from tenfold.serving.openapi import DOCUMENTED
from tenfold.serving.page import content_security_policy, page_html
from tenfold.serving.security import COOKIE, Gate
from tenfold.serving.service import Service
from tenfold.serving.settings import ServerSettings
from tenfold.serving.surround import Surround


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
    _add_page(app, gate, settings)
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


def _add_page(app: FastAPI, gate: Gate, settings: ServerSettings) -> None:
    """Add the page to draw on, or the reason why the model has none."""
    headers = {"Cache-Control": "no-cache"}
    try:
        content, kind = page_html(settings.model, server=True), "text/html"
        policy = content_security_policy(server=True)
        headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"
    except RecognizerError as error:
        content, kind = f"The API is here, but no page to draw on. {error}.", "text/plain"

    async def page(request: Request) -> Response:
        token = request.query_params.get("token")
        if token is None:
            return Response(content, media_type=kind, headers=headers)
        # The token goes from the link that was printed to a cookie, and out of the address.
        response = Response(status_code=303, headers={"Location": "/"})
        if gate.is_token(token.encode()):
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return response

    app.add_route("/", page, include_in_schema=False)


async def _answer_http_exception(_request: Request, error: Exception) -> Response:
    """Answer what FastAPI itself refuses in the shape of all errors."""
    assert isinstance(error, HTTPException)
    found: ApiError = status_error(error.status_code)
    found.headers |= error.headers or {}
    return found.response()
