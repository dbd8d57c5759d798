"""python -m tests.fuzz.answers [--seconds N] [--seed S]: can an answer be read in two ways behind the gateway?

Answers in good and bad form are broken at random. What reaches the client must be read alike by h11 and llhttp; what
looks whole there must be what h11 reads in the upstream's own bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import h11
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tests.conformance.cases.answers import ANSWERS
from tests.conformance.gateway import gateway_before
from tests.conformance.loop import run
from tests.conformance.origin import Origin
from tests.fuzz.framing import broken, split
from tests.fuzz.readers import MOST, Disagreement
from tests.fuzz.wire import Wire, pointed_at

_SEEDS = [case.answer.data for case in ANSWERS if len(case.answer.data) < 2000]
# h11 refuses an answer whose trailers speak of framing; the gateway leaves such trailers out.
_TRAILERS = re.compile(rb"(\r\n0+(?:;[^\r\n]*)?\r\n)(?:[^\r\n]+\r\n)+\r\n")
_REQUEST = b"POST /fuzz HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\nContent-Length: 0\r\n\r\n"


class Answering(asyncio.Protocol):
    """Says the pieces it was given, each in a write of its own, and closes."""

    pieces: list[bytes]
    speaking = 0  # connections on which something is still to be said

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /health"):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            Answering.speaking += 1
            self._say(list(Answering.pieces))

    def _say(self, left: list[bytes]) -> None:
        if not left or self._transport.is_closing():
            Answering.speaking -= 1
            self._transport.close()
            return
        self._transport.write(left.pop(0))
        asyncio.get_running_loop().call_soon(self._say, left)


def by_h11(data: bytes) -> tuple[int, bytes, bool]:
    """(status, body, whole); status 0 when it is refused."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        connection.receive_data(data)
        ended = False
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, body, True
            elif event is h11.NEED_DATA and not ended:
                ended = True
                connection.receive_data(b"")
            elif not isinstance(event, h11.InformationalResponse):
                return status, body, False
    except h11.RemoteProtocolError:
        return status, body, False


class _Callbacks:
    def __init__(self) -> None:
        self.body, self.complete = b"", 0

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def by_llhttp(data: bytes) -> tuple[int, bytes, bool]:
    """Of what a client got, after its 1xx. Raises: Disagreement when it is refused."""
    while data.startswith(b"HTTP/1.1 1") and b"\r\n\r\n" in data:
        data = data.partition(b"\r\n\r\n")[2]
    callbacks = _Callbacks()
    parser = HttpResponseParser(callbacks)
    with contextlib.suppress(HttpParserUpgrade):
        try:
            parser.feed_data(data)
        except HttpParserError as error:
            raise Disagreement(f"llhttp refuses {data!r}: {error}") from None
    if callbacks.complete > 1:
        raise Disagreement(f"llhttp sees {callbacks.complete} answers in {data!r}")
    return parser.get_status_code() if data else 0, callbacks.body, callbacks.complete == 1


async def check(wire: Wire, data: bytes, pieces: list[bytes]) -> int:
    """The status that the client got of an upstream that says this; 0: none. Raises: Disagreement."""
    Answering.pieces = pieces
    written = await wire.ask(_REQUEST)
    async with asyncio.timeout(10):
        while Answering.speaking:  # what is said too late on a kept connection passes for the next answer everywhere
            await asyncio.sleep(0.001)
    ours = by_h11(written)
    other = by_llhttp(written)
    if ours != other:
        raise Disagreement(f"of {data!r} the client gets {written!r}: h11 reads {ours}, llhttp {other}")
    status, body, whole = ours
    if whole and b"application/problem+json" not in written:
        theirs = by_h11(data)
        if theirs != ours and by_h11(_TRAILERS.sub(rb"\1\r\n", data)) != ours:
            raise Disagreement(f"of {data!r} h11 reads {theirs}, behind the gateway {ours}")
    return status


@asynccontextmanager
async def answering() -> AsyncIterator[Wire]:
    origin = await Origin().start()
    async with gateway_before(origin) as gateway:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
        gateway.swap(pointed_at(server.sockets[0].getsockname()[1]))
        yield Wire(gateway)
        server.close()
    await origin.stop()


async def fuzz(seconds: float, seed: int) -> tuple[int, int]:
    """(answers tried, passed on). Raises: Disagreement."""
    rng = random.Random(seed)
    tried = through = 0
    until = time.monotonic() + seconds
    async with answering() as wire:
        while time.monotonic() < until:
            data = broken(bytearray(rng.choice(_SEEDS)), _SEEDS, rng)
            tried += 1
            through += await check(wire, data, split(data, rng) if data else []) not in (0, 502)
    return tried, through


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.answers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    try:
        tried, through = run(fuzz(arguments.seconds, seed))
    except Disagreement as error:
        print(f"found: {error}")
        return 1
    print(f"{tried} answers, {through} passed on, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
