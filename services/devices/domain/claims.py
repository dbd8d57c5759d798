"""Claim codes: typed by an installer, good once. Pure.

Twelve letters of Crockford's alphabet are 60 bits: with five wrong tries for a serial nobody guesses one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# What people read for what was printed.
_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_LENGTH = 12

MOST_WRONG_TRIES = 5


def make(choose: Callable[[str], str]) -> str:
    """`7K3M-9QXT-2H4P`; `choose` takes one letter of many (`secrets.choice`)."""
    letters = "".join(choose(_LETTERS) for _ in range(_LENGTH))
    return "-".join(letters[start : start + 4] for start in range(0, _LENGTH, 4))


def digest(code: str) -> str | None:
    """What is stored of a code; None for what no code of ours is. Case, spaces and dashes do not matter."""
    plain = code.upper().translate(_MISREAD)
    if len(plain) != _LENGTH or not set(plain) <= set(_LETTERS):
        return None
    return hashlib.sha256(plain.encode()).hexdigest()
