"""Types of v2 bodies: what a field may hold, said once, checked by msgspec, shown in the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from services.chassis.errors import Problem

# Postgres bigint.
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339, with an offset; answers are UTC")]
Amount = Annotated[Decimal, Meta(description="a decimal number in a string", extra_json_schema={"type": "string"})]

PAGE = 100
LONGEST_PAGE = 1000


def at_scale(value: Decimal, digits: int, scale: int, name: str) -> Decimal:
    """`value` if it fits numeric(digits, scale) without rounding.

    Raises: Problem 422, since a number that was rounded on the way in is not what the caller sent.
    """
    if not value.is_finite():
        raise Problem(422, f"{name} is not a number")
    exponent = value.normalize().as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > scale or abs(value) >= Decimal(10) ** (digits - scale):
        raise Problem(422, f"{name} has at most {digits - scale} digits before and {scale} after the point")
    return value
