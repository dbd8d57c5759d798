"""Who is logged in: the operator's own token of the gateway, kept here in memory, behind a signed cookie.

The console has no token that could change anything. Who logs in gives theirs, the gateway says whose it is and what it
may do, and each verb is done with it: so the gateway's list of tokens stays the only one. A restart ends all sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

COOKIE = "banyan-console"
LASTS_S = 8 * 3600
MOST = 100  # sessions; the oldest gives way
FAILURES, WITHIN_S = 10, 60.0  # logins that may fail, for everybody together


@dataclass(frozen=True, slots=True)
class Session:
    """`role`: the gateway's word, `viewer` or `operator`. `csrf`: what a form of ours says, and no other page knows."""

    id: str
    name: str
    role: str
    token: str = field(repr=False)
    csrf: str = field(repr=False)
    until: float

    @property
    def may_act(self) -> bool:
        return self.role == "operator"


class Sessions:
    def __init__(self, clock: Callable[[], float] = time.monotonic, key: bytes | None = None) -> None:
        self._clock = clock
        self._key = key or secrets.token_bytes(32)
        self._open: dict[str, Session] = {}
        self._failures: list[float] = []

    def open(self, name: str, role: str, token: str) -> tuple[Session, str]:
        """The session, and its cookie's value."""
        self._sweep()
        while len(self._open) >= MOST:
            del self._open[next(iter(self._open))]
        id_, until = secrets.token_urlsafe(24), self._clock() + LASTS_S
        session = self._open[id_] = Session(id_, name, role, token, secrets.token_urlsafe(24), until)
        return session, f"{id_}.{self._sign(id_)}"

    def find(self, cookie: str | None) -> Session | None:
        id_, _, signature = (cookie or "").partition(".")
        if not id_ or not hmac.compare_digest(signature.encode(), self._sign(id_).encode()):
            return None
        session = self._open.get(id_)
        return session if session is not None and session.until > self._clock() else None

    def close(self, session: Session) -> None:
        self._open.pop(session.id, None)

    def may_try(self) -> bool:
        """False when too many logins have failed lately."""
        self._sweep()
        return len(self._failures) < FAILURES

    def failed(self) -> None:
        self._failures.append(self._clock())

    def _sweep(self) -> None:
        now = self._clock()
        self._failures = [at for at in self._failures if at > now - WITHIN_S]
        for id_ in [id_ for id_, session in self._open.items() if session.until <= now]:
            del self._open[id_]

    def _sign(self, id_: str) -> str:
        return hmac.new(self._key, id_.encode(), hashlib.sha256).hexdigest()


def is_ours(session: Session, given: str) -> bool:
    """Whether a request comes from a page of ours."""
    return hmac.compare_digest(session.csrf.encode(), given.encode())
