"""Where a request's partition key, and its client's identity, are found.

Whoever reads a key of the same request reads the same one, here and behind the gateway. So a source that could be read
in two ways (a header, a parameter or a cookie given twice with different values) names no key, and neither does one
that is too long: no source after it is asked instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes


class Head(Protocol):
    """What routing reads of a request. `head` and `low` (lower-cased) run from the method to the last header's CRLF.

    It may have `claims`, the claims of a token that was verified; a token that was not has none.
    """

    head: bytes
    low: bytes
    query: bytes


Source = Callable[[Head, Sequence[bytes]], bytes | None]
Finder = Callable[[Head, Sequence[bytes]], list[bytes]]
MAX_KEY = 512  # bytes; a longer one is no key that a plan can have meant
AMBIGUOUS = bytes((0,))  # told by identity: two values where one was expected


def source(spec: str, names: Sequence[str]) -> Source:
    """A reader for `path:x`, `query:x`, `header:x`, `cookie:x` or `jwt:x`; `names` are the template's parameters.

    It gives None for what is missing or empty, AMBIGUOUS for what has several values.
    """
    kind, _, name = spec.partition(":")
    if kind == "path":
        index = list(names).index(name)
        return lambda head, values: values[index]
    if kind == "header":
        return _header_source(name)
    find = finder(spec, names)

    def read(head: Head, values: Sequence[bytes]) -> bytes | None:
        return one_of(find(head, values))

    return read


def _header_source(name: str) -> Source:
    """The usual one, so without a detour: one search finds it, a second one that it is not there twice."""
    needle = b"\r\n" + name.lower().encode() + b":"
    skip = len(needle)

    def read(head: Head, values: Sequence[bytes]) -> bytes | None:
        low = head.low
        begin = low.find(needle) + skip
        if begin < skip:
            return None
        if low.find(needle, begin) >= 0:
            return one_of(header_values(head, needle))
        raw = head.head
        return raw[begin : raw.index(b"\r\n", begin)].strip(b" \t")

    return read


def one_of(values: Sequence[bytes]) -> bytes | None:
    if not values:
        return None
    return values[0] if all(value == values[0] for value in values) else AMBIGUOUS


def finder(spec: str, names: Sequence[str]) -> Finder:
    """As `source`, but every value that is there."""
    kind, _, name = spec.partition(":")
    wanted = name.encode()
    if kind == "path":
        index = list(names).index(name)
        return lambda head, values: [values[index]]
    if kind == "query":
        return lambda head, values: query_values(head.query, wanted)
    if kind == "header":
        needle = b"\r\n" + wanted.lower() + b":"
        return lambda head, values: header_values(head, needle)
    if kind == "jwt":
        path = name.split(".")
        return lambda head, values: claim_values(getattr(head, "claims", None), path)
    return lambda head, values: cookie_values(head, wanted)


def first_key(sources: Sequence[Source], head: Head, values: Sequence[bytes]) -> str | None:
    """The first source that is present and not empty; None when that one names no single key."""
    for read in sources:
        found = read(head, values)
        if found:
            return None if found is AMBIGUOUS or len(found) > MAX_KEY else text(found)
    return None


def text(raw: bytes) -> str:
    """UTF-8; what is none becomes U+FFFD, so that every reader counts the same bucket."""
    return raw.decode("utf-8", "replace")


def identity(raw: bytes) -> bytes:
    """The name of a client or of what it wrote, spelled the same from whatever source it comes."""
    return raw if raw.isascii() else text(raw).encode()


def header_values(head: Head, needle: bytes) -> list[bytes]:
    """Of every header of this name, in order. `needle`: CRLF, lower-case name, colon."""
    found = []
    raw, low = head.head, head.low
    at = low.find(needle)
    while at >= 0:
        begin = at + len(needle)
        found.append(raw[begin : raw.index(b"\r\n", begin)].strip(b" \t"))
        at = low.find(needle, begin)
    return found


def cookie_values(head: Head, name: bytes) -> list[bytes]:
    """RFC 6265 §5.4; several Cookie headers count as one."""
    found = []
    for jar in header_values(head, b"\r\ncookie:"):
        for pair in jar.split(b";") if name in jar else ():
            key, _, value = pair.strip(b" \t").partition(b"=")
            if key == name:
                quoted = len(value) > 1 and value[:1] == value[-1:] == b'"'
                found.append(value[1:-1] if quoted else value)
    return found


def query_values(query: bytes, name: bytes) -> list[bytes]:
    """As a form is decoded: `+` is a space, names may be percent-encoded too."""
    found = []
    for pair in query.split(b"&") if query else ():
        key, _, value = pair.partition(b"=")
        if key == name or ((b"%" in key or b"+" in key) and unquote_to_bytes(key.replace(b"+", b" ")) == name):
            found.append(unquote_to_bytes(value.replace(b"+", b" ")))
    return found


def claim_values(claims: Mapping[str, Any] | None, path: Sequence[str]) -> list[bytes]:
    """A text or a whole number of a verified token; `a.b` is b within a, unless there is a claim `a.b`."""
    if claims is None:
        return []
    found: Any = claims.get(".".join(path))
    if found is None:
        found = claims
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    return [found.encode("utf-8", "replace")] if isinstance(found, str) else []
