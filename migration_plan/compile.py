"""What a plan becomes: stream files and the gateway's route table (docs/architecture.md §7, §8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.control.comparison import Thresholds
from gateway.control.front import Auth
from gateway.control.table import Condition, Domain, Operation, Owner, RouteTable, Upstream, Wave, encode_table
from migration_plan.environment import need
from migration_plan.journey import Stand
from migration_plan.plan import Kafka, Plan, Side
from migration_plan.plan import Operation as PlanOperation

REDIS = "BANYAN_REDIS_URL"
DIRECTIONS = ("forward", "reverse")

#: (domain, wave) → what the owner's database says: who owns it, with which epoch.
Ownership = Mapping[tuple[str, int], tuple[Owner, int]]
#: (domain, wave) → where the wave is on its way; a wave that is not named is at `legacy`.
Phases = Mapping[tuple[str, int], Stand]


def compile_streams(plan: Plan, env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Stream descriptions by name (`pricing.forward`), as `cdc.config.Stream` reads them."""
    return {
        f"{name}.{direction}": compile_stream(plan, name, direction, env)
        for name in plan.domains
        for direction in DIRECTIONS
    }


def compile_stream(plan: Plan, name: str, direction: str, env: Mapping[str, str]) -> dict[str, Any]:
    """One domain's stream in one direction. It listens where `BANYAN_CDC_…_URL` says, else on a free port."""
    sides: tuple[Side, Side] = ("legacy", "service") if direction == "forward" else ("service", "legacy")
    source, target = (plan.database_of(name, side).capture for side in sides)
    slot = f"banyan_{name}_{direction}".replace("-", "_")
    streams = plan.domain(name).streams
    return {
        "name": f"{name}.{direction}",
        "domain": name,
        "direction": direction,
        "source_dsn_env": source,
        "target_dsn_env": target,
        "slot": slot,
        "publication": f"banyan_{name}".replace("-", "_"),
        "origin": slot,
        "snapshot": direction == "forward",
        "mapping": str(plan.mapping_path(name)),
        "listen": _listen(env.get(stream_url_variable(name, direction))),
        "redis_url_env": REDIS if env.get(REDIS) else None,  # without Redis the watermark is in the target only
        "on_ddl": streams.on_ddl,
        "on_ddl_tables": streams.tables,
        "slot_keep_mb": streams.slot_keep_mb,
        "failover": streams.failover,
        "transport": streams.transport,
        "kafka": compile_kafka(streams.kafka, name, direction),
    }


def compile_kafka(kafka: Kafka, domain: str, direction: str) -> dict[str, Any]:
    """Always there, so that a stream can be moved to Kafka while it runs; `cdc.kafka.settings.Settings` reads it."""
    return {
        "prefix": f"{kafka.prefix}.{domain}.{direction}",
        "bootstrap_env": kafka.bootstrap,
        "partitions": kafka.partitions,
        "replicas": kafka.replicas,
        "capture": kafka.capture,
    }


def stream_url_variable(domain: str, direction: str) -> str:
    return f"BANYAN_CDC_{domain.upper().replace('-', '_')}_{direction.upper()}_URL"


def _listen(url: str | None) -> str:
    parts = urlsplit(url or "")
    return f"{parts.hostname}:{parts.port}" if parts.hostname and parts.port else "127.0.0.1:0"


def compile_table(plan: Plan, ownership: Ownership, phases: Phases, version: int, env: Mapping[str, str]) -> RouteTable:
    """The route table that says what the databases and the ledger say.

    Raises: NotConfigured when an upstream's URL is not set; TableRefused when the gateway would not take it.
    """
    upstreams = {name: compile_upstream(plan, name, env) for name in plan.upstreams}
    domains = {name: compile_domain(plan, name, ownership, phases) for name in plan.domains}
    auth = compile_auth(plan, env)
    return RouteTable(version=version, upstreams=upstreams, domains=domains, facade=plan.facade, auth=auth).validated()


def compile_auth(plan: Plan, env: Mapping[str, str]) -> Auth | None:
    """Raises: NotConfigured when an issuer's JWKS has no URL."""
    if plan.auth is None:
        return None
    replace = msgspec.structs.replace
    return replace(plan.auth, issuers=[replace(one, jwks=need(env, one.jwks)) for one in plan.auth.issuers])


def compile_upstream(plan: Plan, name: str, env: Mapping[str, str]) -> Upstream:
    """Raises: NotConfigured."""
    upstream = plan.upstreams[name]
    urls = need(env, upstream.url).replace(",", " ").split()
    cookies = None if upstream.cookies is None else list(upstream.cookies)
    return Upstream(
        urls,
        upstream.health,
        upstream.rehearses,
        connections=upstream.connections,
        waiting=upstream.waiting,
        connect_timeout=upstream.connect_timeout,
        outliers=upstream.outliers,
        shedding=upstream.shedding,
        cookies=cookies,
        identity=upstream.identity,
        ca=upstream.ca,
        certificate=upstream.certificate,
        certificate_key=upstream.certificate_key,
        server_name=upstream.server_name,
    )


def compile_domain(
    plan: Plan, name: str, ownership: Ownership, phases: Phases, hold: frozenset[int] = frozenset()
) -> Domain:
    """One domain of the table; `hold` names the waves whose writes shall wait."""
    domain = plan.domain(name)
    waves = []
    for number, wave in enumerate(domain.waves):
        owner, epoch = ownership.get((name, number), ("legacy", 0))
        stand = phases.get((name, number), Stand("legacy"))
        percent = stand.percent if stand.phase == "canary" else 0
        waves.append(Wave(number, wave.bucket_from, wave.bucket_to, stand.phase, percent, owner, epoch, number in hold))
    operations = [
        Operation(
            op.id,
            op.method,
            op.path,
            op.kind,
            list(op.key),
            op.native,
            op.idempotent,
            _conditions(op),
            op.compare,
            timeout=op.timeout,
            try_timeout=op.try_timeout,
            limits=list(op.limits),
            auth=op.auth,
        )
        for op in domain.operations
    ]
    gates = domain.gates
    return Domain(
        service=domain.upstream,
        waves=waves,
        operations=operations,
        shadow_percent=domain.shadow_percent,
        shadow_writes=domain.shadow_writes,
        shadow_noise=domain.shadow_noise,
        thresholds=Thresholds(gates.shadow_relative_percent, gates.shadow_absolute_percent),
        compare=domain.compare,
        breaker=domain.breaker,
        bulkhead=domain.bulkhead,
        retry_percent=domain.retry_percent,
        limits=list(domain.limits),
    )


def _conditions(operation: PlanOperation) -> list[Condition]:
    return [Condition(c.source, c.exact, c.prefix, c.present) for c in operation.when]


__all__ = [
    "Ownership",
    "Phases",
    "compile_auth",
    "compile_domain",
    "compile_kafka",
    "compile_stream",
    "compile_streams",
    "compile_table",
    "compile_upstream",
    "encode_table",
]
