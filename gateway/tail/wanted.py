"""What somebody who listens wants to see, and whether a request is that. Pure; asked before a line is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange

LONGEST_PATH = 512  # characters of a pattern
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_STATUS = re.compile(r"([1-5])(?:xx|([0-9]{2}))")
_PATH = re.compile(r"[/*][!-~]*")


class BadFilter(ValueError):
    """A filter makes no sense; the message says which, and what would."""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`path`: `*` stands for anything. Statuses: `least` to `most`; 0 is that of a client that left.

    `sample`: share of the requests that fit.
    """

    domain: str | None = None
    side: Literal["legacy", "service"] | None = None
    method: str | None = None
    path: str | None = None
    least: int = 0
    most: int = 599
    sample: float = 1.0


def wanted(given: Mapping[str, str]) -> Wanted:
    """Of the names `domain, side, method, path, status, min_status, sample`. Raises: BadFilter."""
    if unknown := given.keys() - {"domain", "side", "method", "path", "status", "min_status", "sample"}:
        raise BadFilter(f"there is no filter {', '.join(sorted(unknown))}")
    least, most = _statuses(given)
    side, method, path = given.get("side"), given.get("method"), given.get("path")
    if side not in (None, "legacy", "service"):
        raise BadFilter(f"side is legacy or service, not {side!r}")
    if method is not None and method.upper() not in METHODS:
        raise BadFilter(f"method is one of {', '.join(METHODS)}, not {method!r}")
    if path is not None and (len(path) > LONGEST_PATH or not _PATH.fullmatch(path)):
        raise BadFilter(f"path begins with / or *, has up to {LONGEST_PATH} characters, and none is white space")
    return Wanted(
        domain=given.get("domain"),
        side=side,  # type: ignore[arg-type]
        method=None if method is None else method.upper(),
        path=path,
        least=least,
        most=most,
        sample=_share(given.get("sample")),
    )


def _statuses(given: Mapping[str, str]) -> tuple[int, int]:
    status, least = given.get("status"), given.get("min_status")
    if status is not None and least is not None:
        raise BadFilter("status and min_status exclude each other")
    if status is not None:
        match = _STATUS.fullmatch(status.lower())
        if match is None:
            raise BadFilter(f"status is a class like 5xx or a number like 503, not {status!r}")
        first = int(match[1]) * 100
        return (first, first + 99) if match[2] is None else (first + int(match[2]),) * 2
    if least is None:
        return 0, 599
    if not least.isdecimal() or not 0 <= int(least) <= 599:
        raise BadFilter(f"min_status is a status within 0..599, not {least!r}")
    return int(least), 599


def _share(given: str | None) -> float:
    try:
        share = 1.0 if given is None else float(given)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise BadFilter(f"sample is a share above 0 and up to 1, not {given!r}")
    return share


class Match:
    """A filter made ready. Linear in the length of the path, whatever the pattern."""

    __slots__ = ("_domain", "_least", "_method", "_most", "_pieces", "_side")

    def __init__(self, wanted: Wanted) -> None:
        self._domain = wanted.domain
        self._side = wanted.side
        self._method = None if wanted.method is None else wanted.method.encode()
        self._pieces = None if wanted.path is None else wanted.path.encode().split(b"*")
        self._least = wanted.least
        self._most = wanted.most

    def fits(self, exchange: Exchange) -> bool:
        """Of an exchange that is over."""
        return (
            self._least <= exchange.status <= self._most
            and (self._domain is None or self._domain == exchange.decision.domain)
            and (self._side is None or self._side == exchange.decision.side)
            and (self._method is None or self._method == exchange.request.method)
            and (self._pieces is None or _is_like(exchange.request.path, self._pieces))
        )


def _is_like(path: bytes, pieces: list[bytes]) -> bool:
    """`pieces`: of a pattern, between its stars. The first place where one is found is as good as any later one."""
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return path == first
    if len(path) < len(first) + len(last) or not path.startswith(first) or not path.endswith(last):
        return False
    at, end = len(first), len(path) - len(last)
    for piece in pieces[1:-1]:
        found = path.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
