"""What the table says of the facade's own duties: places hidden, cookies, callers known at both sides, rate limits.

All of it is optional; what is not given costs nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A token bucket per caller: `rate` tokens a second, at most `burst` of them.

    `key`: who the caller is, first source present wins (as an operation's key); without one, and last, the address.
    """

    name: str
    rate: float
    burst: int
    key: list[str] = []


class ShownCookie(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a cookie that an upstream sets looks to clients; what is None stays as the upstream said."""

    path: str | None = None
    domain: str | None = None
    secure: bool = False


class Facade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How backends are hidden. Their URLs in the table are always known; `hosts` are further names of theirs.

    `origin`: what clients call us (`https://shop.example`); None: as each client said. `links`: media types in whose
    bodies absolute links are rewritten too, as far as a body is not longer than `link_bytes`.
    """

    origin: str | None = None
    hosts: list[str] = []
    links: list[str] = []
    link_bytes: int = 256 * 1024
    cookies: dict[str, ShownCookie] = {}


class Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who signs JWTs that we believe. `subject`: the claim that names the caller; `headers`: header → claim."""

    issuer: str
    jwks: str
    audiences: list[str]
    algorithms: list[Algorithm] = msgspec.field(default_factory=lambda: ["RS256", "ES256"])
    subject: str = "sub"
    kind: str = "customer"
    headers: dict[str, str] = {}
    leeway: float = 10
    refresh: float = 300


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A credential that only `upstream` can read: it is asked at `path`, and the answer is kept for `ttl` seconds.

    `credential`: `cookie:NAME` or `header:NAME`. The answer is a JSON object; `subject` names the field with the
    caller's id. `stale`: seconds for which a known answer still holds when the upstream cannot be asked.
    """

    credential: str
    upstream: str
    path: str
    subject: str = "id"
    kind: str = "customer"
    ttl: float = 30
    stale: float = 300


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`assertion_seconds`: how long the signed word about a caller holds that upstreams with `identity` get."""

    issuers: list[Issuer] = []
    sessions: list[Session] = []
    assertion_seconds: float = 60
