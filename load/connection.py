"""A small HTTP/1.1 client connection: one request at a time, kept alive, cheap, so that it is not what is measured."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_HEAD = 64 * 1024  # bytes
MAX_BODY = 16 * 1024 * 1024  # bytes


class ConnectionFailed(Exception):
    """No usable answer: refused, cut off, timed out, or not HTTP. What became of the request is unknown."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; header names are lower-case, the last of equal names wins."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where a base URL points to."""

    host: str
    port: int

    @classmethod
    def of(cls, base_url: str) -> Address:
        """Raises: ValueError for anything but plain http without a path."""
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"a base URL looks like http://127.0.0.1:8000, not {base_url!r}")
        return cls(parts.hostname, parts.port or 80)


class Connection:
    """Opens when first used, and again after a failure or when the server closed it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(
        self, method: str, target: str, headers: dict[str, str], body: bytes = b"", timeout_s: float = 10.0
    ) -> Response:
        """Raises: ConnectionFailed; the connection is then closed and the next request opens a new one."""
        lines = [f"{method} {target} HTTP/1.1", f"host: {self._address.host}:{self._address.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method not in ("GET", "HEAD"):
            lines.append(f"content-length: {len(body)}")
        message = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(message, method == "HEAD")
        except TimeoutError:
            self.close()
            raise ConnectionFailed(f"no answer within {timeout_s:g} s") from None
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
            self.close()
            raise ConnectionFailed(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _exchange(self, message: bytes, head_only: bool) -> Response:
        # A server may close an idle connection at any time: look before sending, so that this is no failure.
        if self._reader is None or self._writer is None or self._reader.at_eof() or self._writer.is_closing():
            self.close()
            self._reader, self._writer = await asyncio.open_connection(
                self._address.host, self._address.port, limit=MAX_HEAD
            )
        self._writer.write(message)
        status, headers = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
        while status < 200:  # interim answers
            status, headers = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
        body = b"" if head_only or status in (204, 304) else await self._body(self._reader, headers)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Response(status, headers, body)

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return await _chunks(reader)
        if "content-length" in headers:
            length = int(headers["content-length"])
            if not 0 <= length <= MAX_BODY:
                raise ValueError(f"a body of {length} bytes")
            return await reader.readexactly(length)
        headers["connection"] = "close"  # ends with the connection
        return await reader.read(MAX_BODY)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        if len(body) + size > MAX_BODY:
            raise ValueError("a body that does not end")
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return bytes(body)


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    version, status = lines[0].split(" ", 2)[:2]
    if not version.startswith("HTTP/1."):
        raise ValueError(f"not HTTP/1: {lines[0][:80]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:-2]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(status), headers
