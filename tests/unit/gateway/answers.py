"""Answers to compare."""

from __future__ import annotations

from gateway.shadow.answer import Answer


def answer(
    body: bytes | str = b"{}", status: int = 200, media_type: str = "application/json", **headers: str
) -> Answer:
    lines = [f"HTTP/1.1 {status} X", *([f"Content-Type: {media_type}"] if media_type else [])]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = ("\r\n".join(lines) + "\r\n").encode()
    return Answer(status, head, head.lower(), body.encode() if isinstance(body, str) else body)
