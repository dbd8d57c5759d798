"""Small validators of request bodies and query strings: 400 when it cannot be read, 422 when it is read and refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NoReturn

from flask import request

from legacy_monolith import localtime
from legacy_monolith.errors import ApiError

BIGINT_MAX = 2**63 - 1
INT_MAX = 2**31 - 1

_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ID = re.compile(r"[0-9]{1,19}")

REQUIRED = object()


def body() -> dict[str, Any]:
    """The request's JSON object."""
    try:
        parsed = json.loads(request.get_data(cache=False), parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not JSON") from None
    if not isinstance(parsed, dict):
        raise ApiError(400, "the body must be a JSON object")
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _get(fields: dict[str, Any], name: str, default: object = REQUIRED) -> Any:
    value = fields.get(name)
    if value is None:
        if default is REQUIRED:
            raise ApiError(400, f"{name} is missing")
        return default
    return value


def text(fields: dict[str, Any], name: str, longest: int, default: object = REQUIRED, shortest: int = 1) -> Any:
    """A string of at most `longest` characters on one line (above 4,000, on several)."""
    value = _get(fields, name, default)
    if value is default:
        return value
    if not isinstance(value, str):
        raise ApiError(400, f"{name} must be a string")
    if not shortest <= len(value) <= longest:
        raise ApiError(422, f"{name} must have {shortest} to {longest} characters")
    allowed = "\n\r\t" if longest > 4000 else ""
    if any((c < " " and c not in allowed) or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in value):
        raise ApiError(422, f"{name} has characters that are not allowed")
    return value


def integer(fields: dict[str, Any], name: str, low: int, high: int, default: object = REQUIRED) -> Any:
    value = _get(fields, name, default)
    if value is default:
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ApiError(400, f"{name} must be an integer")
    if not low <= value <= high:
        raise ApiError(422, f"{name} must be {low} to {high}")
    return value


def identifier(fields: dict[str, Any], name: str, default: object = REQUIRED) -> Any:
    """The id of another row; an id that cannot exist is merely not found."""
    value = _get(fields, name, default)
    if value is default:
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ApiError(400, f"{name} must be an integer")
    return value if 0 < value <= BIGINT_MAX else 0


def decimal(fields: dict[str, Any], name: str, scale: int, low: str, high: str) -> Decimal:
    """A JSON number or a decimal string with at most `scale` decimals, as exactly `scale` decimals."""
    value = _get(fields, name)
    readable = bool(_DECIMAL.fullmatch(value)) if isinstance(value, str) else isinstance(value, int | Decimal)
    if not readable or isinstance(value, bool):
        raise ApiError(400, f"{name} must be a number")
    number = Decimal(value)
    if not Decimal(low) <= number <= Decimal(high):
        raise ApiError(422, f"{name} must be {low} to {high}")
    exact = number.quantize(Decimal(1).scaleb(-scale))
    if exact != number:
        raise ApiError(422, f"{name} must have at most {scale} decimals")
    return exact


def choice(fields: dict[str, Any], name: str, letters: Sequence[str], default: object = REQUIRED) -> Any:
    value = _get(fields, name, default)
    if value is default:
        return value
    if not isinstance(value, str):
        raise ApiError(400, f"{name} must be a string")
    if value not in letters:
        raise ApiError(422, f"{name} must be {' or '.join(letters)}")
    return value


def items(fields: dict[str, Any], name: str, most: int, fewest: int = 1, default: object = REQUIRED) -> Any:
    """A list of objects."""
    value = _get(fields, name, default)
    if value is default:
        return value
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ApiError(400, f"{name} must be a list of objects")
    if not fewest <= len(value) <= most:
        raise ApiError(422, f"{name} must have {fewest} to {most} items")
    return value


def timestamp(fields: dict[str, Any], name: str) -> datetime:
    """A local time that exists."""
    value = _get(fields, name)
    parsed = _parse_timestamp(value)
    if parsed is None:
        raise ApiError(400, f"{name} must be a local time YYYY-MM-DDTHH:MM:SS")
    if not localtime.exists(parsed):
        raise ApiError(422, f"{name}: local time {value} does not exist")
    return parsed


def hour(fields: dict[str, Any]) -> tuple[datetime, str]:
    """`ts` and `hour_flag` (default N) that name exactly one hour."""
    parsed = _parse_timestamp(_get(fields, "ts"))
    if parsed is None:
        raise ApiError(400, "ts must be a local time YYYY-MM-DDTHH:MM:SS")
    flag = choice(fields, "hour_flag", ("N", "A", "B"), "N")
    if parsed.minute or parsed.second:
        raise ApiError(422, "ts must be a whole hour")
    if problem := localtime.flag_problem(parsed, flag):
        raise ApiError(422, problem)
    return parsed, flag


def _parse_timestamp(value: object) -> datetime | None:
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if 1900 <= parsed.year <= 9000 else None


def day(fields: dict[str, Any], name: str, default: object = REQUIRED) -> Any:
    value = _get(fields, name, default)
    if value is default:
        return value
    parsed = _parse_day(value)
    if parsed is None:
        raise ApiError(400, f"{name} must be a day YYYY-MM-DD")
    return parsed


def _parse_day(value: object) -> date | None:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return None
    try:
        parsed = date.fromisoformat(value)
    except ValueError:
        return None
    return parsed if 1900 <= parsed.year <= 9000 else None


def query_days(longest: int) -> tuple[date, date]:
    """`from` and `to` (exclusive) of the query string, at most `longest` days apart."""
    first, last = (_parse_day(request.args.get(name)) for name in ("from", "to"))
    if first is None or last is None:
        raise ApiError(400, "from and to must be days YYYY-MM-DD")
    if not 0 < (last - first).days <= longest:
        raise ApiError(400, f"to must be 1 to {longest} days after from")
    return first, last


def query_id(name: str, default: int | None = None) -> int | None:
    value = request.args.get(name)
    if value is None:
        return default
    if not _ID.fullmatch(value) or int(value) > BIGINT_MAX:
        raise ApiError(400, f"{name} must be an id")
    return int(value)


def query_page() -> tuple[int, int]:
    """`limit` (1 to 1000, default 100) and `after` (an id, default 0)."""
    limit = request.args.get("limit", "100")
    if not _ID.fullmatch(limit) or not 1 <= int(limit) <= 1000:
        raise ApiError(400, "limit must be 1 to 1000")
    after = query_id("after", 0)
    assert after is not None
    return int(limit), after
