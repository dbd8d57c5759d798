"""A small real server that does what a test tells it to: answers, waits, dies midway, closes idle connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Seen:
    """A request as it arrived; `head` is raw."""

    line: str
    head: bytes
    headers: dict[str, str]
    body: bytes

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]


class HangUp(Exception):
    """Raised by a handler to break the connection off."""


Handler = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def response(status: int = 200, body: bytes = b"{}", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def echo(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(response(body=seen.body or b"{}"))


def answering(status: int = 200, body: bytes = b"{}", **headers: str) -> Handler:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(status, body, **headers))

    return handler


def misdirected(owner: str, wave: str = "shop/0") -> Handler:
    """As the guard of a database that is not the owner's makes its server answer."""
    return answering(421, Banyan_Owner=owner, Banyan_Epoch="4", Banyan_Wave=wave)


async def hang(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.Event().wait()


@dataclass
class Upstream:
    """`handler` may be exchanged at any time; `/health` always answers 200 unless `sick`."""

    handler: Handler = echo
    sick: bool = False
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def kill(self) -> None:
        """As by kill -9: connections break, the port refuses."""
        if self._server is not None:
            self._server.close()
        self.hang_up()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        """Close every connection from our end."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        counted = False
        try:
            while True:
                seen = await read_request(reader)
                if seen.target == "/health":
                    writer.write(response(503 if self.sick else 200))
                else:
                    self.connections += not counted
                    counted = True
                    self.seen.append(seen)
                    await self.handler(seen, writer)
                await writer.drain()
        except (HangUp, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Seen:
    head = await reader.readuntil(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in lines)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
    elif length := int(headers.get("content-length", "0")):
        body = await reader.readexactly(length)
    return Seen(line, head, headers, body)
