"""TCP proxies between two parts, so that a drill can cut a connection or make it slow; they live on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

PIECE = 64 * 1024


class Proxy:
    """From a port of its own to `target` on loopback. Cut, it takes connections and carries nothing."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._open = asyncio.Event()
        self._open.set()
        self._delay = 0.0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        self._open.clear()

    def slow(self, seconds: float) -> None:
        self._delay = seconds

    def heal(self) -> None:
        """What was sent meanwhile arrives now."""
        self._delay = 0.0
        self._open.set()

    async def _carry(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            there, forth = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            back.close()
            return
        await asyncio.gather(self._pump(here, forth), self._pump(there, back))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(PIECE):
                await self._open.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                sink.write(data)
                await sink.drain()
        sink.close()


class Proxies:
    """Use from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def to(self, port: int) -> Proxy:
        async def make() -> Proxy:
            proxy = Proxy(port)
            await proxy.serve()
            return proxy

        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(10)

    def tell(self, what: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(what)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
