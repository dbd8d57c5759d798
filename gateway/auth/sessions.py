"""Sessions that only the side that gave them out can read: it is asked once, and the answer is kept for a while."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.auth.identity import Doubt, Identity, subject_of
from gateway.auth.jwks import tell
from gateway.control.front import Session
from gateway.routing.keys import AMBIGUOUS, Head, source

ASK_SECONDS = 1.0
AWAY_SECONDS = 1.0  # who did not answer is not asked again for so long
FALSE_SECONDS = 5.0  # a wrong credential may be a right one soon: sides have their own lag
LEAST_SECONDS = 0.05  # who waited for an answer must still find it
MOST_KEPT = 10_000
MOST_WAITING = 1_000
MOST_BYTES = 16 * 1024
MOST_CREDENTIAL = 4096

Ask = Callable[[bytes], Awaitable[tuple[int, bytes]]]


@dataclass(slots=True)
class _Known:
    found: Identity | Doubt
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
        self._waiting: dict[bytes, list[Callable[[], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._away_until = 0.0  # a side that does not answer costs the other one a wait now and then, not each caller

    def credential_of(self, request: Head) -> bytes | None:
        found = self._read(request, ())
        return found if found and found != AMBIGUOUS and len(found) <= MOST_CREDENTIAL else None

    def look(self, credential: bytes) -> Identity | Doubt:
        """What is known now: an identity, FALSE, AWAY, or UNASKED."""
        now, known = self._loop.time(), self._known.get(_name(credential))
        if known is not None and now < known.until:
            return known.found
        if now >= self._away_until:
            return Doubt.UNASKED
        return known.found if known is not None and now < known.stale_until else Doubt.AWAY

    def ask(self, credential: bytes, then: Callable[[], None]) -> bool:
        """Ask its upstream, once for all who wait, and call `then`. False: too many wait already."""
        name = _name(credential)
        waiting = self._waiting.get(name)
        if waiting is None:
            if len(self._waiting) >= MOST_WAITING:
                return False
            waiting = self._waiting[name] = []
            task = self._loop.create_task(self._learn(name, credential))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if len(waiting) >= MOST_WAITING:
            return False
        waiting.append(then)
        return True

    def forget(self, credential: bytes) -> None:
        """Its upstream has just said something new about it."""
        self._known.pop(_name(credential), None)

    async def _learn(self, name: bytes, credential: bytes) -> None:
        session = self.session
        try:
            async with asyncio.timeout(ASK_SECONDS):
                found = self._judge(*await self._ask(self._head(credential)))
        except Exception:
            found = Doubt.AWAY
        now = self._loop.time()
        if isinstance(found, Identity):
            fresh = now + max(session.ttl, LEAST_SECONDS)
            self._keep(name, _Known(found, fresh, fresh + session.stale))
        elif found is Doubt.FALSE:
            self._keep(name, _Known(found, now + FALSE_SECONDS, now + FALSE_SECONDS))
        else:
            self._away_until = now + AWAY_SECONDS
        tell(self._waiting.pop(name, ()))

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

    def _keep(self, name: bytes, known: _Known) -> None:
        self._known[name] = known
        self._known.move_to_end(name)
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        waiting, self._waiting = self._waiting, {}
        for callbacks in waiting.values():
            tell(callbacks)


def _name(credential: bytes) -> bytes:
    """No secret is kept."""
    return hashlib.sha256(credential).digest()
