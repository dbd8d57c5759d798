"""The monolith's JSON, byte for byte: sorted keys, no spaces, ASCII only, a newline at the end (Flask's `jsonify`)."""

from __future__ import annotations

import json
from typing import Any

from litestar import Response

# Paths of the monolith's contract; errors there have its shape.
LEGACY_PATHS = ("/api/", "/get-schedule/")


def legacy_json(value: Any) -> bytes:
    """`value` as the monolith's `jsonify` would send it."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def answer(value: Any, status: int = 200) -> Response[bytes]:
    """An answer of the legacy contract."""
    return Response(legacy_json(value), status_code=status, media_type="application/json")
