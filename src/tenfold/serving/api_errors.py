"""Errors as the API answers them: one shape, a status, a code that stays, a sentence."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json
from starlette.responses import Response

# Every error there is: its code, status and sentence. Clients may rely on the codes.
ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "malformed": (400, "The request is not well formed."),
    "token_required": (401, "Send the server's token: Authorization: Bearer TOKEN."),
    "cross_site": (403, "A page of another site may not use this server."),
    "not_found": (404, "There is nothing at this address."),
    "method_not_allowed": (405, "This address does not take this method."),
    "too_slow": (408, "The request did not arrive in time."),
    "too_large": (413, "The body is larger than this address takes."),
    "unsupported_type": (415, "The content type is none that this address takes."),
    "wrong_host": (421, "The server is not known by the name in the header Host."),
    "invalid": (422, "The body is not what is expected."),
    "unreadable_picture": (422, "The picture cannot be read."),
    "too_many_requests": (429, "This client has made too many requests; try again later."),
    "head_too_large": (431, "The head of the request is too large."),
    "internal": (500, "The server has a bug; its log says more."),
    "overloaded": (503, "The server has all the work that it takes; try again later."),
    "stopping": (503, "The server is about to stop."),
    "deadline": (504, "The answer took too long."),
    "full": (507, "The file that collects digits has all that it takes."),
}
RETRY_AFTER_S: Final = {"too_many_requests": 1, "overloaded": 1, "stopping": 5}


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        code: a key of `ERRORS`.
        message: a sentence that says more than the one there.
        headers: of the response, besides the usual ones.
    """

    def __init__(
        self, code: str, message: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.code = code
        self.status, usual = ERRORS[code]
        self.message = message or usual
        self.headers = dict(headers or {})
        if code in RETRY_AFTER_S:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_S[code]))
        super().__init__(self.message)

    def to_json(self) -> dict[str, Any]:
        """Return the body of the response as JSON values."""
        return {"status": self.status, "code": self.code, "message": self.message}

    def response(self) -> Response:
        """Return the response."""
        return json_response(self.to_json(), self.status, self.headers)


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return JSON values as a response; what is not a number becomes null."""
    content = to_json(value, inf_nan_mode="null")
    return Response(content, status, headers, media_type="application/json")


def status_error(status: int) -> ApiError:
    """Return the first error that has this status, or else the bug that it is."""
    for code, (its_status, _) in ERRORS.items():
        if its_status == status:
            return ApiError(code)
    return ApiError("malformed" if 400 <= status < 500 else "internal")
