"""Who a request came from, told to the upstream: X-Forwarded-*, Forwarded (RFC 7239) and Via (RFC 9110 §7.6.3).

What a client says of this is thrown away, unless it is a proxy that the settings trust (GATEWAY_TRUSTED_HOPS): of the
lists only the newest entries are kept, as many as there are trusted proxies, since each has written one of them.
"""

from __future__ import annotations

import re

from gateway.http1.head import HOST, Request
from gateway.http1.lines import all_values
from gateway.http1.special import PSEUDONYM

_NODE = re.compile(rb"[0-9A-Za-z.:_\[\]-]{1,64}")
_PAIR = rb"[!#-'*+.^-z|~0-9A-Z-]+=(?:[!#-'*+.^-z|~0-9A-Z-]+|\"(?:[^\"\\]|\\.)*\")"
_ELEMENT = re.compile(rb"[ \t]*(" + _PAIR + rb"(?:;" + _PAIR + rb")*)[ \t]*(?:,|$)")
# What a trusted proxy says beside the three that are made anew.
_PASSED_ON = tuple(
    b"x-forwarded-port x-forwarded-prefix x-forwarded-server x-forwarded-ssl x-forwarded-scheme x-real-ip".split()
)


class Hops:
    """Of one client's connection; `scheme` is what it was made with, `trusted` how many proxies before us are."""

    __slots__ = ("_host", "_lines", "_node", "_peer", "_trusted", "scheme")

    def __init__(self, peer: bytes, scheme: bytes, trusted: int) -> None:
        self._peer = peer.partition(b"%")[0]  # without an IPv6 zone, which means nothing elsewhere
        self._node = b'"[%b]"' % self._peer if b":" in self._peer else self._peer
        self.scheme = scheme
        self._trusted = trusted
        self._host: bytes | None = None
        self._lines = b""

    def lines(self, request: Request) -> bytes:
        """Header lines."""
        if request.special and request.forwarded:
            return self._after_proxies(request)
        host = request.host
        if host == self._host and request.v11:
            return self._lines  # nearly all requests of a connection are for one host
        lines = self._made([self._peer], self.scheme, host, [self._element(host)], request.v11)
        if request.v11:
            self._host, self._lines = host, lines
        return lines

    def _element(self, host: bytes) -> bytes:
        named = b';host="%b"' % host if host else b""
        return b"for=%b%b;proto=%b" % (self._node, named, self.scheme)

    def _made(self, peers: list[bytes], scheme: bytes, host: bytes, elements: list[bytes], v11: bool) -> bytes:
        return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n%bForwarded: %b\r\nVia: 1.%d %b\r\n" % (
            b", ".join(peers),
            scheme,
            b"X-Forwarded-Host: %b\r\n" % host if host else b"",
            b", ".join(elements),
            v11,
            PSEUDONYM,
        )

    def _after_proxies(self, request: Request) -> bytes:
        head, low, trusted = request.head, request.low, self._trusted
        if not trusted:
            return self._made([self._peer], self.scheme, request.host, [self._element(request.host)], request.v11)
        peers = [entry if _NODE.fullmatch(entry) else b"unknown" for entry in _entries(request, b"x-forwarded-for")]
        scheme = _nth_newest(_entries(request, b"x-forwarded-proto"), trusted).lower()
        host = _nth_newest(_entries(request, b"x-forwarded-host"), trusted)
        lines = self._made(
            [*peers[-trusted:], self._peer],
            scheme if scheme in (b"http", b"https") else self.scheme,
            host if HOST.fullmatch(host) else request.host,
            [*_elements(request)[-trusted:], self._element(request.host)],
            request.v11,
        )
        for name in _PASSED_ON:
            for value in all_values(head, low, name):
                lines += b"%b: %b\r\n" % (name, value)
        return lines


def _entries(request: Request, name: bytes) -> list[bytes]:
    lists = all_values(request.head, request.low, name)
    return [entry.strip(b" \t") for line in lists for entry in line.split(b",") if entry.strip(b" \t")]


def _nth_newest(entries: list[bytes], n: int) -> bytes:
    return entries[-min(n, len(entries))] if entries else b""


def _elements(request: Request) -> list[bytes]:
    """RFC 7239 §4; none at all when a part is malformed, since then nobody knows where an element ends."""
    line = b",".join(all_values(request.head, request.low, b"forwarded"))
    found: list[bytes] = []
    at = 0
    while at < len(line):
        match = _ELEMENT.match(line, at)
        if match is None:
            return []
        found.append(match[1])
        at = match.end()
    return found
