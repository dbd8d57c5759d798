"""How passwords are stored."""

from __future__ import annotations

import os
from functools import cache

from werkzeug.security import check_password_hash, generate_password_hash

# Stored with each hash, so that a change of it holds for new passwords only.
_METHOD = os.environ.get("LEGACY_PASSWORD_METHOD") or "scrypt:16384:8:1"


def hashed(password: str) -> str:
    return generate_password_hash(password, _METHOD)


def matches(stored: str | None, password: str) -> bool:
    """As slow for an e-mail address that is not known as for one that is."""
    return check_password_hash(stored or _nobody(), password) and stored is not None


@cache
def _nobody() -> str:
    return hashed("nobody's")
