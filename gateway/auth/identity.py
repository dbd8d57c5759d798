"""Who calls, as one side found out, and what follows when nobody could."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

NO_LINES: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """`kind` and `subject` name the caller (`customer`, `7`). `lines`: headers for upstreams that believe us."""

    kind: str
    subject: str
    by: str  # the issuer, or the upstream that knew the session
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False)
    lines: tuple[tuple[bytes, bytes], ...] = NO_LINES


class Doubt(Enum):
    """Why there is no identity."""

    NOBODY = "no credential that we know"
    UNASKED = "has to be asked first"
    AWAY = "who could tell does not answer"
    FALSE = "the credential is not valid"


def subject_of(claims: Mapping[str, Any], name: str) -> str | None:
    """The claim as text; None unless it is a short printable string or a number."""
    found = claims.get(name)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    text = str(found)
    return text if text and len(text) <= 200 and text.isascii() and text.isprintable() else None


def lines_of(claims: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that claims fill; a claim that is missing, or no short plain value, fills none."""
    found = ((header, subject_of(claims, claim)) for header, claim in headers.items())
    return tuple((header.encode(), value.encode()) for header, value in found if value is not None)
