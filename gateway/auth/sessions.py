"""Sessions that only the side that gave them out can read: it is asked once, and the answer is kept for a while."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from gateway.auth.identity import Doubt, Identity, subject_of
from gateway.auth.jwks import tell
from gateway.control.front import Session
from gateway.routing.keys import AMBIGUOUS, Head, source

ASK_SECONDS = 1.0
AWAY_SECONDS = 1.0  # who did not answer is not asked again for so long
FALSE_SECONDS = 5.0  # a wrong credential may be a right one soon: sides have their own lag
LEAST_SECONDS = 0.05  # who waited for an answer must still find it
MOST_KEPT = 10_000  # of each kind: sessions, and credentials that name nobody
MOST_WAITING = 1_000  # for one look
MOST_ASKED = 200  # looks at once: they pass breaker and bulkhead of the side that is asked
MOST_OF_ADDRESS = 32  # of them for one client's address
AWAY_AFTER = 3  # looks in a row without an answer: one may be that credential's alone
MOST_BYTES = 16 * 1024
MOST_CREDENTIAL = 4096

V = TypeVar("V")
Ask = Callable[[bytes], Awaitable[tuple[int, bytes]]]


@dataclass(slots=True)
class _Known:
    found: Identity
    until: float  # fresh
    stale_until: float


class Sessions:
    """One kind of session. `ask` sends a head to its upstream: (status, body). Raises what failed."""

    def __init__(self, session: Session, ask: Ask, authority: Callable[[], bytes]) -> None:
        self.session = session
        self._ask = ask
        self._authority = authority
        self._read = source(session.credential, ())
        self._loop = asyncio.get_running_loop()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        # Made-up credentials cost their own kind a place, no session. (why, until)
        self._doubted: OrderedDict[bytes, tuple[Doubt, float]] = OrderedDict()
        self._asked: dict[bytes, int] = {}  # looks under way by client's address
        self._missed = 0  # looks in a row without an answer
        self._waiting: dict[bytes, list[Callable[[], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._away_until = 0.0  # a side that does not answer costs the other one a wait now and then, not each caller

    def credential_of(self, request: Head) -> bytes | None:
        found = self._read(request, ())
        return found if found and found != AMBIGUOUS and len(found) <= MOST_CREDENTIAL else None

    def look(self, credential: bytes) -> Identity | Doubt:
        """What is known now: an identity, FALSE, AWAY, or UNASKED."""
        name, now = _name(credential), self._loop.time()
        known = self._known.get(name)
        if known is not None:
            self._known.move_to_end(name)
            if now < known.until:
                return known.found
        doubt, until = self._doubted.get(name, (Doubt.UNASKED, 0.0))
        if now < until and doubt is Doubt.FALSE:
            return doubt
        if now >= until and now >= self._away_until:
            return Doubt.UNASKED
        return known.found if known is not None and now < known.stale_until else Doubt.AWAY

    def ask(self, credential: bytes, then: Callable[[], None], address: bytes = b"") -> bool:
        """Ask its upstream, once for all who wait, and call `then`. False: too many wait already, or too many looks
        for clients of this `address` are under way.
        """
        name = _name(credential)
        waiting = self._waiting.get(name)
        if waiting is None:
            mine = self._asked.get(address, 0)
            if len(self._waiting) >= MOST_ASKED or mine >= MOST_OF_ADDRESS:
                return False
            self._asked[address] = mine + 1
            waiting = self._waiting[name] = []
            task = self._loop.create_task(self._learn(name, credential, address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if len(waiting) >= MOST_WAITING:
            return False
        waiting.append(then)
        return True

    def forget(self, credential: bytes) -> None:
        """Its upstream has just said something new about it."""
        name = _name(credential)
        self._known.pop(name, None)
        self._doubted.pop(name, None)

    async def _learn(self, name: bytes, credential: bytes, address: bytes) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                found = self._judge(*await self._ask(self._head(credential)))
        except Exception:
            found = Doubt.AWAY
        finally:
            left = self._asked.pop(address) - 1
            if left:
                self._asked[address] = left
        self._learnt(name, found)
        tell(self._waiting.pop(name, ()))

    def _learnt(self, name: bytes, found: Identity | Doubt) -> None:
        now = self._loop.time()
        if found is Doubt.AWAY:
            self._missed += 1
            if self._missed >= AWAY_AFTER:
                self._away_until = now + AWAY_SECONDS
            _keep(self._doubted, name, (Doubt.AWAY, now + AWAY_SECONDS))
            return
        self._missed = 0
        if isinstance(found, Identity):
            fresh = now + max(self.session.ttl, LEAST_SECONDS)
            self._doubted.pop(name, None)
            _keep(self._known, name, _Known(found, fresh, fresh + self.session.stale))
        else:
            self._known.pop(name, None)
            _keep(self._doubted, name, (found, now + FALSE_SECONDS))

    def _judge(self, status: int, body: bytes) -> Identity | Doubt:
        session = self.session
        if status in (401, 403, 404):
            return Doubt.FALSE
        if status != 200 or len(body) > MOST_BYTES:
            return Doubt.AWAY
        try:
            told = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError:
            return Doubt.AWAY
        subject = subject_of(told, session.subject)
        return Doubt.FALSE if subject is None else Identity(session.kind, subject, session.upstream)

    def _head(self, credential: bytes) -> bytes:
        kind, _, name = self.session.credential.partition(":")
        line = b"Cookie: " + name.encode() + b"=" if kind == "cookie" else name.encode() + b": "
        path, authority = self.session.path.encode(), self._authority()
        return b"GET %b HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\n%b%b\r\n\r\n" % (
            path, authority, line, credential,
        )  # fmt: skip

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        waiting, self._waiting = self._waiting, {}
        for callbacks in waiting.values():
            tell(callbacks)


def _keep(kept: OrderedDict[bytes, V], name: bytes, value: V) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > MOST_KEPT:
        kept.popitem(last=False)


def _name(credential: bytes) -> bytes:
    """No secret is kept."""
    return hashlib.sha256(credential).digest()
