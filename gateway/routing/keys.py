"""Where a request's partition key, and its client's identity, are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import unquote_to_bytes


class Head(Protocol):
    """What routing reads of a request."""

    query: bytes

    def header(self, name: bytes) -> bytes | None: ...

    def cookie(self, name: bytes) -> bytes | None: ...


Source = Callable[[Head, Sequence[bytes]], bytes | None]
MAX_KEY = 512  # bytes; a longer one is no key that a plan can have meant


def source(spec: str, names: Sequence[str]) -> Source:
    """A reader for `path:x`, `query:x`, `header:x` or `cookie:x`; `names` are the template's parameters in order."""
    kind, _, name = spec.partition(":")
    wanted = name.lower().encode() if kind == "header" else name.encode()
    if kind == "path":
        index = list(names).index(name)
        return lambda head, values: values[index]
    if kind == "query":
        return lambda head, values: query_value(head.query, wanted)
    if kind == "header":
        return lambda head, values: head.header(wanted)
    return lambda head, values: head.cookie(wanted)


def first_key(sources: Sequence[Source], head: Head, values: Sequence[bytes]) -> str | None:
    """The first source that is present and not empty."""
    for read in sources:
        found = read(head, values)
        if found and len(found) <= MAX_KEY:
            return found.decode("utf-8", "replace")
    return None


def query_value(query: bytes, name: bytes) -> bytes | None:
    for pair in query.split(b"&") if query else ():
        key, _, value = pair.partition(b"=")
        if key == name or (b"%" in key and unquote_to_bytes(key) == name):
            return unquote_to_bytes(value.replace(b"+", b" "))
    return None
