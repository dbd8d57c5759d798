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


async def ask(path: Path, message: Message, within: float = 2.0) -> Message:
    """One question, one answer. Raises: LinkDown."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
            writer.write(msgspec.json.encode(message) + b"\n")
            answer = msgspec.json.decode(await reader.readline())
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise LinkDown(f"{path.name}: {error or type(error).__name__}") from error
    finally:
        if writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()
    if not isinstance(answer, dict):
        raise LinkDown(f"{path.name}: not a message")
    return answer


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
