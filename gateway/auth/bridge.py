"""Makes a request fit for the side that gets it: the cookies that are that side's, and our word about who calls.

A token is verified here; a session that only the other side can read is looked up there once. The request waits for
the first look only. What outsiders say in our name is taken away. None when a table asks for nothing of all this.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from gateway.auth.assertion import HEADER, Signer
from gateway.auth.identity import Doubt, Identity
from gateway.auth.jwks import KeyRing
from gateway.auth.sessions import ASK_SECONDS, Sessions
from gateway.auth.tokens import Verifier
from gateway.control.front import Auth, Session
from gateway.control.table import RouteTable
from gateway.facade.cookies import filtered
from gateway.facade.refusal import refuse
from gateway.limits.rules import address_of
from gateway.shadow.fetch import fetch

if TYPE_CHECKING:
    from gateway.core import Gateway
    from gateway.http1.exchange import Exchange
    from gateway.http1.head import Request

_BEARER = re.compile(rb"\r\nauthorization:[ \t]*bearer[ \t]+([!-~]+)[ \t]*\r\n", re.IGNORECASE)
_CODINGS = re.compile(rb"\r\naccept-encoding:[^\r]*", re.IGNORECASE)
AWAY = HEADER + b"away\r\n"  # there is a session, but who could read it does not answer

log = structlog.get_logger("gateway.auth")


class Bridge:
    def __init__(self, table: RouteTable, gateway: Gateway, before: Bridge | None) -> None:
        auth = table.auth or Auth()
        self.auth = table.auth
        self._gateway = gateway
        self._believing = frozenset(name for name, upstream in table.upstreams.items() if upstream.identity)
        key = gateway.settings.assertion_key
        if self._believing and not key:
            log.error("GATEWAY_ASSERTION_KEY is not set: upstreams with identity get no word about callers")
        self._signer = Signer(key, auth.assertion_seconds) if key else None
        names = {name for issuer in auth.issuers for name in issuer.headers}
        # Servers that make variables of headers cannot tell `-` from `_`.
        forged = [re.escape(name).replace(r"\-", "[-_]") for name in sorted(names)]
        self._forged = (
            re.compile(rb"\r\n(?:" + "|".join(forged).encode() + rb"):[^\r]*", re.IGNORECASE) if forged else None
        )
        self.verifier: Verifier
        self.sessions: list[Sessions]
        if before is not None:
            self.verifier, self.sessions = before.verifier, before.sessions
            return
        self.verifier = Verifier()
        for issuer in auth.issuers:
            self.verifier.rings[issuer.issuer] = KeyRing(issuer, gateway.settings.jwks_folder, self.verifier.forget)
        self.sessions = [self._sessions(session) for session in auth.sessions]

    def _sessions(self, session: Session) -> Sessions:
        gateway = self._gateway

        async def ask(head: bytes) -> tuple[int, bytes]:
            answer = await fetch(gateway.pools[session.upstream], b"GET", head, ASK_SECONDS)
            return answer.status, answer.body

        return Sessions(session, ask, lambda: gateway.authority(session.upstream))

    def close(self) -> None:
        for ring in self.verifier.rings.values():
            ring.close()
        for sessions in self.sessions:
            sessions.close()

    # before routing

    def read(self, request: Request) -> None:
        """Leave the claims of a verified token with the request, for `jwt:` keys (routing.keys)."""
        token = self._token(request)
        if token is not None and (identity := self.verifier.check(token).identity) is not None:
            request.claims = identity.claims

    def _token(self, request: Request) -> bytes | None:
        """None also when several are given: whoever is behind us might read another one."""
        if not self.verifier.rings or request.low.count(b"\r\nauthorization:") != 1:
            return None
        found = _BEARER.search(request.head)
        return found[1] if found is not None else None

    # before an attempt

    def waits(self, exchange: Exchange) -> bool:
        """True: not now. The exchange decides again when more is known, or was answered."""
        if self.auth is None:
            return False
        found = self._find(exchange)
        if isinstance(found, Identity):
            exchange.identity = found
            return False
        required = exchange.route.auth is not None
        if found is None:
            return True
        exchange.doubt = found
        if found is Doubt.AWAY and required:
            refuse(exchange, 503, "who you are cannot be checked now: try again", b"Retry-After: 1\r\n")
            return True
        if required:
            self._unauthorized(exchange, "this needs a login: a token or a session", b"Bearer")
            return True
        return False

    def _find(self, exchange: Exchange) -> Identity | Doubt | None:
        """None: the exchange waits, or was answered."""
        request, upstream = exchange.request, exchange.decision.upstream
        token = self._token(request)
        if token is not None:
            verdict = self.verifier.check(token)
            if verdict.identity is not None:
                return verdict.identity
            if verdict.ring is not None and exchange.doubt is not Doubt.UNASKED:  # once for each request
                exchange.doubt = Doubt.UNASKED
                if verdict.ring.ask(lambda: self._resume(exchange)):
                    return None
            if verdict.doubt is Doubt.UNASKED and verdict.ring is not None and verdict.ring.away:
                return Doubt.AWAY  # our failure, not the caller's
            if verdict.doubt is not Doubt.NOBODY:
                self._unauthorized(exchange, f"the token is not valid: {verdict.why}", b'Bearer error="invalid_token"')
                return None
        required = exchange.route.auth is not None
        if not required and upstream not in self._believing:
            return Doubt.NOBODY
        return self._session_of(exchange, None if required else upstream, lambda: self._resume(exchange))

    def _session_of(self, exchange: Exchange, reader: str | None, then: Callable[[], None]) -> Identity | Doubt | None:
        """Who the session says; the upstream `reader` reads its own by itself. None: `then` will be called."""
        doubt = Doubt.NOBODY
        for sessions in self.sessions:
            if sessions.session.upstream == reader:
                continue
            credential = sessions.credential_of(exchange.request)
            if credential is None:
                continue
            found = sessions.look(credential)
            if found is Doubt.UNASKED:
                if sessions.ask(credential, then, address_of(exchange)):
                    return None
                found = Doubt.AWAY
            if isinstance(found, Identity):
                return found
            doubt = found if doubt is not Doubt.AWAY else doubt
        return doubt

    def _resume(self, exchange: Exchange) -> None:
        """Who calls may also decide where the request goes."""
        if not exchange.over:
            self.read(exchange.request)
            exchange.again()

    def _unauthorized(self, exchange: Exchange, detail: str, challenge: bytes) -> None:
        self._gateway.meter.count(exchange.route.domain, "unauthorized")
        refuse(exchange, 401, detail, b"WWW-Authenticate: " + challenge + b"\r\n")

    # the head that goes out

    def dress(self, exchange: Exchange) -> None:
        """`exchange.head` for the side that the decision names."""
        if not exchange.bare:
            exchange.bare = exchange.head if self._forged is None else self._forged.sub(b"", exchange.head)
            if self._gateway.front.link_types:
                exchange.bare = _CODINGS.sub(b"", exchange.bare)
        exchange.head = self._dressed(exchange.bare, exchange.decision.upstream, exchange.identity, exchange.doubt)

    def trailers(self, lines: list[bytes]) -> list[bytes]:
        """Without those that would speak in our name: some servers put trailers among the headers."""
        forged = self._forged
        return lines if forged is None else [line for line in lines if not forged.match(b"\r\n" + line)]

    def copy_head(self, exchange: Exchange, upstream: str) -> bytes:
        """The same request for the side that gets a copy; empty while it is not known who calls (it is being asked)."""
        identity, doubt = exchange.identity, exchange.doubt
        if identity is None and self.auth is not None and upstream in self._believing:
            found = self._session_of(exchange, upstream, lambda: None)
            if found is None or found is Doubt.AWAY:
                return b""
            identity = found if isinstance(found, Identity) else None
        return self._dressed(exchange.bare, upstream, identity, doubt)

    def _dressed(self, bare: bytes, upstream: str, identity: Identity | None, doubt: Doubt) -> bytes:
        head = bare
        allows = self._gateway.front.allows.get(upstream)
        if allows is not None:
            head = filtered(head, allows)
        if upstream not in self._believing:
            return head
        lines = b""
        if identity is not None:
            lines = b"".join(b"%b: %b\r\n" % line for line in identity.lines)
            if self._signer is not None:
                lines += self._signer.line(identity, upstream)
        elif doubt is Doubt.AWAY:
            lines = AWAY
        return head[:-2] + lines + b"\r\n" if lines else head

    # after an answer

    def forget(self, exchange: Exchange) -> None:
        """An upstream has set a cookie: what we know of the session before it may no longer hold (a logout)."""
        for sessions in self.sessions:
            if sessions.session.upstream == exchange.decision.upstream:
                credential = sessions.credential_of(exchange.request)
                if credential is not None:
                    sessions.forget(credential)
