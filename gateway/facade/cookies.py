"""Which cookies go to which upstream: the plan's lists, compiled. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_LINES = re.compile(rb"\r\ncookie:([^\r]*)", re.IGNORECASE)

Allows = Callable[[bytes], bool]


def allowing(names: Sequence[str]) -> Allows:
    """Whether a cookie is on the list; `prefix*` stands for all that begin so."""
    exact = frozenset(name.encode() for name in names if not name.endswith("*"))
    prefixes = tuple(name[:-1].encode() for name in names if name.endswith("*"))
    return lambda name: name in exact or name.startswith(prefixes)


def filtered(head: bytes, allows: Allows) -> bytes:
    """A request's head with the allowed cookies only, byte for byte as they came; no empty Cookie stays."""

    def line(match: re.Match[bytes]) -> bytes:
        pairs = [pair.strip(b" \t") for pair in match[1].split(b";")]
        kept = [pair for pair in pairs if pair and allows(pair.partition(b"=")[0].strip(b" \t"))]
        if len(kept) == len(pairs):
            return match[0]
        return b"\r\nCookie: " + b"; ".join(kept) if kept else b""

    return _LINES.sub(line, head)
