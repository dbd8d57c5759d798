"""A gateway that is fed by hand, in the pieces that a test chooses, before a server that h11 and llhttp read for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import h11
import msgspec

from gateway.control.table import RouteTable
from gateway.core import Gateway
from gateway.http1.downstream import Downstream
from tests.conformance.gateway import gateway_before
from tests.conformance.origin import Origin
from tests.fuzz.readers import Disagreement, H11Reader, Read, by_llhttp
from tests.integration.gateway.stage import first_table

_ANSWER = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n"
_CHANGES = re.compile(rb"(?im)^(?:x-request-id|date):[^\r]*\r\n")  # in every response anew
# What is wrong first depends on how much of it has come; that it is refused, and with which status, does not.
_DETAIL = re.compile(rb'(?<=problem\+json\r\n)Content-Length: \d+\r\n|"detail":"(?:[^"\\]|\\.)*"')
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # only for who had not sent its body when the head was read
_OWN = re.compile(rb"[0-9a-f]{12}-[0-9a-f]{8}|00-[0-9a-f]{32}-[0-9a-f]{16}-01")


class ReadingServer(asyncio.Protocol):
    """Answers every request with 200; both parsers must read it alike."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._reader = H11Reader()
        self._raw = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._raw += data
        try:
            found = self._reader.feed(data)
        except h11.RemoteProtocolError as error:
            self._wire.wrong.append(f"h11 refuses {self._raw!r}: {error}")
            self._transport.abort()
            return
        if self._reader.waiting:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if found:
            raw, self._raw = self._raw, b""
            try:
                if len(found) != 1 or self._reader.left:
                    raise Disagreement(f"more than one request in {raw!r}")
                other = by_llhttp(raw)
                if other != found[0]:
                    raise Disagreement(f"h11 reads {found[0]}, llhttp {other}")
            except Disagreement as error:
                self._wire.wrong.append(str(error))
            if found[0].target != b"/health":
                self._wire.seen += found
            self._transport.write(_ANSWER)


class HandTransport(asyncio.Transport):
    """The client's socket, without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = asyncio.Event()
        self.reading.set()
        self.ended = asyncio.get_running_loop().create_future()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.ended.done():
            self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.close()

    def close(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    abort = close

    def is_closing(self) -> bool:
        return self.ended.done()

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()


@dataclass(frozen=True, slots=True)
class Told:
    """`written`: all that went to the client, without what differs each time."""

    written: bytes
    seen: tuple[tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...], bytes], ...]


class Wire:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.seen: list[Read] = []
        self.wrong: list[str] = []  # disagreements about what the gateway sent

    async def tell(self, pieces: Sequence[bytes], within: float = 10.0) -> Told:
        """Send these pieces, then the end; wait until the gateway closes. Raises: Disagreement."""
        self.seen, self.wrong = [], []
        written = await self._play(pieces, within)
        if self.wrong:
            raise Disagreement("; ".join(self.wrong))
        seen = tuple(
            (
                read.method,
                read.target,
                tuple((n, _OWN.sub(b"-", v)) for n, v in read.headers if n != b"expect"),
                read.body,
            )
            for read in self.seen
        )
        return Told(_DETAIL.sub(b"", _CHANGES.sub(b"", written.replace(_CONTINUE, b""))), seen)

    async def ask(self, request: bytes, within: float = 10.0) -> bytes:
        """All that comes back for this, as it is. Raises: Disagreement."""
        return await self._play([request], within)

    async def _play(self, pieces: Sequence[bytes], within: float) -> bytes:
        protocol, transport = Downstream(self.gateway), HandTransport()
        protocol.connection_made(transport)
        try:
            async with asyncio.timeout(within):
                for piece in pieces:
                    await transport.reading.wait()
                    if transport.ended.done():
                        break
                    protocol.data_received(piece)
                    await asyncio.sleep(0)
                if not transport.ended.done() and not protocol.eof_received():
                    transport.close()
                await transport.ended
        except TimeoutError:
            raise Disagreement(f"{pieces!r} are not answered: {transport.written!r} up to now") from None
        protocol.connection_lost(None)
        return transport.written


@asynccontextmanager
async def wired() -> AsyncIterator[Wire]:
    origin = await Origin().start()
    async with gateway_before(origin) as gateway:
        wire = Wire(gateway)
        server = await asyncio.get_running_loop().create_server(lambda: ReadingServer(wire), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        gateway.swap(pointed_at(port))
        yield wire
        server.close()
    await origin.stop()


def pointed_at(port: int) -> RouteTable:
    """A table with this server on both sides."""
    url = f"http://127.0.0.1:{port}"
    return msgspec.structs.replace(first_table(url, url), version=2).validated()
