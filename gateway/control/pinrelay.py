"""Pins between nodes: a client that writes through one node and reads through another sees its write.

Each node gives itself a lease to trust its board of pins, and a write's answer waits until every other node has the
write on its board or no lease. What makes that true, whatever fails, are five steps: 1, 3, 4 and 5 in `pinlease`, 2 in
`pintelling`, each with the code that it is about. Here is what joins them: the workers' socket, the subscription, and
a thread that outlives every fault.

Only durations are compared between machines, no clocks. Without Redis nobody trusts, and all reads that have a choice
go to the owner. Not covered: a node that has been cut off from Redis for longer than `MISSING_SECONDS`, or since it
started, while others are not; and a fallback of a failing owner, which knows the writes of its own node only.

Redis: sorted set `banyan:nodes` {node: time of its last sign}, channels `banyan:pins:1` and `banyan:pins:1:<relay>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from functools import partial

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from gateway.control.pinlease import BEAT_SECONDS, NODES, Lease
from gateway.control.pintelling import Telling
from gateway.policies.pins import SLOTS, PinBoard
from gateway.settings import Settings

# The number is that of the slots' layout: nodes with another one do not understand each other.
CHANNEL = "banyan:pins:1"
GOODBYE_SECONDS = 1.0
LONGEST_LINE = 64 * 1024
LONGEST_REST = 5.0  # seconds, after faults of our own in a row

log = structlog.get_logger("gateway.pins")


class PinRelay(threading.Thread):
    """In a thread of its own: the admin API's work must not make a lease run out."""

    def __init__(self, settings: Settings, board: PinBoard) -> None:
        super().__init__(name="pins", daemon=True)
        self._settings = settings
        self._board = board
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._node = _node_id(settings)
        self._relay = secrets.token_hex(6)
        self._redis: Redis = Redis.from_url(settings.redis_url or "", socket_timeout=1, socket_connect_timeout=1)
        self._workers: set[asyncio.StreamWriter] = set()
        self._lease = Lease(board, self._redis, self._node, CHANNEL)
        self._away = False  # Redis, as far as it was told in the log

    def run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main())

    def stop(self) -> None:
        """Wait for the workers' last writes, then leave. From another thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopping.set)
        self.join(self._settings.drain_seconds + GOODBYE_SECONDS)

    async def _main(self) -> None:
        self._telling = Telling(self._board, self._redis, self._lease, CHANNEL, f"{self._node} {self._relay}")
        path = self._settings.pins_socket
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, path, limit=LONGEST_LINE)
        path.chmod(0o600)
        staying = self._loop.create_task(self._stay())
        await self._stopping.wait()
        server.close()
        deadline = time.monotonic() + self._settings.drain_seconds
        while self._workers and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)
        await self._leave(orderly=not self._workers)

    async def _leave(self, *, orderly: bool) -> None:
        """A node that says goodbye is not missed. One whose workers still write is, and must be."""
        heard = self._board.heard()
        self._board.distrust()
        if orderly:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS / 2):
                    await self._redis.zrem(NODES, self._node)
                    await self._redis.publish(CHANNEL, f"left {self._node}")
        else:
            self._board.heard_at(heard)  # so long their writes have to wait
        await self._redis.aclose()

    # the others

    async def _stay(self) -> None:
        """For ever. Whatever ends a stay, nobody trusts a board because of it: that takes a sign that came back."""
        rest = BEAT_SECONDS
        while True:
            began = time.monotonic()
            try:
                await self._stay_once()
            except* (RedisError, OSError, TimeoutError) as errors:
                if not self._away:
                    error = str(errors.exceptions[0])
                    log.warning("redis is away, reads that have a choice go to the owner", error=error)
                self._away = True
                rest = BEAT_SECONDS
            except* Exception as errors:
                rest = BEAT_SECONDS if time.monotonic() - began > LONGEST_REST else min(LONGEST_REST, 2 * rest)
                log.exception(
                    "a fault in the relay, reads that have a choice go to the owner", again_in=rest, exc_info=errors
                )
            self._lease.lose()
            self._telling.lose()
            await asyncio.sleep(rest)

    async def _stay_once(self) -> None:
        async with self._redis.pubsub() as channel:
            await channel.subscribe(CHANNEL, f"{CHANNEL}:{self._relay}")
            self._lease.begin()
            if self._away:
                log.info("redis is back")
            self._away = False
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(channel))
                tasks.create_task(self._lease.live())
                tasks.create_task(self._telling.publish())

    async def _listen(self, channel: PubSub) -> None:
        while True:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=1.0)
            if message is None:
                continue
            try:
                await self._hear(message["data"].split(b" "))
            except ValueError:  # it has the words, but not the numbers
                log.warning("a message about pins is not understood", start=repr(message["data"][:40]))

    async def _hear(self, words: list[bytes]) -> None:
        """Raises: ValueError, and what Redis raises."""
        match words:
            case [b"sign", echo]:
                self._lease.came_back(echo)
            case [b"pins", node, relay, number, slots]:
                if node.decode() != self._node:
                    self._board.take([int(slot) % SLOTS for slot in slots.split(b",")])
                    await self._redis.publish(f"{CHANNEL}:{relay.decode()}", f"had {self._node} {int(number)}")
            case [b"had", node, number]:
                self._telling.had(node.decode(), int(number))
            case [b"left", node]:
                self._lease.left(node.decode())
            case _:
                raise ValueError(words[0])

    # the workers

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._workers.add(writer)
        try:
            while line := await reader.readline():
                number, *slots = line.split()
                self._telling.take([int(slot) % SLOTS for slot in slots], partial(_answer, writer, number))
        except OSError:
            pass  # it has ended
        except ValueError as error:
            log.warning("a worker's line about pins is not understood", error=str(error))
        finally:
            self._workers.discard(writer)
            writer.close()


def _answer(writer: asyncio.StreamWriter, number: bytes) -> None:
    if not writer.is_closing():
        writer.write(number + b"\n")


def _node_id(settings: Settings) -> str:
    """The name of this node's board: a relay that is started again speaks for the same one."""
    path = settings.state_dir / "node"
    with contextlib.suppress(OSError):
        if name := path.read_text().strip()[:64]:
            return name
    name = secrets.token_hex(8)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(name + "\n")
    return name
