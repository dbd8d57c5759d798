"""Reads the body of a legacy request: 400 when a field cannot be read, 422 when it is read and refused.

Checks and sentences are those of the monolith, so that a client cannot tell which side answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn

from litestar import Request

from services.chassis import localtime
from services.chassis.errors import Problem

BIGINT_MAX = 2**63 - 1
INT_MAX = 2**31 - 1

_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_LINE_LIMIT = 1000


class _Required:
    """Stands for a default that does not exist."""


REQUIRED: Any = _Required()


async def read(request: Request[Any, Any, Any]) -> Fields:
    """The request's JSON object. Raises: Problem 400."""
    raw = await request.body()
    try:
        value = json.loads(raw, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Problem(400, "the body must be a JSON object")
    return Fields(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


class Fields:
    """A JSON object whose members are asked for by name and kind. A null member is as good as none."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def get(self, name: str, default: Any = REQUIRED) -> Any:
        value = self._values.get(name)
        if value is not None:
            return value
        if default is REQUIRED:
            raise Problem(400, f"{name} is missing")
        return default

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str, longest: int, default: Any = REQUIRED, shortest: int = 1) -> Any:
        """A string on one line; one that may be longer than 1,000 characters may have several lines."""
        value = self.get(name, default)
        if value is default:
            return value
        if not isinstance(value, str):
            raise Problem(400, f"{name} must be a string")
        if not shortest <= len(value) <= longest:
            raise Problem(422, f"{name} must have {shortest} to {longest} characters")
        breaks = "\n\r\t" if longest > _LINE_LIMIT else ""
        if any(_is_control(character) and character not in breaks for character in value):
            raise Problem(422, f"{name} has characters that are not allowed")
        return value

    def integer(self, name: str, low: int, high: int, default: Any = REQUIRED) -> Any:
        value = self._whole(name, default)
        if value is not default and not low <= value <= high:
            raise Problem(422, f"{name} must be {low} to {high}")
        return value

    def identifier(self, name: str, default: Any = REQUIRED) -> Any:
        """An id; 0, which no row has, for one that cannot exist."""
        value = self._whole(name, default)
        return value if value is default or 0 < value <= BIGINT_MAX else 0

    def _whole(self, name: str, default: Any) -> Any:
        value = self.get(name, default)
        if value is not default and (not isinstance(value, int) or isinstance(value, bool)):
            raise Problem(400, f"{name} must be an integer")
        return value

    def decimal(self, name: str, scale: int, low: str, high: str) -> Decimal:
        """A JSON number or a decimal string, with exactly `scale` decimals."""
        value = self.get(name)
        if isinstance(value, bool) or not (
            isinstance(value, int | Decimal) or (isinstance(value, str) and _DECIMAL.fullmatch(value))
        ):
            raise Problem(400, f"{name} must be a number")
        number = Decimal(value)
        if not Decimal(low) <= number <= Decimal(high):
            raise Problem(422, f"{name} must be {low} to {high}")
        exact = number.quantize(Decimal(1).scaleb(-scale))
        if exact != number:
            raise Problem(422, f"{name} must have at most {scale} decimals")
        return exact

    def choice(self, name: str, letters: Sequence[str], default: Any = REQUIRED) -> Any:
        value = self.get(name, default)
        if value is default:
            return value
        if not isinstance(value, str):
            raise Problem(400, f"{name} must be a string")
        if value not in letters:
            raise Problem(422, f"{name} must be {' or '.join(letters)}")
        return value

    def objects(self, name: str, most: int, fewest: int = 1, default: Any = REQUIRED) -> list[Fields]:
        value = self.get(name, default)
        if value is default:
            return list(value)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise Problem(400, f"{name} must be a list of objects")
        if not fewest <= len(value) <= most:
            raise Problem(422, f"{name} must have {fewest} to {most} items")
        return [Fields(item) for item in value]

    def local_time(self, name: str) -> datetime:
        """The instant of a local time that exists; in the repeated hour, the first pass."""
        value = self.get(name)
        local = parse_local(value)
        if local is None:
            raise Problem(400, f"{name} must be a local time YYYY-MM-DDTHH:MM:SS")
        if localtime.is_missing(local):
            raise Problem(422, f"{name}: local time {value} does not exist")
        return localtime.to_utc(local)

    def hour(self) -> datetime:
        """The instant of `ts` and `hour_flag` (default N), which name exactly one whole hour."""
        local = parse_local(self.get("ts"))
        if local is None:
            raise Problem(400, "ts must be a local time YYYY-MM-DDTHH:MM:SS")
        flag = self.choice("hour_flag", ("N", "A", "B"), "N")
        if local.minute or local.second:
            raise Problem(422, "ts must be a whole hour")
        try:
            return localtime.hour_to_utc(local, flag)
        except localtime.LocalTimeError as error:
            raise Problem(422, str(error)) from None


def parse_local(value: object) -> datetime | None:
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if 1900 <= parsed.year <= 9000 else None


def _is_control(character: str) -> bool:
    return character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff"
