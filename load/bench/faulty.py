"""A server that misbehaves as it is told: each request names its fault (`load.bench.faults`).

`X-Fault` and `X-Id` of the request say what goes wrong and whose answer it is, `X-Size` how often the answer's body
repeats the id. `python -m load.bench.faulty PORT` serves until its standard input closes.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import sys
from dataclasses import dataclass, field

import uvloop

from load.bench.faults import FAULTS, Asked, Close, Reset, early_answer, early_answer_and_close

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


@dataclass
class Faulty:
    """`refusing`: closes every connection as soon as it is made. `forced`: the fault of all requests."""

    port: int = 0
    refusing: bool = False
    forced: str | None = None
    seen: list[str] = field(default_factory=list)  # ids, in order; for tests
    open: int = 0
    made: int = 0
    keep_seen: bool = True
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Faulty:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 16, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.made += 1
        try:
            while not self.refusing:
                await self._one(reader, writer)
                await writer.drain()
        except Reset:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        except (Close, OSError, RuntimeError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in lines)}
        asked = Asked(line.split(" ")[0], headers, reader.at_eof)
        if line.split(" ")[1] == "/health":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        if line.split(" ")[1] == "/endless":  # for those who do not read
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not writer.transport.is_closing():
                writer.write(b"z" * 65536)
                await writer.drain()
            raise Close
        if self.keep_seen:
            self.seen.append(asked.id)
        act = FAULTS[self.forced or asked.fault]
        if act is early_answer:
            await act(asked, writer)
            await writer.drain()
            await read_body(reader, headers)
        elif act is early_answer_and_close:
            await act(asked, writer)
        else:
            asked.digest = await read_body(reader, headers)
            await act(asked, writer)


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> str:
    """Its digest; nothing is kept."""
    digest = hashlib.sha1(usedforsecurity=False)
    if headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).strip(), 16):
            digest.update(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readline()
    left = int(headers.get("content-length", "0"))
    while left:
        piece = await reader.read(min(left, 1 << 16))
        if not piece:
            raise Close
        left -= len(piece)
        digest.update(piece)
    return digest.hexdigest()


async def main(port: int) -> None:
    server = await Faulty(port, keep_seen=False).start()
    print(server.port, flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
