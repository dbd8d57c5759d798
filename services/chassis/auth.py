"""Who calls: the back office by its key, a device by its token, a customer by the monolith's session cookie.

Or whoever the gateway says, when it has found out: a login that only another side can read is valid here too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import jwt
from itsdangerous import BadSignature, URLSafeTimedSerializer
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from services.chassis.errors import Problem

# Flask's defaults: the monolith signs with them, and a session lasts 31 days.
_SALT = "cookie-session"
_SESSION_SECONDS = 31 * 24 * 3600

# Where in a request's scope the caller is kept.
_FOUND = "banyan.caller"

# What the gateway says of a session while who issued it does not answer.
AWAY = "away"

Kind = Literal["backoffice", "device", "customer"]
# The id of the device whose token has this SHA-1, unless it is retired.
DeviceLookup = Callable[[str], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is the customer's or the device's."""

    kind: Kind
    id: int = 0

    @property
    def is_back_office(self) -> bool:
        return self.kind == "backoffice"

    def require(self, *kinds: Kind) -> None:
        """Raises: Problem 403."""
        if self.kind not in kinds:
            raise Problem(403, "forbidden")

    def require_customer(self, customer_id: int) -> None:
        """The back office, or this customer. Raises: Problem 403."""
        if not (self.is_back_office or (self.kind == "customer" and self.id == customer_id)):
            raise Problem(403, "forbidden")

    def require_device(self, device_id: int) -> None:
        """The back office, or this device. Raises: Problem 403."""
        if not (self.is_back_office or (self.kind == "device" and self.id == device_id)):
            raise Problem(403, "forbidden")


class Authenticator:
    """Checks keys, tokens and cookies; keeps the secrets, and no state."""

    def __init__(
        self,
        secret_key: str,
        backoffice_key: str,
        device_of: DeviceLookup | None = None,
        *,
        assertion_key: str = "",
        audience: str = "",
    ) -> None:
        """`assertion_key`: the gateway's; empty: its word on who calls is not listened to. `audience`: our name.

        `seen` may be set: it is told the id of each device that calls.
        """
        self.seen: Callable[[int], None] | None = None
        self._key = backoffice_key.encode()
        self._assertion_key = assertion_key
        self._audience = audience
        self._sessions = URLSafeTimedSerializer(
            secret_key, salt=_SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha1}
        )
        self._device_of = device_of

    async def caller(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
        """`identify`, once a request: its guard and its handler ask the same."""
        scope: dict[str, Any] = connection.scope  # type: ignore[assignment]
        if (known := scope.get(_FOUND)) is None:
            known = scope[_FOUND] = await self.identify(connection)
            if known.kind == "device" and self.seen is not None:
                self.seen(known.id)
        caller: Caller = known
        return caller

    async def identify(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
        """Raises: Problem 401 without credentials, or with wrong ones."""
        headers = connection.headers
        if (key := headers.get("x-api-key")) is not None:
            if not hmac.compare_digest(key.encode(), self._key):
                raise Problem(401, "invalid api key")
            return Caller("backoffice")
        customer = self.customer_of(connection.cookies.get("session"))
        if self._assertion_key and (said := headers.get("banyan-identity")) is not None:
            if said == AWAY and customer is not None:
                return Caller("customer", customer)  # the gateway could not find out, but we can read it ourselves
            return self.caller_of(said)
        token = headers.get("x-device-token", _bearer(headers.get("authorization")))
        if token is not None:
            device = await self._device_of(token_sha1(token)) if self._device_of else None
            if device is None:
                raise Problem(401, "invalid device token")
            return Caller("device", device)
        if customer is None:
            raise Problem(401, "authentication required")
        return Caller("customer", customer)

    def caller_of(self, said: str) -> Caller:
        """Who calls, by the gateway's signed word (docs/architecture.md §7).

        Raises: Problem 503 when it could not find out, 401 when it is not its word.
        """
        if said == AWAY:
            raise Problem(503, "who calls cannot be checked now", headers={"Retry-After": "1"})
        try:
            claims = jwt.decode(
                said,
                self._assertion_key,
                algorithms=["HS256"],
                audience=self._audience,
                issuer="banyan-gateway",
                leeway=5,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            if claims["kind"] in ("customer", "device"):
                return Caller(claims["kind"], int(claims["sub"]))
        except (jwt.PyJWTError, KeyError, ValueError):
            pass
        raise Problem(401, "invalid identity")

    def customer_of(self, cookie: str | None) -> int | None:
        """The customer of a session cookie that the monolith signed; None when it is forged, stale or foreign.

        Flask tags what JSON cannot say (tuples, bytes, dates) as `{" t": …}`; an int is plain, so no tags are read.
        """
        if not cookie:
            return None
        try:
            session = self._sessions.loads(cookie, max_age=_SESSION_SECONDS)
        except BadSignature:
            return None
        customer = session.get("customer_id") if isinstance(session, dict) else None
        return customer if isinstance(customer, int) and not isinstance(customer, bool) else None


def token_sha1(token: str) -> str:
    """What is stored of a device's token. Tokens are random, so a fast hash gives nothing away."""
    return hashlib.sha1(token.encode(), usedforsecurity=False).hexdigest()


def only(*kinds: Kind) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]:
    """A guard of v2 routes: it refuses a caller before the body is looked at."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        authenticator: Authenticator = connection.app.state.authenticator
        (await authenticator.caller(connection)).require(*kinds)

    return guard


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
