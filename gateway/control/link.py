"""The control link of a worker: a Unix-domain socket, one JSON message per line, one answer to each.

A message may also subscribe: from then on that connection carries lines until the subscriber closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec

LONGEST_LINE = 16 * 1024 * 1024
PIECE = 64 * 1024  # bytes of a subscription that are read at once

Message = dict[str, Any]


class LinkDown(Exception):
    """The other end is not there, or does not answer in time."""


Subscription = AsyncGenerator[bytes, None]


async def listen(
    path: Path,
    answer: Callable[[Message], Message],
    subscribe: Callable[[Message], Subscription | None] = lambda _: None,
) -> asyncio.AbstractServer:
    """Serve `answer` at `path`; only this user may connect. `subscribe`: None when the message is a question."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                message = msgspec.json.decode(line)
                if (subscription := subscribe(message)) is not None:
                    await _supply(subscription, reader, writer)
                    break
                writer.write(msgspec.json.encode(answer(message)) + b"\n")
                await writer.drain()
        except (OSError, ValueError, msgspec.DecodeError):
            pass  # a link that talks nonsense is closed
        except asyncio.CancelledError:
            pass  # our process ends; asyncio would print that this task was cancelled
        finally:
            writer.close()

    make_way(path)
    old_mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(serve, path, limit=LONGEST_LINE)
    finally:
        os.umask(old_mask)


async def _supply(subscription: Subscription, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def send() -> None:
        async with contextlib.aclosing(subscription):
            async for piece in subscription:
                writer.write(piece)
                await writer.drain()

    sending = asyncio.create_task(send())
    leaving = asyncio.create_task(reader.read(1))  # a subscriber says nothing more: this ends when it leaves
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


def make_way(path: Path) -> None:
    """For a socket of ours."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)


class Lines:
    """Connections to workers, kept for the next question: who has to make a new one is late with a new table."""

    def __init__(self) -> None:
        self._idle: dict[Path, list[_Line]] = {}

    async def ask(self, path: Path, message: Message, within: float = 2.0) -> Message:
        """One question that may be asked twice, one answer. Raises: LinkDown."""
        idle = self._idle.setdefault(path, [])
        try:
            async with asyncio.timeout(within):
                while idle:
                    line = idle.pop()
                    with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
                        return await self._ask(line, path, message)
                    # It was of a worker that has ended; the next one is asked anew.
                reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
                return await self._ask((reader, writer), path, message)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise LinkDown(f"{path.name}: {error or type(error).__name__}") from error

    async def _ask(self, line: _Line, path: Path, message: Message) -> Message:
        reader, writer = line
        try:
            writer.write(msgspec.json.encode(message) + b"\n")
            answer = msgspec.json.decode(await reader.readline())
            if not isinstance(answer, dict):
                raise LinkDown(f"{path.name}: not a message")
        except BaseException:
            _close(writer)
            raise
        self._idle[path].append(line)
        return answer

    def close(self) -> None:
        for lines in self._idle.values():
            while lines:
                _close(lines.pop()[1])


_Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


async def ask(path: Path, message: Message, within: float = 2.0) -> Message:
    """As `Lines.ask`, for who asks once. Raises: LinkDown."""
    lines = Lines()
    try:
        return await lines.ask(path, message, within)
    finally:
        lines.close()


async def follow(path: Path, message: Message) -> AsyncGenerator[bytes, None]:
    """Subscribe: pieces of whole lines until the other end closes. Raises: LinkDown when it is not there."""
    writer: asyncio.StreamWriter | None = None
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=PIECE)
        writer.write(msgspec.json.encode(message) + b"\n")
        rest = b""
        while data := await reader.read(PIECE):
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if newline:
                yield whole + newline
            elif len(rest) > LONGEST_LINE:
                return
    except OSError as error:
        raise LinkDown(f"{path.name}: {error}") from error
    finally:
        if writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()


def ask_now(path: Path, message: Message, within: float = 2.0) -> Message:
    """As `ask`, for a process without an event loop. Raises: LinkDown."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, sock.makefile("rb") as lines:
            sock.settimeout(within)
            sock.connect(str(path))
            sock.sendall(msgspec.json.encode(message) + b"\n")
            answer = msgspec.json.decode(lines.readline())
    except (OSError, msgspec.DecodeError) as error:
        raise LinkDown(f"{path.name}: {error or type(error).__name__}") from error
    if not isinstance(answer, dict):
        raise LinkDown(f"{path.name}: not a message")
    return answer
