"""Where backends live, as bytes to look for, and what clients are told instead. Pure.

A place is found as an absolute URL (`http://legacy:5000/x`), without scheme (`//legacy:5000/x`), with JSON's escaped
slashes, or percent-encoded inside another URL's query (the `redirect_uri` of a login).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from gateway.control.table import RouteTable

# A client may send more as Host than is safe to write into a document (quotes, for one).
_SAFE_AUTHORITY = re.compile(rb"[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_NOWHERE = re.compile(rb"(?!)")


@dataclass(frozen=True, slots=True)
class Public:
    """What a client calls us. `authority` empty: it did not say, and links to us are written without a host."""

    scheme: bytes
    authority: bytes

    @property
    def origin(self) -> bytes:
        return self.scheme + b"://" + self.authority if self.authority else b""

    @property
    def host(self) -> bytes:
        """Without the port, lower-case."""
        host = self.authority.lower()
        return host[: host.index(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]


def public_of(host: bytes, scheme: bytes) -> Public:
    return Public(scheme, host if _SAFE_AUTHORITY.fullmatch(host) else b"")


def public_from(origin: str) -> Public:
    parts = urlsplit(origin)
    return Public(parts.scheme.encode(), parts.netloc.encode())


class Places:
    """The backends of one table."""

    def __init__(self, table: RouteTable) -> None:
        exact, ports = set(), set()
        for upstream in table.upstreams.values():
            for url in upstream.urls:
                parts = urlsplit(url)
                exact.add(parts.netloc)
                exact.add(parts.netloc.removesuffix(f":{parts.port}"))
                if parts.port is not None:
                    ports.add(b":%d" % parts.port)
        names = set(table.facade.hosts) if table.facade is not None else set()
        self._ports = ports
        self._found = _pattern(sorted(exact | names, key=len, reverse=True), names)

    def hidden(self, text: bytes, public: Public) -> bytes:
        """The same text with every place of a backend replaced by ours."""

        def replace(match: re.Match[bytes]) -> bytes:
            scheme, slash = match["scheme"], match["slash"]
            if match["authority"].lower() == public.authority.lower():
                return match[0]
            if slash[:1] == b"%":
                there = public.origin if scheme else public.origin.partition(b":")[2]
                return quote(there, safe="").encode() or (b"" if match["after"] else slash[:3])
            if not public.authority:
                return b"" if match["after"] else slash[: len(slash) // 2]
            plain = public.origin if scheme else b"//" + public.authority
            return plain.replace(b"/", b"\\/") if slash[:1] == b"\\" else plain

        return self._found.sub(replace, text)

    def ours(self, url: bytes, public: Public) -> bytes:
        """A link to us by a server that was wrong about our scheme (TLS ends before it) or port (it named its own)."""
        if not public.authority or url[:7].lower() != b"http://":
            return url
        authority, slash, rest = url[7:].partition(b"/")
        low = authority.lower()
        if low == public.authority.lower() and public.scheme == b"https":
            return b"https://" + authority + slash + rest
        if low.startswith(public.host) and low != public.authority.lower() and low[len(public.host) :] in self._ports:
            return public.origin + slash + rest
        return url


def _pattern(authorities: list[str], any_port: set[str]) -> re.Pattern[bytes]:
    if not authorities:
        return _NOWHERE
    known = [
        re.escape(name) + (r"(?:(?::|%3a)\d{1,5})?" if name in any_port and ":" not in name.rpartition("]")[2] else "")
        for name in authorities
    ]
    encoded = [name.replace(":", "(?::|%3a)") if ":" in name and "(" not in name else name for name in known]
    text = (
        r"(?:(?<![A-Za-z0-9])(?P<scheme>https?(?::|%3a))|(?<![A-Za-z0-9:/\\._%-]))"
        r"(?P<slash>//|\\/\\/|%2f%2f)(?:[^/@\s\"'<>]{1,100}@)?(?P<authority>" + "|".join(encoded) + r")"
        r"(?![A-Za-z0-9._:@-]|%3a|%40)(?=(?P<after>/|\\/|%2f)?)"
    )
    return re.compile(text.encode(), re.IGNORECASE)
