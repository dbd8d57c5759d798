"""A tester's choice of side: a signed header that outsiders cannot forge.

`Banyan-Override: domain=pricing; side=service; exp=1795270588; sig=…`, sig = HMAC-SHA256 of the rest, in hex. It holds
for reads of its domain until `exp` (seconds since 1970); writes always go to the owner. It never goes upstream.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from gateway.errors import SettingsRefused

LONGEST_SECONDS = 7 * 24 * 3600
SHORTEST_KEY = 32  # characters
_FORM = re.compile(rb"domain=([a-z][a-z0-9_-]{0,39}); ?side=(legacy|service); ?exp=([0-9]{1,11}); ?sig=([0-9a-f]{64})")


def sign(key: bytes, domain: str, side: str, expires: int) -> str:
    """The header's value."""
    return f"domain={domain}; side={side}; exp={expires}; sig={_signature(key, domain, side, expires)}"


def override_key(environment: Mapping[str, str]) -> bytes | None:
    """GATEWAY_OVERRIDE_KEY, or what the file GATEWAY_OVERRIDE_KEY_FILE holds. Raises: SettingsRefused."""
    given, name = environment.get("GATEWAY_OVERRIDE_KEY", ""), "GATEWAY_OVERRIDE_KEY"
    if path := environment.get("GATEWAY_OVERRIDE_KEY_FILE"):
        if given:
            raise SettingsRefused("give GATEWAY_OVERRIDE_KEY or GATEWAY_OVERRIDE_KEY_FILE, not both")
        name = f"GATEWAY_OVERRIDE_KEY_FILE: the key in {path}"
        try:
            given = Path(path).read_text().strip() or " "
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsRefused(f"GATEWAY_OVERRIDE_KEY_FILE: cannot read {path}: {error}") from error
    if given and len(given) < SHORTEST_KEY:
        raise SettingsRefused(f"{name} must have at least {SHORTEST_KEY} characters: outsiders must not guess it")
    return given.encode() or None


def _signature(key: bytes, domain: str, side: str, expires: int) -> str:
    return hmac.new(key, f"banyan-override/1\n{domain}\n{side}\n{expires}".encode(), sha256).hexdigest()


class Refused(Exception):
    """Why an override does not count, in one word: malformed, forged, expired, too-long or elsewhere."""


def side_of(key: bytes, value: bytes, domain: str, now: float) -> str:
    """The side that a header's value names for this domain. Raises: Refused."""
    match = _FORM.fullmatch(value)
    if match is None:
        raise Refused("malformed")
    named, side, expires = match[1].decode(), match[2].decode(), int(match[3])
    if not hmac.compare_digest(_signature(key, named, side, expires).encode(), match[4]):
        raise Refused("forged")
    if expires <= now:
        raise Refused("expired")
    if expires > now + LONGEST_SECONDS:
        raise Refused("too-long")
    if named != domain:
        raise Refused("elsewhere")
    return side
