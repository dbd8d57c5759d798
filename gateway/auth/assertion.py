"""Our signed word about a caller, for one upstream and a minute: a JWT (HS256) in the header Banyan-Identity.

Whoever has the key can check it: iss `banyan-gateway`, aud the upstream's name, sub and kind the caller's. What comes
from outside under that name is taken away before anything is sent (http1.forward).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

import jwt

from gateway.auth.identity import Identity

HEADER = b"Banyan-Identity: "
ISSUER = "banyan-gateway"
MOST_KEPT = 10_000


class Signer:
    """Signs once for each caller and upstream, and again when half of the time is over."""

    def __init__(self, key: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str, str, str], tuple[float, bytes]] = OrderedDict()

    def line(self, identity: Identity, audience: str) -> bytes:
        """The header line with its CRLF."""
        name = (identity.kind, identity.subject, identity.by, audience)
        now = self._clock()
        kept = self._kept.get(name)
        if kept is not None and now < kept[0]:
            self._kept.move_to_end(name)
            return kept[1]
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": identity.subject,
            "kind": identity.kind,
            "by": identity.by,
            "iat": int(now),
            "exp": int(now + self._seconds),
        }
        line = HEADER + jwt.encode(claims, self._key, algorithm="HS256").encode() + b"\r\n"
        self._kept[name] = (now + self._seconds / 2, line)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return line
