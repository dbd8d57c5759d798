"""JSON Web Tokens: whose they are, and whether they hold. The rules of RFC 8725: the algorithm is ours to choose."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from gateway.auth.identity import Doubt, Identity, lines_of, subject_of
from gateway.auth.jwks import KeyRing

MOST_TOKEN = 8 * 1024
MOST_KEPT = 10_000
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`identity`, or a doubt: NOBODY (not a token of an issuer that we know), UNASKED (`ring` lacks its key), FALSE."""

    identity: Identity | None = None
    doubt: Doubt = Doubt.NOBODY
    why: str = ""
    ring: KeyRing | None = None


NOT_OURS = Verdict()


class Verifier:
    """Remembers what it has verified until it expires, or until a key changes."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.rings: dict[str, KeyRing] = {}  # by issuer
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Verdict]] = OrderedDict()

    def forget(self) -> None:
        self._kept.clear()

    def check(self, token: bytes) -> Verdict:
        if token.count(b".") != 2:
            return NOT_OURS  # a device's token, for one
        name = hashlib.sha256(token).digest()
        kept = self._kept.get(name)
        if kept is not None:
            if self._clock() < kept[0]:
                return kept[1]
            del self._kept[name]
        verdict, until = self._judge(token)
        if verdict.identity is not None:
            self._kept[name] = (until, verdict)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return verdict

    def _judge(self, token: bytes) -> tuple[Verdict, float]:
        if len(token) > MOST_TOKEN:
            return _false("longer than we read"), 0.0
        try:
            text = token.decode("ascii")
            header = jwt.get_unverified_header(text)
            named = jwt.decode(text, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError):
            return NOT_OURS, 0.0
        ring = self.rings.get(named) if isinstance(named, str) else None
        if ring is None:
            return NOT_OURS, 0.0
        issuer, algorithm, key_id = ring.issuer, header.get("alg"), header.get("kid")
        if algorithm not in issuer.algorithms:
            return _false("its algorithm is not allowed"), 0.0
        key = ring.find(key_id)
        if key is None:
            return Verdict(None, Doubt.UNASKED, "its key is not known", ring), 0.0
        if key.key_type != _KINDS[algorithm[:2]]:
            return _false("its key is not of its algorithm's kind"), 0.0
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                key.key,
                algorithms=[algorithm],
                audience=list(issuer.audiences),
                issuer=issuer.issuer,
                leeway=issuer.leeway,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            return _false(str(error)), 0.0
        expires = claims["exp"]
        if isinstance(expires, bool) or not isinstance(expires, int | float):  # the library takes "1763740000" too
            return _false("its claim 'exp' is no number"), 0.0
        subject = subject_of(claims, issuer.subject)
        if subject is None:
            return _false(f"it has no usable claim {issuer.subject!r}"), 0.0
        lines = lines_of(claims, issuer.headers)
        return Verdict(Identity(issuer.kind, subject, issuer.issuer, claims, lines)), expires + issuer.leeway


def _false(why: str) -> Verdict:
    return Verdict(None, Doubt.FALSE, why)
