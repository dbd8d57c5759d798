"""One case: bytes in, and what must be at both ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Value = str | re.Pattern[str] | None  # None: the header must not be there


@dataclass(frozen=True, slots=True)
class Await:
    """In the place of a write: wait until the gateway has sent this."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream does with every request of a case. `early`: on the head, without waiting for the body."""

    data: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    early: bool = False
    close: bool = False
    echo: bool = False  # after the answer all bytes come back (a tunnel)


@dataclass(frozen=True, slots=True)
class Saw:
    """A request as the upstream must see it; a header's values are joined by a comma and a space."""

    target: str = "/"
    method: str = "GET"
    has: Mapping[str, Value] = field(default_factory=dict)
    body: bytes = b""
    trailers: tuple[str, ...] = ()
    whole: bool = True  # False: its body did not have to come


@dataclass(frozen=True, slots=True)
class Got:
    """The last response as the client must get it. `whole` False: it must be broken off."""

    has: Mapping[str, Value] = field(default_factory=dict)
    body: bytes | None = None
    trailers: tuple[str, ...] = ()
    early: tuple[int, ...] = ()  # 1xx before it
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """`status`: of the responses in order, none when the gateway only breaks off. `then`: is the connection kept?"""

    id: str
    rfc: str
    sent: tuple[bytes | Await, ...]
    status: tuple[int, ...]
    then: Literal["kept", "closed", "tunnel"]
    seen: tuple[Saw, ...] = ()
    answer: Answer = Answer()
    got: Got | None = None
    head: bool = False  # its requests are HEAD: no body follows
    eof: bool = False  # the client ends its sending half
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def forwards(self) -> bool:
        return bool(self.seen)


def request(line: str, *headers: str, body: bytes = b"", host: str | None = "a") -> bytes:
    """A request in right form but for what the case is about."""
    lines = [line, *([f"Host: {host}"] if host is not None else []), *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def reply(line: str, *headers: str, body: bytes = b"") -> bytes:
    return ("\r\n".join([f"HTTP/1.1 {line}", *headers]) + "\r\n\r\n").encode("latin-1") + body


def refused(id: str, rfc: str, *sent: bytes | Await, status: int = 400, **rest: Any) -> Case:
    """The upstream sees nothing and the connection ends."""
    return Case(id, rfc, sent, (status,), "closed", **rest)


def passed(id: str, rfc: str, *sent: bytes | Await, saw: Saw | None = None, **rest: Any) -> Case:
    """One request goes through, and the connection can be used again."""
    return Case(id, rfc, sent, (200,), "kept", (saw or Saw(),), **rest)
