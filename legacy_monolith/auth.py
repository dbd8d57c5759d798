"""Who calls: the back office by key, a device by token, a customer by session cookie."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import jwt
from flask import current_app, request, session
from sqlalchemy import text

from legacy_monolith import db
from legacy_monolith.errors import ApiError

BACKOFFICE, DEVICE, CUSTOMER = "backoffice", "device", "customer"


@dataclass(frozen=True, slots=True)
class Caller:
    kind: str
    id: int = 0

    def may_see_customer(self, customer_id: int) -> bool:
        return self.kind == BACKOFFICE or (self.kind == CUSTOMER and self.id == customer_id)


def token_sha1(token: str) -> str:
    """What is stored of a device's token. Tokens are random, so a fast hash gives nothing away."""
    return hashlib.sha1(token.encode(), usedforsecurity=False).hexdigest()


def _identify() -> Caller | None:
    if (key := request.headers.get("X-Api-Key")) is not None:
        expected = current_app.extensions["settings"].backoffice_key
        if not hmac.compare_digest(key.encode(), expected.encode()):
            raise ApiError(401, "invalid api key")
        return Caller(BACKOFFICE)
    if (token := request.headers.get("X-Device-Token")) is not None:
        found = db.session().execute(
            text("SELECT id FROM device WHERE token_sha1 = :sha1 AND status <> 'R'"), {"sha1": token_sha1(token)}
        )
        device_id = found.scalar()
        if device_id is None:
            raise ApiError(401, "invalid device token")
        return Caller(DEVICE, device_id)
    key = current_app.extensions["settings"].assertion_key
    if key and (said := request.headers.get("Banyan-Identity")) is not None:
        return _asserted(said, key)
    customer_id = session.get("customer_id")
    if isinstance(customer_id, int):
        return Caller(CUSTOMER, customer_id)
    return None


def _asserted(said: str, key: str) -> Caller:
    """Who calls by the gateway's signed word: a login at a service is valid here too."""
    if said == "away":
        raise ApiError(503, "who calls cannot be checked now")
    try:
        claims = jwt.decode(
            said, key, algorithms=["HS256"], audience="legacy", issuer="banyan-gateway", leeway=5,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )  # fmt: skip
        if claims["kind"] in (DEVICE, CUSTOMER):
            return Caller(claims["kind"], int(claims["sub"]))
    except (jwt.PyJWTError, KeyError, ValueError):
        pass
    raise ApiError(401, "invalid identity")


def require(*kinds: str) -> Caller:
    """The caller, when it is one of `kinds`: 401 for nobody, 403 for somebody else."""
    found = _identify()
    if found is None:
        raise ApiError(401, "authentication required")
    if found.kind not in kinds:
        raise ApiError(403, "forbidden")
    return found


def backoffice() -> Caller:
    return require(BACKOFFICE)


def customer_or_backoffice() -> Caller:
    return require(BACKOFFICE, CUSTOMER)


def own(caller: Caller, customer_id: int) -> None:
    """403 unless the caller may see what belongs to `customer_id`."""
    if not caller.may_see_customer(customer_id):
        raise ApiError(403, "forbidden")


def device(device_id: int) -> Caller:
    """The back office, or the device `device_id` itself."""
    found = require(BACKOFFICE, DEVICE)
    if found.kind == DEVICE and found.id != device_id:
        raise ApiError(403, "forbidden")
    return found
