"""The Date of responses that came without one (RFC 9110 §6.6.1)."""

from __future__ import annotations

from email.utils import formatdate
from time import time

_made = (0, b"")


def date_line() -> bytes:
    """A header line; made anew once a second."""
    global _made
    now = int(time())
    if _made[0] != now:
        _made = (now, b"Date: %b\r\n" % formatdate(now, usegmt=True).encode())
    return _made[1]
