"""Who calls: the back office by its key, a customer by the monolith's session cookie, a device by its token."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer
from litestar import Request

# Flask's defaults: the monolith signs with them, and a session lasts 31 days.
_SALT = "cookie-session"
_SESSION_SECONDS = 31 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request proves. Both may be absent: anyone may call, and the operation decides."""

    back_office: bool = False
    customer_id: int | None = None

    @property
    def known(self) -> bool:
        return self.back_office or self.customer_id is not None


class Authenticator:
    """Checks keys and cookies; holds the secrets, and no state."""

    def __init__(self, secret_key: str, backoffice_key: str) -> None:
        self._key = backoffice_key.encode()
        self._sessions = URLSafeTimedSerializer(
            secret_key, salt=_SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha1}
        )

    def caller(self, request: Request[Any, Any, Any]) -> Caller:
        return Caller(
            back_office=self.is_back_office(request.headers.get("x-api-key")),
            customer_id=self.customer_of(request.cookies.get("session")),
        )

    def is_back_office(self, key: str | None) -> bool:
        return key is not None and hmac.compare_digest(key.encode(), self._key)

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


def same_token(token: str | None, sha1: str | None) -> bool:
    """True when `token` is the one whose SHA-1 is stored. Tokens are 256 random bits, so a fast hash is enough."""
    if not token or not sha1:
        return False
    return hmac.compare_digest(token_sha1(token), sha1)


def token_sha1(token: str) -> str:
    return hashlib.sha1(token.encode(), usedforsecurity=False).hexdigest()
