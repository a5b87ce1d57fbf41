"""What OpenAPI says about each address: bodies, examples, answers and errors."""

from typing import Any, Final

from pydantic import BaseModel

from tenfold.serving.api_errors import ERRORS
from tenfold.serving.schemas import (
    ErrorResponse,
    FeedbackRequest,
    FeedbackResponse,
    ModelResponse,
    PicturesResponse,
    PixelsRequest,
    PixelsResponse,
    StatusResponse,
)

_EVERYWHERE: Final = ("malformed", "cross_site", "wrong_host", "head_too_large", "internal")
_API: Final = (*_EVERYWHERE, "token_required", "too_many_requests")
_BODY: Final = (*_API, "too_slow", "too_large", "unsupported_type", "invalid", "overloaded")
_BLANK: Final = [[0] * 28] * 28
_DIGIT: Final = {
    "digit": "3",
    "confidence": 0.9993,
    "decision": "sure",
    "probabilities": {str(digit): 0.9993 if digit == 3 else 0.0001 for digit in range(10)},
}
_PICTURE: Final = {
    "text": "3",
    "ink": True,
    "digits": [_DIGIT | {"box": [40, 32, 98, 120], "line": 0, "position": 0}],
    "notes": [],
}
_ONE_PICTURE: Final = {"schema": {"type": "string", "format": "binary"}}
_FORM: Final = {
    "schema": {
        "type": "object",
        "properties": {
            "picture": {"type": "array", "items": _ONE_PICTURE["schema"], "minItems": 1}
        },
        "required": ["picture"],
    }
}


def _document(
    summary: str,
    model: type[BaseModel],
    example: Any,
    errors: tuple[str, ...],
    **extra: Any,
) -> dict[str, Any]:
    """Return the arguments for `FastAPI.add_api_route`."""
    answer = {
        "model": model,
        "description": "The answer.",
        "content": {"application/json": {"example": example}},
    }
    responses: dict[int, dict[str, Any]] = {200: answer}
    for code in errors:
        status, sentence = ERRORS[code]
        known = responses.setdefault(
            status,
            {
                "model": ErrorResponse,
                "description": "",
                "content": {"application/json": {"examples": {}}},
            },
        )
        known["description"] = f"{known['description']} {sentence}".strip()
        body = {"status": status, "code": code, "message": sentence}
        known["content"]["application/json"]["examples"][code] = {"value": body}
    return {"summary": summary, "responses": responses, "openapi_extra": extra or None}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": content}


def _json(model: type[BaseModel], example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": model.model_json_schema(), "example": example}}


DOCUMENTED: Final[dict[str, dict[str, Any]]] = {
    "/v1/predict": _document(
        "Read the digits in a picture, or in each picture of a form.",
        PicturesResponse,
        {"pictures": [_PICTURE]},
        (*_BODY, "unreadable_picture", "deadline"),
        requestBody=_body({"image/*": _ONE_PICTURE, "multipart/form-data": _FORM}),
        parameters=[
            {
                "name": "pixels",
                "in": "query",
                "required": False,
                "description": "true: each digit also has its 28 × 28 pixels.",
                "schema": {"type": "string", "enum": ["true", "false"]},
            }
        ],
    ),
    "/v1/predict/pixels": _document(
        "Classify stored images: JSON, or their bytes, uint8 [N, 28, 28].",
        PixelsResponse,
        {"digits": [_DIGIT]},
        (*_BODY, "deadline"),
        requestBody=_body(
            _json(PixelsRequest, {"images": [_BLANK]}) | {"application/octet-stream": _ONE_PICTURE}
        ),
    ),
    "/v1/feedback": _document(
        "Keep a corrected digit, where the server was started with --collect.",
        FeedbackResponse,
        {"kept": True},
        (*_BODY, "not_found", "full"),
        requestBody=_body(_json(FeedbackRequest, {"pixels": _BLANK, "label": "3"})),
    ),
    "/v1/model": _document(
        "What predicts, and within which limits.",
        ModelResponse,
        {
            "classes": [str(digit) for digit in range(10)],
            "image_size": 28,
            "max_images": 1024,
            "reads_pictures": True,
            "collects": False,
            "decision_rule": {"sure_threshold": 0.9, "digit_threshold": 0.7},
            "card": {"recipe": {"name": "robust"}},
        },
        _API,
    ),
    "/metrics": _document("Counts for Prometheus, as text.", StatusResponse, {}, _API),
    "/healthz": _document("The process runs.", StatusResponse, {"status": "alive"}, _EVERYWHERE),
    "/readyz": _document(
        "The process takes requests.",
        StatusResponse,
        {"status": "ready"},
        (*_EVERYWHERE, "stopping"),
    ),
}
DOCUMENTED["/metrics"]["responses"][200] = {
    "description": "Prometheus' text format.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
