"""The rules of a route table. Each yields every breach it finds, so that one answer tells all that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from gateway.control.comparison import problems_of_comparison
from gateway.control.front_rules import of_front
from gateway.control.overlaps import TOKEN, ambiguous, clashes, of_conditions, segments
from gateway.control.resilience import is_repeatable, problems_of_outliers, problems_of_shedding, problems_of_times
from gateway.routing.bucket import BUCKETS

if TYPE_CHECKING:
    from gateway.control.table import Domain, Operation, RouteTable, Upstream, Wave

__all__ = ["READ_METHODS", "ambiguous", "parameters", "problems_of", "segments"]

_encoder = msgspec.json.Encoder()
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
KEY_KINDS = frozenset({"path", "query", "header", "cookie", "jwt"})
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_OPERATION_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_PARAMETER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_SERVER_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*")
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%-]+")


def problems_of(table: RouteTable) -> list[str]:
    front = [f"{where}: {reason}" for where, reason in of_front(table)]
    return [*_of_upstreams(table), *_of_domains(table), *_of_known_operations(table), *front]


_flawless = b""  # the operations that were found so last


def _of_known_operations(table: RouteTable) -> list[str]:
    """To compare them all takes longer than the rest of a change, and most changes, a hold first, leave them alone."""
    global _flawless
    every = _encoder.encode({name: domain.operations for name, domain in table.domains.items()})
    if every == _flawless:
        return []
    if not (found := list(_of_operations(table))):
        _flawless = every
    return found


def parameters(path: str) -> list[str]:
    return _PARAMETER.findall(path)


def _of_upstreams(table: RouteTable) -> Iterator[str]:
    if table.version < 0:
        yield f"version {table.version} is negative"
    if "legacy" not in table.upstreams:
        yield "upstream 'legacy' is missing: what matches no operation goes there"
    for name, upstream in table.upstreams.items():
        yield from (f"upstream {name}: {reason}" for reason in _of_upstream(name, upstream))


def _of_upstream(name: str, upstream: Upstream) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield f"bad name {name!r}"
    if not upstream.urls:
        yield "has no urls"
    if len(set(upstream.urls)) != len(upstream.urls):
        yield "names a url twice"
    if not re.fullmatch(r"/[!-~]*", upstream.health):
        yield f"health must be a path, not {upstream.health!r}"
    for what in ("connections", "waiting"):
        if not 1 <= (count := getattr(upstream, what)) <= 100_000:
            yield f"{what} must be within 1..100000, not {count}"
    if not 0 < upstream.connect_timeout <= 60:
        yield f"connect_timeout must be within 0..60 seconds, not {upstream.connect_timeout:g}"
    yield from problems_of_outliers(upstream.outliers)
    if upstream.shedding is not None:
        yield from problems_of_shedding(upstream.shedding)
    for url in upstream.urls:
        if not _is_origin(url):
            yield f"url must be http://host:port or https://host:port, not {url!r}"
    yield from _of_tls(upstream)


def _of_tls(upstream: Upstream) -> Iterator[str]:
    schemes = {url.partition(":")[0] for url in upstream.urls}
    if schemes == {"http", "https"}:
        yield "mixes http and https: its servers are equal, so all are reached alike"
    if "https" not in schemes:
        for name in ("ca", "certificate", "certificate_key", "server_name"):
            if getattr(upstream, name) is not None:
                yield f"{name} is for https, and its urls are not"
    if upstream.certificate is None and upstream.certificate_key is not None:
        yield "certificate_key without a certificate"
    for name in ("ca", "certificate", "certificate_key"):
        file = getattr(upstream, name)
        if file is not None and not file.startswith("/"):
            yield f"{name} must be the absolute path of a file on the gateway's machine, not {file!r}"
    if upstream.server_name is not None and not _SERVER_NAME.fullmatch(upstream.server_name):
        yield f"server_name must be a host's name, not {upstream.server_name!r}"


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    bare = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and bare and port != 0


def _of_domains(table: RouteTable) -> Iterator[str]:
    for name, domain in table.domains.items():
        yield from (f"domain {name}: {reason}" for reason in _of_domain(table, name, domain))


def _of_domain(table: RouteTable, name: str, domain: Domain) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield f"bad name {name!r}"
    if domain.service not in table.upstreams:
        yield f"unknown upstream {domain.service!r}: upstreams are {', '.join(sorted(table.upstreams))}"
    elif domain.service == "legacy":
        yield "its service cannot be the upstream 'legacy'"
    yield from _of_shadow(table, domain)
    if not 0 <= domain.retry_percent <= 100:
        yield f"retry_percent {domain.retry_percent} is not within 0..100"
    for wave in domain.waves:
        yield from (f"wave {wave.wave}: {reason}" for reason in _of_wave(wave))
    yield from _of_ranges(domain.waves)


def _of_shadow(table: RouteTable, domain: Domain) -> Iterator[str]:
    for field in ("shadow_percent", "shadow_writes", "shadow_noise"):
        if not 0 <= (share := getattr(domain, field)) <= 100:
            yield f"{field} {share} is not within 0..100"
    for field, share in (("relative", domain.thresholds.relative), ("absolute", domain.thresholds.absolute)):
        if not 0 <= share <= 100:
            yield f"thresholds.{field} {share} is not within 0..100"
    upstream = table.upstreams.get(domain.service)
    if domain.shadow_writes and upstream is not None and not upstream.rehearses:
        yield f"shadow_writes needs an upstream that rehearses: {domain.service!r} would do each write a second time"
    for where, what in problems_of_comparison(domain.compare):
        yield f"compare.{where}: {what}"


def _of_wave(wave: Wave) -> Iterator[str]:
    if not 0 <= wave.canary_percent <= 100:
        yield f"canary_percent {wave.canary_percent} is not within 0..100"
    if wave.bucket_from >= wave.bucket_to:
        yield f"bucket range {wave.bucket_from}..{wave.bucket_to} is empty"
    if wave.epoch < 0:
        yield f"epoch {wave.epoch} is negative"
    if wave.phase == "retired" and wave.owner != "service":
        yield f"a retired wave is owned by the service, not by {wave.owner!r}"


def _of_ranges(waves: list[Wave]) -> Iterator[str]:
    """The waves cover the buckets 0..1024 once each."""
    if not waves:
        yield "has no waves"
        return
    if len({wave.wave for wave in waves}) != len(waves):
        yield "names a wave twice"
    ordered = sorted(waves, key=lambda wave: wave.bucket_from)
    if ordered[0].bucket_from != 0:
        yield f"waves leave a gap: they begin at bucket {ordered[0].bucket_from}, not at 0"
    for left, right in pairwise(ordered):
        if left.bucket_to > right.bucket_from:
            yield f"waves {left.wave} and {right.wave} overlap"
        elif left.bucket_to < right.bucket_from:
            yield f"waves leave a gap: buckets {left.bucket_to}..{right.bucket_from} belong to none"
    if ordered[-1].bucket_to != BUCKETS:
        yield f"waves leave a gap: they end at bucket {ordered[-1].bucket_to}, not at {BUCKETS}"


def _of_operations(table: RouteTable) -> Iterator[str]:
    everything = [(name, op) for name, domain in table.domains.items() for op in domain.operations]
    seen: set[str] = set()
    for name, operation in everything:
        if operation.id in seen:
            yield f"operation {operation.id}: the id is used twice"
        seen.add(operation.id)
        yield from (f"operation {operation.id} of {name}: {reason}" for reason in _of_operation(operation))
    for a, b, why in clashes((operation for _, operation in everything), lambda operation: operation):
        yield f"operations {a.id} ({a.method} {a.path}) and {b.id} ({b.method} {b.path}) {why}"


def _of_operation(operation: Operation) -> Iterator[str]:
    if not _OPERATION_ID.fullmatch(operation.id):
        yield "bad id"
    if operation.method not in METHODS:
        yield f"unknown method {operation.method!r}"
    elif operation.kind == "read" and operation.method not in READ_METHODS:
        yield f"a read cannot be a {operation.method}"
    yield from problems_of_times(operation.timeout, operation.try_timeout, repeatable=is_repeatable(operation))
    yield from _of_path(operation.path)
    names = parameters(operation.path)
    for source in operation.key:
        kind, _, name = source.partition(":")
        if kind not in KEY_KINDS or not name:
            yield f"key source {source!r} is not path:, query:, header:, cookie: or jwt: with a name"
        elif kind in ("header", "cookie") and not TOKEN.fullmatch(name):
            yield f"key source {source!r}: {name!r} cannot be the name of a {kind}"
        elif kind == "path" and name not in names:
            yield f"key source {source!r} names no parameter of {operation.path}"
    yield from of_conditions(operation.when)
    for where, what in problems_of_comparison(operation.compare):
        yield f"compare.{where}: {what}"


def _of_path(path: str) -> Iterator[str]:
    if not path.startswith("/"):
        yield f"path {path!r} does not begin with /"
        return
    for segment in segments(path):
        if segment and not _PARAMETER.fullmatch(segment) and not _LITERAL.fullmatch(segment):
            yield f"path {path!r}: segment {segment!r} is neither literal nor {{parameter}}"
    names = parameters(path)
    if len(set(names)) != len(names):
        yield f"path {path!r} names a parameter twice"
