"""W3C Trace Context: a request without a valid traceparent begins a trace of its own (§3.2, §4.2)."""

from __future__ import annotations

import re
from random import getrandbits

# Lower-case digits; version ff and identifiers of zeros only are invalid; a later version may say more at the end.
_VALID = re.compile(
    rb"\r\n(?i:traceparent):[ \t]*(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    rb"|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?)[ \t]*\r\n"
)
_GIVEN = re.compile(rb"\r\n(?:traceparent|tracestate):[^\r]*", re.IGNORECASE)


def new_traceparent() -> bytes:
    """A header line."""
    return b"traceparent: 00-%032x-%016x-01\r\n" % (getrandbits(128) or 1, getrandbits(64) or 1)


def is_valid(head: bytes, low: bytes) -> bool:
    """Of a head that has a traceparent: is it one, and the only one?"""
    return low.count(b"\r\ntraceparent:") == 1 and _VALID.search(head) is not None


def without_trace(headers: bytes) -> bytes:
    """tracestate goes with the traceparent that it belongs to."""
    return _GIVEN.sub(b"", headers)
