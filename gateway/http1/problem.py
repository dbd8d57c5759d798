"""The gateway's own answers: problem+json (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from gateway.http1.date import date_line


def problem(status: int, detail: str, *, extra: bytes = b"", close: bool = False, bodiless: bool = False) -> bytes:
    """A whole response. `extra` is header lines, each with its CRLF; `bodiless` for HEAD."""
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n%b%b%b\r\n%b" % (
        status,
        title.encode(),
        len(body),
        date_line(),
        extra,
        b"Connection: close\r\n" if close else b"",
        b"" if bodiless else body,
    )
