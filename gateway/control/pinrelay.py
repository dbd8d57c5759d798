"""Pins between nodes: a client that writes through one node and reads through another sees its write.

Each node gives itself a lease to trust its board of pins, and a write's answer waits until every other node has the
write on its board or no lease. What makes that true, whatever fails:

1. A node publishes a sign of life every `BEAT_SECONDS` and registers itself in the same step. When its own sign comes
   back over its subscription, everything that was published before has come too: it trusts its board until one lease
   after it *sent* the sign.
2. A writer's node publishes the pin, and waits for an acknowledgement of each node that it knows, or for one lease: by
   then a node that has not got the pin has not got a later sign of its own either, so its lease is over.
3. A node trusts nothing before it has been registered for two leases: by then every writer's node knows it. A writer's
   node that has not heard of Redis for a lease does not know whom to wait for, and waits the lease out.
4. A node that is registered, and not heard of for two leases, may be cut off from Redis and take writes that it can
   tell nobody. Nobody trusts a board while one is missing; after `MISSING_SECONDS` it is taken for dead. A node that is
   cut off lets its writes wait until three leases after its last sign, when the others have missed it.
5. What was published while a node was not subscribed never comes: when it trusts again it takes every write of before
   for unknown, and reads go to the owner until the watermark has passed that moment.

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
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from gateway.policies.pins import SLOTS, PinBoard
from gateway.policies.sharing import LEASE_SECONDS, MOST_SECONDS
from gateway.settings import Settings

NODES = "banyan:nodes"
CHANNEL = (
    "banyan:pins:1"  # the number is that of the slots' layout: nodes with another one do not understand each other
)
BEAT_SECONDS = 0.1
MISSING_SECONDS = 300.0
GOODBYE_SECONDS = 1.0
LONGEST_LINE = 64 * 1024

# KEYS[1] the nodes; ARGV node, channel, message, milliseconds after which a node is forgotten.
_SIGN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4])
redis.call('PUBLISH', ARGV[2], ARGV[3])
local found = {now}
for _, value in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do table.insert(found, value) end
return found
"""

log = structlog.get_logger("gateway.pins")


@dataclass(slots=True)
class _Told:
    """Writes that were published together. `wanted` None: it is not known who has to have them."""

    answers: list[tuple[asyncio.StreamWriter, bytes]]
    wanted: frozenset[str] | None
    deadline: float


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
        self._waiting: list[tuple[asyncio.StreamWriter, bytes, list[int]]] = []
        self._woken = asyncio.Event()
        self._told: dict[int, _Told] = {}
        self._number = 0
        self._had: dict[str, int] = {}  # node → the last number that it has acknowledged
        self._seen: dict[str, float] = {}  # other node → when it was last among the registered
        self._echo = asyncio.Event()
        self._wanted_echo = b""
        self._connected = 0.0  # monotonic seconds; 0: Redis is away
        self._joined = 0.0  # when our first sign came back; 0: not yet
        self._alone_since = 0.0
        self._gap = True
        board.distrust()

    def run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main())

    def stop(self) -> None:
        """Wait for the workers' last writes, then leave. From another thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopping.set)
        self.join(self._settings.drain_seconds + GOODBYE_SECONDS)

    async def _main(self) -> None:
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
        self._board.distrust()
        if orderly:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS / 2):
                    await self._redis.zrem(NODES, self._node)
                    await self._redis.publish(CHANNEL, f"left {self._node}")
        await self._redis.aclose()

    async def _stay(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(CHANNEL, f"{CHANNEL}:{self._relay}")
                    self._connected, self._joined, self._alone_since, self._gap = time.monotonic(), 0.0, 0.0, True
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._listen(channel))
                        tasks.create_task(self._live())
                        tasks.create_task(self._publish())
            except* (RedisError, OSError, TimeoutError, ValueError) as errors:
                if self._connected:
                    log.warning(
                        "redis is away, reads that have a choice go to the owner", error=str(errors.exceptions[0])
                    )
            self._connected = 0.0
            self._woken.set()
            for answer in self._take_waiting():
                self._answer_cut_off(answer[0], answer[1])
            await asyncio.sleep(BEAT_SECONDS)

    # workers

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._workers.add(writer)
        try:
            while line := await reader.readline():
                number, *slots = line.split()
                if not self._connected:
                    self._answer_cut_off(writer, number)
                    continue
                self._waiting.append((writer, number, [int(slot) % SLOTS for slot in slots]))
                self._woken.set()
        except (OSError, ValueError):
            pass
        finally:
            self._workers.discard(writer)
            writer.close()

    def _take_waiting(self) -> list[tuple[asyncio.StreamWriter, bytes, list[int]]]:
        taken, self._waiting = self._waiting, []
        return taken

    def _answer_cut_off(self, writer: asyncio.StreamWriter, number: bytes) -> None:
        left = self._board.heard() + MOST_SECONDS - time.monotonic()
        self._loop.call_later(max(0.0, left), self._answer, writer, number)

    def _answer(self, writer: asyncio.StreamWriter, number: bytes) -> None:
        if not writer.is_closing():
            writer.write(number + b"\n")

    # writes of this node

    async def _publish(self) -> None:
        """What came in while one message was on its way goes out together with the next."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            if not (taken := self._take_waiting()):
                continue
            answers = [(writer, number) for writer, number, _ in taken]
            slots = {slot for _, _, found in taken for slot in found}
            try:
                self._number += 1
                text = ",".join(map(str, slots))
                await self._redis.publish(CHANNEL, f"pins {self._node} {self._relay} {self._number} {text}")
            except BaseException:
                for writer, number in answers:
                    self._answer_cut_off(writer, number)
                raise
            now = time.monotonic()
            knows = now - self._connected > 2 * LEASE_SECONDS and now - self._board.heard() < LEASE_SECONDS
            wanted = frozenset(n for n, at in self._seen.items() if now - at < MOST_SECONDS) if knows else None
            self._told[self._number] = _Told(answers, wanted, now + LEASE_SECONDS)
            self._loop.call_later(LEASE_SECONDS, self._progress)
            self._progress()

    def _progress(self) -> None:
        now = time.monotonic()
        for number, told in list(self._told.items()):
            everywhere = told.wanted is not None and all(self._had.get(n, 0) >= number for n in told.wanted)
            if everywhere or now >= told.deadline:
                del self._told[number]
                for writer, answer in told.answers:
                    self._answer(writer, answer)

    # signs of life

    async def _live(self) -> None:
        while True:
            sent = time.monotonic()
            self._wanted_echo = secrets.token_hex(4).encode()
            self._echo.clear()
            message = b"sign " + self._wanted_echo
            forgotten = str(int(MISSING_SECONDS * 1000))
            reply = await self._redis.eval(_SIGN, 1, NODES, self._node, CHANNEL, message, forgotten)
            self._board.heard_at(sent)
            missing = self._take_nodes(reply)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE_SECONDS):
                    await self._echo.wait()
                self._extend(sent, missing)
            await asyncio.sleep(max(0.0, sent + BEAT_SECONDS - time.monotonic()))

    def _take_nodes(self, reply: Sequence[bytes | int]) -> bool:
        """Is one missing?"""
        now, at = int(reply[0]), time.monotonic()
        missing = False
        for name, score in zip(reply[1::2], reply[2::2], strict=True):
            node = name.decode() if isinstance(name, bytes) else str(name)
            if node == self._node:
                continue
            if now - float(score) > 2000 * LEASE_SECONDS:
                missing = True
            else:
                self._seen[node] = at
        for node in [node for node, seen in self._seen.items() if at - seen > MOST_SECONDS]:
            del self._seen[node]
            self._had.pop(node, None)
        return missing

    def _extend(self, sent: float, missing: bool) -> None:
        """Our sign, sent then, has come back."""
        now = time.monotonic()
        self._joined = self._joined or now
        if missing or self._seen:
            self._alone_since = 0.0
        else:
            self._alone_since = self._alone_since or sent
        if missing:
            self._gap = True
        elif now - self._joined > 2 * LEASE_SECONDS and now < sent + LEASE_SECONDS:
            alone = bool(self._alone_since) and sent - self._alone_since > 2 * LEASE_SECONDS
            self._board.trust(sent + LEASE_SECONDS, alone=alone, after_a_gap=self._gap)
            self._gap = False

    # what others say

    async def _listen(self, channel: PubSub) -> None:
        while True:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=1.0)
            if message is None:
                continue
            words: list[bytes] = message["data"].split(b" ")
            match words:
                case [b"sign", echo]:
                    if echo == self._wanted_echo:
                        self._echo.set()
                case [b"pins", node, relay, number, slots]:
                    if node.decode() != self._node:
                        self._board.take(int(slot) % SLOTS for slot in slots.split(b","))
                        await self._redis.publish(f"{CHANNEL}:{relay.decode()}", f"had {self._node} {number.decode()}")
                case [b"had", node, number]:
                    self._had[node.decode()] = int(number)
                    self._progress()
                case [b"left", node]:
                    self._seen.pop(node.decode(), None)
                case _:
                    log.warning("a message about pins is not understood", start=repr(message["data"][:40]))


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
