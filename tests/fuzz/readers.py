"""How two other parsers, h11 and llhttp, read what the gateway was sent and what it sends."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import h11
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

MOST = 1 << 17  # bytes of a head


class Disagreement(AssertionError):
    """Two parsers do not read the same."""


@dataclass(slots=True)
class Read:
    """One request; names of headers are in lower case, trailers come last among them."""

    method: bytes = b""
    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


class H11Reader:
    """A server's end: says when a request is complete. `waiting`: its client wants a 100 first."""

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST)
        self._now = Read()

    def feed(self, data: bytes) -> list[Read]:
        """The requests that this completes, each taken as answered. Raises: h11.RemoteProtocolError."""
        self._connection.receive_data(data)
        found = []
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Request):
                self._now = Read(event.method, event.target, [(n.lower(), v) for n, v in event.headers])
            elif isinstance(event, h11.Data):
                self._now.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._now.headers += [(n.lower(), v) for n, v in event.headers]
                found.append(self._now)
                self._answer()
                if self._connection.our_state is not h11.IDLE:
                    return found
            else:
                return found

    @property
    def waiting(self) -> bool:
        return self._connection.they_are_waiting_for_100_continue

    @property
    def left(self) -> bytes:
        return self._connection.trailing_data[0]

    def _answer(self) -> None:
        self._connection.send(h11.Response(status_code=400, headers=[("Content-Length", "0")]))
        self._connection.send(h11.EndOfMessage())
        with contextlib.suppress(h11.LocalProtocolError):
            self._connection.start_next_cycle()


class _Callbacks:
    def __init__(self) -> None:
        self.read = Read()
        self.complete = 0

    def on_url(self, url: bytes) -> None:
        self.read.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.read.headers.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.read.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def by_llhttp(data: bytes) -> Read:
    """Exactly one request. Raises: Disagreement."""
    callbacks = _Callbacks()
    parser = HttpRequestParser(callbacks)
    try:
        parser.feed_data(data)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise Disagreement(f"llhttp refuses {data!r}: {error}") from None
    if callbacks.complete != 1:
        raise Disagreement(f"llhttp sees {callbacks.complete} requests in {data!r}")
    callbacks.read.method = parser.get_method()
    return callbacks.read


def requests_in(data: bytes) -> list[Read]:
    """As h11 reads a client's bytes, up to what it refuses; the empty lines of RFC 9112 §2.2 are not shown to it."""
    reader, found = H11Reader(), []
    at, between = 0, True
    with contextlib.suppress(h11.RemoteProtocolError):
        while at < len(data):  # byte by byte, so that a refusal does not hide what came before it
            if between and data[at : at + 2] == b"\r\n":
                at += 2
                continue
            more = reader.feed(data[at : at + 1])
            between = bool(more)
            found += more
            at += 1
    return found
