"""Everything that goes wrong, in OpenAI's shape: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from camelid.errors import UserError

_LONGEST_MESSAGE = 500  # characters; a message quotes what the client sent
_SURROGATE = re.compile("[\ud800-\udfff]")
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


@final
class ApiFault(HTTPException):
    """A request that is not served: the status, what to say, and which field is at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.param, self.code = param, code

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that tells it."""
        kind = _TYPES.get(self.status_code, "server_error" if self.status_code >= 500 else "invalid_request_error")
        message = " ".join(self.detail.split())[:_LONGEST_MESSAGE]
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> Response:
        """The answer that tells it."""
        return JsonReply(self.body, self.status_code, self.headers)


@final
class JsonReply(Response):
    """JSON in UTF-8, whatever text a model or a client made: what is no character becomes U+FFFD."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(encoded(content), status_code, dict(headers or {}))


def encoded(content: Any) -> bytes:
    """One line of JSON in UTF-8. Raises ValueError for NaN and infinity."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _SURROGATE.sub("\ufffd", text).encode()


def refused(error: UserError, param: str | None = None) -> ApiFault:
    """A fault that the engine or the template found in a request; file and line mean nothing to a client."""
    return ApiFault(400, f"{error.what} — {error.mend}" if error.mend else error.what, param=param)


def invalid(errors: Sequence[Mapping[str, Any]]) -> ApiFault:
    """The first of pydantic's errors, with the field's place as OpenAI writes it: messages.0.content."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(place)[:100] or None
    if first["type"] == "extra_forbidden":
        return ApiFault(400, f"{param} is not a setting that is served here", param=param, code="unknown_parameter")
    if first["type"] == "missing":
        return ApiFault(400, f"{param or 'the body'} is missing", param=param, code="missing_required_parameter")
    return ApiFault(400, f"{param or 'the body'}: {first['msg']}", param=param, code="invalid_value")
