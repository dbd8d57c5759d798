"""The rules of the facade's part of a table (or of a plan: both name its fields alike), as (where, what is wrong)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from gateway.control.front import Auth, Facade, Issuer, Limit, Session

MOST_RATE = 1_000_000
MOST_LINK_BYTES = 8 * 1024 * 1024
_AUTHORITY = re.compile(r"[A-Za-z0-9.-]+(?::\d{1,5})?|\[[0-9A-Fa-f:]+\](?::\d{1,5})?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER = re.compile(r"[a-z][a-z0-9-]{0,63}")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_MEDIA = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")
_URL = re.compile(r"https?://[!-~]+")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_PARAMETER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
# What the gateway or the framing decides must not come out of a claim.
_NEVER_FROM_CLAIM = re.compile(
    r"host|cookie|authorization|connection|content-.*|transfer-.*|te|trailer|upgrade|expect|forwarded|x-forwarded-.*"
    r"|x-request-id|traceparent|banyan-.*|proxy-.*|keep-alive"
)
_SOURCES = ("path", "query", "header", "cookie", "jwt", "address")

Found = Iterator[tuple[str, str]]


class _Operation(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def limits(self) -> Sequence[Limit]: ...
    @property
    def auth(self) -> str | None: ...


class _Domain(Protocol):
    @property
    def operations(self) -> Sequence[_Operation]: ...
    @property
    def limits(self) -> Sequence[Limit]: ...


class _Upstream(Protocol):
    @property
    def cookies(self) -> Sequence[str] | None: ...


class Front(Protocol):
    """A route table, or a plan."""

    @property
    def upstreams(self) -> Mapping[str, _Upstream]: ...
    @property
    def domains(self) -> Mapping[str, _Domain]: ...
    @property
    def facade(self) -> Facade | None: ...
    @property
    def auth(self) -> Auth | None: ...


def of_front(front: Front, *, in_plan: bool = False) -> Found:
    """`in_plan`: places of others are named by variables."""
    for name, upstream in front.upstreams.items():
        yield from _of_cookies(f"upstreams.{name}.cookies", upstream.cookies)
    if front.facade is not None:
        yield from _of_facade(front.facade)
    if front.auth is not None:
        yield from _of_auth(front.auth, front.upstreams, _VARIABLE if in_plan else _URL)
    has_jwt = front.auth is not None and bool(front.auth.issuers)
    for name, domain in front.domains.items():
        yield from _of_limits(f"domains.{name}.limits", domain.limits, (), has_jwt)
        for number, operation in enumerate(domain.operations):
            at = f"domains.{name}.operations[{number}]"
            names = _PARAMETER.findall(operation.path)
            yield from _of_limits(f"{at}.limits", operation.limits, names, has_jwt)
            if operation.auth is not None and front.auth is None:
                yield f"{at}.auth", "needs a caller, but nothing says who they are: give 'auth' issuers or sessions"


def _of_cookies(at: str, names: Sequence[str] | None) -> Found:
    for name in names or ():
        if not _TOKEN.fullmatch(name) or "*" in name[:-1]:
            yield at, f"{name!r} is no cookie's name, nor a prefix that ends with *"


def _of_facade(facade: Facade) -> Found:
    if facade.origin is not None and not _is_origin(facade.origin):
        yield "facade.origin", f"must be http(s)://host or http(s)://host:port, not {facade.origin!r}"
    for host in facade.hosts:
        if not _AUTHORITY.fullmatch(host):
            yield "facade.hosts", f"{host!r} is neither host nor host:port"
    for media in facade.links:
        if not _MEDIA.fullmatch(media):
            yield "facade.links", f"{media!r} is no media type such as application/json (lower case)"
    if not 1 <= facade.link_bytes <= MOST_LINK_BYTES:
        yield "facade.link_bytes", f"{facade.link_bytes} is not within 1..{MOST_LINK_BYTES}"
    for name, shown in facade.cookies.items():
        at = f"facade.cookies.{name}"
        if not _TOKEN.fullmatch(name):
            yield at, f"{name!r} is no cookie's name"
        if shown.path is not None and not re.fullmatch(r"/[!-:<-~]*", shown.path):
            yield f"{at}.path", f"must be a path, not {shown.path!r}"
        if shown.domain is not None and not re.fullmatch(r"[A-Za-z0-9.-]+", shown.domain):
            yield f"{at}.domain", f"must be a host's name, not {shown.domain!r}"


def _of_auth(auth: Auth, upstreams: Mapping[str, object], place: re.Pattern[str]) -> Found:
    if not 5 <= auth.assertion_seconds <= 3600:
        yield "auth.assertion_seconds", f"{auth.assertion_seconds:g} is not within 5..3600"
    if len({issuer.issuer for issuer in auth.issuers}) != len(auth.issuers):
        yield "auth.issuers", "names an issuer twice"
    if len({session.credential for session in auth.sessions}) != len(auth.sessions):
        yield "auth.sessions", "names a credential twice"
    for number, issuer in enumerate(auth.issuers):
        yield from _of_issuer(f"auth.issuers[{number}]", issuer, place)
    for number, session in enumerate(auth.sessions):
        yield from _of_session(f"auth.sessions[{number}]", session, upstreams)


def _of_issuer(at: str, issuer: Issuer, place: re.Pattern[str]) -> Found:
    if not issuer.issuer:
        yield f"{at}.issuer", "is empty"
    if not place.fullmatch(issuer.jwks) or (place is _URL and not _has_host(issuer.jwks)):
        what = "the URL of a JWKS" if place is _URL else "the variable with the URL of a JWKS"
        yield f"{at}.jwks", f"must be {what}, not {issuer.jwks!r}"
    if not issuer.audiences or not all(issuer.audiences):
        yield f"{at}.audiences", "names nobody: a token for somebody else would be believed"
    if not issuer.algorithms:
        yield f"{at}.algorithms", "allows none"
    if not _NAME.fullmatch(issuer.kind):
        yield f"{at}.kind", f"bad name {issuer.kind!r}"
    for header, claim in issuer.headers.items():
        if not _HEADER.fullmatch(header) or _NEVER_FROM_CLAIM.fullmatch(header):
            yield f"{at}.headers", f"{header!r} is no header (lower case) that a claim may fill"
        if not claim:
            yield f"{at}.headers", f"{header!r} names no claim"
    if not 0 <= issuer.leeway <= 300:
        yield f"{at}.leeway", f"{issuer.leeway:g} is not within 0..300 seconds"
    if not 1 <= issuer.refresh <= 86_400:
        yield f"{at}.refresh", f"{issuer.refresh:g} is not within 1..86400 seconds"


def _of_session(at: str, session: Session, upstreams: Mapping[str, object]) -> Found:
    kind, _, name = session.credential.partition(":")
    if kind not in ("cookie", "header") or not _TOKEN.fullmatch(name):
        yield f"{at}.credential", f"{session.credential!r} is not cookie:NAME or header:NAME"
    if session.upstream not in upstreams:
        yield f"{at}.upstream", f"no upstream {session.upstream!r}; there are: {', '.join(sorted(upstreams))}"
    if not re.fullmatch(r"/[!-~]*", session.path):
        yield f"{at}.path", f"must be a path, not {session.path!r}"
    if not _NAME.fullmatch(session.kind):
        yield f"{at}.kind", f"bad name {session.kind!r}"
    if not session.subject:
        yield f"{at}.subject", "names no field"
    if not 0 <= session.ttl <= 3600:
        yield f"{at}.ttl", f"{session.ttl:g} is not within 0..3600 seconds"
    if not 0 <= session.stale <= 86_400:
        yield f"{at}.stale", f"{session.stale:g} is not within 0..86400 seconds"


def _of_limits(at: str, limits: Sequence[Limit], names: Sequence[str], has_jwt: bool) -> Found:
    if len({limit.name for limit in limits}) != len(limits):
        yield at, "names a limit twice"
    for number, limit in enumerate(limits):
        here = f"{at}[{number}]"
        if not _NAME.fullmatch(limit.name):
            yield f"{here}.name", f"bad name {limit.name!r}"
        if not math.isfinite(limit.rate) or not 0 < limit.rate <= MOST_RATE:
            yield f"{here}.rate", f"{limit.rate:g} is not within 0..{MOST_RATE} tokens a second, 0 excluded"
        if not 1 <= limit.burst <= MOST_RATE:
            yield f"{here}.burst", f"{limit.burst} is not within 1..{MOST_RATE}"
        for source in limit.key:
            yield from _of_source(f"{here}.key", source, names, has_jwt)


def _of_source(at: str, source: str, names: Sequence[str], has_jwt: bool) -> Found:
    kind, _, name = source.partition(":")
    if kind not in _SOURCES or bool(name) is (kind == "address"):
        yield at, f"{source!r} is not path:, query:, header:, cookie: or jwt: with a name, or 'address'"
    elif kind == "path" and name not in names:
        yield at, f"{source!r} names no parameter of the operation's path"
    elif kind == "jwt" and not has_jwt:
        yield at, f"{source!r} needs an issuer in 'auth'"


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and url == f"{parts.scheme}://{parts.netloc}"
        and bool(_AUTHORITY.fullmatch(parts.netloc))
    )


def _has_host(url: str) -> bool:
    """A URL that a client can connect to: `http://x:port`, `http://[x` and `http:///p` match a pattern and are none."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and bool(_AUTHORITY.fullmatch(parts.netloc.rpartition("@")[2]))
    except ValueError:
        return False
