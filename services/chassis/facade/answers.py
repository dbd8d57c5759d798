"""The monolith's JSON, byte for byte: sorted keys, no spaces, ASCII only, a newline at the end (Flask's `jsonify`)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from litestar import Response

# Paths of the monolith's contract; errors there have its shape.
PATHS = ("/api/", "/get-schedule/")

_TEXTS = {404: "not found", 405: "method not allowed", 413: "the body is too large", 500: "internal server error"}


def encode(value: Any) -> bytes:
    """`value` as the monolith's `jsonify` would send it."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """An answer of the legacy contract."""
    return Response(encode(value), status_code=status, media_type="application/json", headers=headers)


def framework_text(status: int) -> str:
    """What the monolith says when no handler of its own does."""
    return _TEXTS.get(status) or HTTPStatus(status).phrase.lower()
