"""The server behind the gateway: notes what comes and answers as the case says."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.conformance.case import Answer
from tests.conformance.message import BadForm, Message, read_body, read_head

PROBE = "/probe"
_PROBED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nprobe"


@dataclass
class Origin:
    answer: Answer = field(default_factory=Answer)
    seen: list[Message] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Origin:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while await self._one(reader, writer):
                await writer.drain()
        writer.close()
        self._tasks.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            message = await read_head(reader)
            if message is None:
                return False
            target = message.line.split(" ")[1]
            if target in ("/health", PROBE):
                writer.write(_PROBED)
                return True
            self.seen.append(message)
            answer = self.answer
            if not answer.early:
                if (message.get("expect") or "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await read_body(reader, message, until_close=False)
                if not message.whole:
                    return False
        except (BadForm, ValueError, IndexError) as error:
            self.seen.append(Message(f"MALFORMED {error}", [], whole=False))
            return False
        writer.write(answer.data)
        if answer.early:
            message.whole = False
            await writer.drain()
            if not answer.close:
                await reader.read()  # what else comes is not looked at
            return False
        while answer.echo and (data := await reader.read(65536)):
            writer.write(data)
        return not answer.close and not answer.echo
