"""An issuer of tokens, and the table that believes it, for the tests of the bridge."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from gateway.control.front import Auth, Issuer, Session
from tests.integration.gateway.stage import Stage
from tests.integration.gateway.upstream import Seen, Upstream, response

KEY = "a-key-of-the-gateway-for-tests-only"
NAME = "https://login.example"


@dataclass
class LoginServer:
    """Signs tokens, and shows its public keys at /jwks, as long as it is up."""

    server: Upstream
    keys: dict[str, Any] = field(default_factory=dict)

    @classmethod
    async def start(cls) -> LoginServer:
        made = cls(Upstream())
        made.server.handler = made._answer
        await made.server.start()
        made.new_key("one")
        return made

    def new_key(self, key_id: str, kind: str = "EC") -> None:
        private = (
            ec.generate_private_key(ec.SECP256R1())
            if kind == "EC"
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        self.keys[key_id] = private

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [{**_public(key), "kid": key_id, "use": "sig"} for key_id, key in self.keys.items()]}

    @property
    def fetched(self) -> int:
        return sum(seen.target == "/jwks" for seen in self.server.seen)

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=json.dumps(self.jwks).encode()))

    def token(self, key_id: str = "one", *, key: Any = None, algorithm: str | None = None, **claims: Any) -> str:
        """For customer 7 and the next minute, unless `claims` says otherwise; a claim None is left out."""
        key = key or self.keys[key_id]
        algorithm = algorithm or ("ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256")
        said = {"iss": NAME, "aud": "shop", "sub": "7", "exp": int(time.time()) + 60, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key, algorithm=algorithm, headers={"kid": key_id})


def _public(key: Any) -> dict[str, Any]:
    kind = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    found: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return found


def believe(
    stage: Stage,
    *,
    issuer: LoginServer | None = None,
    sessions: tuple[Session, ...] = (),
    identity: tuple[str, ...] = ("legacy", "shop"),
    required: tuple[str, ...] = (),
    keys: dict[str, list[str]] | None = None,
    **given: Any,
) -> None:
    """Publish the next table."""
    table = stage.gateway.router.table
    issuers = [Issuer(NAME, f"{issuer.server.url}/jwks", ["shop"], **given)] if issuer is not None else []
    upstreams = {
        name: msgspec.structs.replace(upstream, identity=name in identity) for name, upstream in table.upstreams.items()
    }
    domain = table.domains["shop"]
    operations = [
        msgspec.structs.replace(
            operation,
            auth="required" if operation.id in required else None,
            key=(keys or {}).get(operation.id, operation.key),
        )
        for operation in domain.operations
    ]
    domains = {"shop": msgspec.structs.replace(domain, operations=operations)}
    auth = Auth(issuers=issuers, sessions=list(sessions))
    changed = msgspec.structs.replace(table, version=table.version + 1, upstreams=upstreams, domains=domains, auth=auth)
    assert stage.gateway.swap(changed.validated())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def caller(seen: Seen, upstream: str) -> tuple[str, str] | None:
    """Who calls, as this upstream is told (kind, subject), its signature checked; None: nobody is named."""
    told = seen.headers.get("banyan-identity")
    if told is None:
        return None
    claims = jwt.decode(told, KEY, algorithms=["HS256"], audience=upstream, issuer="banyan-gateway")
    return claims["kind"], claims["sub"]
