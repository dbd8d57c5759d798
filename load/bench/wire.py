"""A small strict HTTP/1.1 client that sees what libraries hide: whose answer it is, and what is cut short."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


class Garbled(Exception):
    """What came is not a response at all."""


@dataclass(slots=True)
class Answer:
    """`whole` is False when the connection ended first. `status` 0: it ended before the head was complete."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def keeps_connection(self) -> bool:
        return self.whole and "close" not in self.headers.get("connection", "")


def request(method: str, path: str, body: bytes = b"", chunks: int = 0, **headers: str) -> bytes:
    """`chunks`: send the body chunked, in so many pieces."""
    lines = [f"{method} {path} HTTP/1.1", "Host: shop"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if chunks:
        lines.append("Transfer-Encoding: chunked")
        size = max(1, -(-len(body) // chunks))
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    """The next final response. Raises: Garbled."""
    answer = Answer()
    try:
        while answer.status < 200:
            answer = _head(await reader.readuntil(b"\r\n\r\n"))
        await _body(reader, method, answer)
    except (asyncio.IncompleteReadError, ConnectionError):
        answer.whole = False
    return answer


def _head(data: bytes) -> Answer:
    line, *lines = data.decode("latin-1").split("\r\n")[:-2]
    version, _, rest = line.partition(" ")
    if version != "HTTP/1.1" or not rest[:3].isdigit():
        raise Garbled(f"not a status line: {line[:80]!r}")
    pairs = (item.partition(":") for item in lines)
    return Answer(int(rest[:3]), {name.lower(): value.strip() for name, _, value in pairs})


async def _body(reader: asyncio.StreamReader, method: str, answer: Answer) -> None:
    headers = answer.headers
    if method == "HEAD" or answer.status in (204, 304):
        pass
    elif headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0].strip(), 16):
            answer.body += (await reader.readexactly(size + 2))[:-2]
        while (await reader.readuntil(b"\r\n")) != b"\r\n":
            pass
    elif "content-length" in headers:
        answer.body = await reader.readexactly(int(headers["content-length"]))
    else:
        answer.body = await reader.read()
    answer.whole = True
