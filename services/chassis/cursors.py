"""Opaque cursors of the v2 lists: the last key that was seen, in URL-safe base64."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from services.chassis.errors import Problem

T = TypeVar("T")


def encode(key: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode(cursor: str, type_: type[T]) -> T:
    """Raises: Problem 400 for a cursor that no answer of ours held."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=type_)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise Problem(400, "the cursor is not one that this list gave; leave it out to start again") from None
