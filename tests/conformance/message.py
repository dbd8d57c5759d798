"""A plain reader of HTTP/1.1 messages for both ends of the suite; it takes nothing that is not in good form."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field


class BadForm(Exception):
    """Not a message."""


@dataclass(slots=True)
class Message:
    """`whole`: all of its body came."""

    line: str
    fields: list[tuple[str, str]]
    raw: bytes = b""
    body: bytes = b""
    trailers: tuple[str, ...] = ()
    whole: bool = True
    early: list[int] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        values = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(values) if values else None

    @property
    def status(self) -> int:
        try:
            return int(self.line.split(" ")[1])
        except (IndexError, ValueError):
            raise BadForm(f"not a status line: {self.line[:80]!r}") from None


async def read_head(reader: asyncio.StreamReader) -> Message | None:
    """None: the other end has left. Raises: BadForm."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BadForm(f"half a head: {error.partial[:80]!r}") from None
        return None
    if head.count(b"\n") != head.count(b"\r\n") or b"\0" in head:
        raise BadForm("a bare LF or a NUL")
    line, *lines = head.decode("latin-1").split("\r\n")[:-2]
    fields = []
    for one in lines:
        name, colon, value = one.partition(":")
        if not colon or not name or name != name.strip():
            raise BadForm(f"not a header: {one!r}")
        fields.append((name.lower(), value.strip(" \t")))
    return Message(line, fields, head)


async def read_body(reader: asyncio.StreamReader, message: Message, *, until_close: bool) -> None:
    """Fills in body, trailers and whole. Raises: BadForm."""
    coding, length = message.get("transfer-encoding"), message.get("content-length")
    if coding is not None and (coding != "chunked" or length is not None):
        raise BadForm(f"Transfer-Encoding {coding!r}, Content-Length {length!r}")
    message.whole = False  # until then
    try:
        if coding is not None:
            await _read_chunks(reader, message)
        elif length is not None:
            if not length.isdigit():
                raise BadForm(f"Content-Length {length!r}")
            message.body = await reader.readexactly(int(length))
        elif until_close:
            message.body = await reader.read()
        message.whole = True
    except asyncio.IncompleteReadError as error:
        message.body += error.partial
    except ConnectionError:
        pass


async def _read_chunks(reader: asyncio.StreamReader, message: Message) -> None:
    while size := int((await _line(reader)).split(b";")[0], 16):
        message.body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise BadForm("a chunk longer than it says")
    trailers = []
    while line := await _line(reader):
        trailers.append(line.decode("latin-1"))
    message.trailers = tuple(trailers)


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\r\n"):
        raise asyncio.IncompleteReadError(line, None)
    return line[:-2]


async def read_response(reader: asyncio.StreamReader, *, head: bool) -> Message | None:
    """The next final response, with the 1xx before it. None: the gateway closed instead. Raises: BadForm."""
    early: list[int] = []
    while True:
        with contextlib.suppress(ConnectionError):
            message = await read_head(reader)
            if message is None:
                return None
            status = message.status
            if status < 200 and status != 101:
                early.append(status)
                continue
            message.early = early
            if not head and status not in (101, 204, 304):
                await read_body(reader, message, until_close=True)
            return message
        return None
