"""Headers are looked up in the raw bytes and never turned into objects.

A head that llhttp has accepted has CRLF only at the ends of lines and no white space before a colon, so `\\r\\nname:`
finds exactly the header of that name.
"""

from __future__ import annotations


class Malformed(Exception):
    """A message that must not be passed on. `status` is what the client is told; its connection is closed."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail)


def value_of(head: bytes, low: bytes, name: bytes) -> bytes | None:
    """The value of the first header of this (lower-case) name."""
    at = low.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    begin = at + len(name) + 3
    return head[begin : head.index(b"\r\n", begin)].strip(b" \t")


def all_values(head: bytes, low: bytes, name: bytes) -> list[bytes]:
    """The values of every header of this name, in order."""
    found = []
    needle = b"\r\n" + name + b":"
    at = low.find(needle)
    while at >= 0:
        begin = at + len(needle)
        found.append(head[begin : head.index(b"\r\n", begin)].strip(b" \t"))
        at = low.find(needle, begin)
    return found
