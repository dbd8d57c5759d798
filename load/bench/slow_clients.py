"""Thousands of clients that drip, or do not read: `python -m load.bench.slow_clients PORT CONNECTIONS`.

Prints a JSON object when nine in ten are open, and another one, what became of them, after its standard input closed
and the last was cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import uvloop

from load.bench.wire import request

DRIP_SECONDS = 0.5  # about: they are strangers to each other
BACK_SECONDS = 3.0
LAST_SECONDS = 60.0  # for the last one to be cut off
HEAD = b"GET /items HTTP/1.1\r\nHost: a\r\n"
BODY = b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
KINDS = {"head": (HEAD, b"X"), "body": (BODY, b"x"), "deaf": (request("GET", "/endless"), b"")}


class Told(msgspec.Struct, frozen=True):
    open: int
    most_open: int
    cut_off: dict[str, int]


@dataclass(slots=True)
class Slow:
    """The slow ones: each keeps its place until it is cut off, and then takes another."""

    port: int
    cut_off: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    open: int = 0
    most_open: int = 0
    stopping: bool = False

    async def one(self, kind: str) -> None:
        first, drop = KINDS[kind]
        while not self.stopping:
            try:
                reader, writer = await self._connect()
            except OSError:
                await asyncio.sleep(DRIP_SECONDS)
                continue
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            state = select.poll()  # tells of an end even to who does not read
            state.register(writer.get_extra_info("socket").fileno(), 0)
            with contextlib.suppress(OSError, RuntimeError):
                writer.write(first)
                while not (state.poll(0) or reader.at_eof() or self._refused(reader, kind)):
                    if drop:
                        writer.write(drop)
                    await asyncio.sleep(DRIP_SECONDS * random.uniform(0.5, 1.5))
            self.open -= 1
            self.cut_off[kind] += 1
            writer.transport.abort()
            if kind == "deaf" and not self.stopping:  # what it does not read costs its server more than the gateway
                await asyncio.sleep(BACK_SECONDS)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock, limit=1024)

    @staticmethod
    def _refused(reader: asyncio.StreamReader, kind: str) -> bool:
        """A 408 has come, or what the deaf were to be fed could not be had."""
        heard = bytes(reader._buffer[:12])  # type: ignore[attr-defined]
        return heard[9:12] >= b"500" if kind == "deaf" else bool(heard)

    def tell(self) -> None:
        print(msgspec.json.encode(Told(self.open, self.most_open, self.cut_off)).decode(), flush=True)


async def attack(port: int, connections: int) -> None:
    """Raises: TimeoutError when a slow one is never cut off."""
    slow = Slow(port)
    order: Sequence[str] = ["head", "body", "head", "body", "deaf"]
    tasks = []
    for n in range(connections):
        tasks.append(asyncio.create_task(slow.one(order[n % len(order)])))
        if n % 50 == 49:
            await asyncio.sleep(0.02)  # they come quickly, but not faster than any listener can accept
    while slow.most_open < connections * 0.9:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    slow.tell()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    slow.stopping = True
    async with asyncio.timeout(LAST_SECONDS):
        await asyncio.gather(*tasks)
    slow.tell()


if __name__ == "__main__":
    uvloop.run(attack(int(sys.argv[1]), int(sys.argv[2])))
