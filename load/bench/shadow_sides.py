"""A side for `banyan bench shadow`: `python -m load.bench.shadow_sides PORT legacy|well|slow|lying SECONDS`.

legacy and well answer at once. slow: after SECONDS. lying: at once, another lie each time; but all are healthy.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

import httptools
import uvloop

ROWS = 12
TRUTH = json.dumps([{"hour": hour, "price": f"0.{hour:04}", "zone": "NL"} for hour in range(ROWS)]).encode()


def packed(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def lie(number: int) -> bytes:
    return json.dumps(
        [{"hour": hour, "price": f"{number}.{hour}", f"x{number}": hour} for hour in range(ROWS)]
    ).encode()


class Side(asyncio.Protocol):
    numbers = itertools.count()

    def __init__(self, kind: str, seconds: float) -> None:
        self._kind = kind
        self._seconds = seconds
        self._target = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self._target = url

    def on_message_complete(self) -> None:
        copied = self._target != b"/health"
        body = lie(next(self.numbers)) if copied and self._kind == "lying" else TRUTH
        late = self._seconds if copied and self._kind == "slow" else 0.0
        asyncio.get_running_loop().call_later(late, self._answer, packed(body))

    def _answer(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)


async def main(port: int, kind: str, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Side(kind, seconds), "127.0.0.1", port, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until whoever started us is gone


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
