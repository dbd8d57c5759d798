"""Reads the query string and the path of a legacy request, with the monolith's checks and sentences."""

from __future__ import annotations

import re
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from services.chassis.errors import Problem
from services.chassis.facade.answers import framework_text
from services.chassis.facade.body import BIGINT_MAX

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ID = re.compile(r"[0-9]{1,19}")
_PATH_ID = re.compile(r"[0-9]+")


def arguments(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The query string; of a name that comes several times, the first value."""
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="replace")
    return dict(reversed(pairs))


def days(arguments: dict[str, str], longest: int) -> tuple[date, date]:
    """`from` and `to` (exclusive), at most `longest` days apart."""
    first, last = (parse_day(arguments.get(name)) for name in ("from", "to"))
    if first is None or last is None:
        raise Problem(400, "from and to must be days YYYY-MM-DD")
    if not 0 < (last - first).days <= longest:
        raise Problem(400, f"to must be 1 to {longest} days after from")
    return first, last


def identifier(arguments: dict[str, str], name: str, default: int | None = None) -> int | None:
    value = arguments.get(name)
    if value is None:
        return default
    if not _ID.fullmatch(value) or int(value) > BIGINT_MAX:
        raise Problem(400, f"{name} must be an id")
    return int(value)


def page(arguments: dict[str, str]) -> tuple[int, int]:
    """`limit` (1 to 1000, default 100) and `after` (an id, default 0)."""
    limit = arguments.get("limit", "100")
    if not _ID.fullmatch(limit) or not 1 <= int(limit) <= 1000:
        raise Problem(400, "limit must be 1 to 1000")
    return int(limit), identifier(arguments, "after", 0) or 0


def path_id(text: str) -> int:
    """An id in a path. One that no bigint can hold is an unknown route, as for the monolith's router."""
    if not _PATH_ID.fullmatch(text) or len(text) > 30 or int(text) > BIGINT_MAX:
        raise Problem(404, framework_text(404))
    return int(text)


async def ids_in_path(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard: like the monolith's router, it looks at the ids in a path before anybody asks who calls."""
    for name, value in connection.path_params.items():
        if name.endswith("_id"):
            path_id(value)


def parse_day(value: object) -> date | None:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return None
    try:
        parsed = date.fromisoformat(value)
    except ValueError:
        return None
    return parsed if 1900 <= parsed.year <= 9000 else None
