"""The control link of a worker: a Unix-domain socket, one JSON message per line, one answer to each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

LONGEST_LINE = 16 * 1024 * 1024

Message = dict[str, Any]


class LinkDown(Exception):
    """The other end is not there, or does not answer in time."""


async def listen(path: Path, answer: Callable[[Message], Message]) -> asyncio.AbstractServer:
    """Serve `answer` at `path`; only this user may connect."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(answer(msgspec.json.decode(line))) + b"\n")
                await writer.drain()
        except (OSError, ValueError, msgspec.DecodeError):
            pass  # a link that talks nonsense is closed
        finally:
            writer.close()

    make_way(path)
    old_mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(serve, path, limit=LONGEST_LINE)
    finally:
        os.umask(old_mask)


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
