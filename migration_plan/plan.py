"""The plan: which domains move, by which routes, tables and waves, and what must hold before each step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct

from cdc.schema.judge import Policy
from gateway.control.comparison import NO_RULES, Comparison
from gateway.control.front import Auth, Facade, Limit
from gateway.control.resilience import Breaker, Bulkhead, Count, Outliers, Seconds, Shedding
from migration_plan import document
from migration_plan.errors import NameUnknown, PlanInvalid

BUCKETS = 1024
SHIPPED = Path(__file__).parent / "plan.yaml"

Phase = Literal["legacy", "shadow", "canary", "service", "retired"]
Side = Literal["legacy", "service"]
Percent = Annotated[int, Meta(ge=0, le=100)]
Ratio = Annotated[float, Meta(gt=1, le=100)]
Milliseconds = Annotated[int, Meta(ge=1, le=60_000)]
Variable = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]*$")]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
KeySource = Annotated[str, Meta(pattern=r"^((path|query|header|cookie):[A-Za-z0-9_-]+|jwt:[A-Za-z0-9_.:/-]+)$")]
ConditionSource = Annotated[str, Meta(pattern=r"^(query|header):[A-Za-z0-9_.-]+$")]
ConditionText = Annotated[str, Meta(min_length=1, max_length=200)]
PemFile = Annotated[str, Meta(pattern=r"^/\S+$")]  # on each gateway node
Approver = Annotated[str, Meta(pattern=r"^(role:[a-z][a-z0-9_-]{0,39}|[^\s:]{1,80})$")]
Roles = dict[Name, tuple[Annotated[str, Meta(pattern=r"^[^\s:]{1,80}$")], ...]]
FilePattern = Annotated[str, Meta(pattern=r"^[^/\s]\S*$")]


class Database(Struct, frozen=True, forbid_unknown_fields=True):
    """The names of the variables that hold one database's DSNs, by role."""

    control: Variable  # banyan_ctl: reads tables, calls the guard's functions
    owner: Variable  # owner or superuser: `prepare` only
    capture: Variable  # banyan_cdc: replication


class Upstream(Struct, frozen=True, forbid_unknown_fields=True):
    url: Variable
    health: Annotated[str, Meta(pattern=r"^/\S*$")]
    rehearses: bool = False  # it rolls back a write that carries Banyan-Dry-Run
    connections: Count = 256  # to one server, from one worker
    waiting: Count = 1024  # for one of them
    connect_timeout: Annotated[float, Meta(gt=0, le=60)] = 1.0
    outliers: Outliers = Outliers()
    shedding: Shedding | None = None  # unset: no limit but the connections
    cookies: tuple[str, ...] | None = None  # the only ones that it gets and may set; none given: all
    identity: bool = False  # it believes the gateway's signed word about who calls
    ca: PemFile | None = None  # of servers at https://; unset: the gateway machine's own authorities
    certificate: PemFile | None = None  # shown to servers that ask for one
    certificate_key: PemFile | None = None
    server_name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$")] | None = None  # unset: the url's host


class Condition(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a request must carry: exactly one of `exact`, `prefix` and `present`."""

    source: ConditionSource
    exact: ConditionText | None = None
    prefix: ConditionText | None = None
    present: bool | None = None


class Operation(Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, Meta(pattern=r"^[a-z0-9]+(\.[a-z0-9_-]+)+$")]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    path: Annotated[str, Meta(pattern=r"^/\S*$")]
    kind: Literal["read", "write"]
    key: tuple[KeySource, ...] = ()
    native: bool = False
    idempotent: bool | Literal["key"] = False  # "key": with an Idempotency-Key
    when: tuple[Condition, ...] = ()  # of operations with one path, the one with the narrowest conditions wins
    compare: Comparison = NO_RULES  # besides the domain's
    timeout: Seconds | None = None  # until the answer's head, and between its bytes; unset: the gateway's
    try_timeout: Seconds | None = None  # until the head of one try, when there may be another
    limits: tuple[Limit, ...] = ()  # besides the domain's, which its operations share
    auth: Literal["required"] | None = None
    # Of a write without a key, in a domain with several waves: its side draws the key of what it makes from the waves
    # that it owns (cdc/guard/guard_draw.sql); or the guard refuses all of it where a row is not its side's; or no row
    # of the domain changes.
    without_key: Literal["draws", "guarded", "keeps-nothing"] | None = None


class Wave(Struct, frozen=True, forbid_unknown_fields=True):
    """A half-open range of buckets that moves together."""

    bucket_from: Annotated[int, Meta(ge=0, lt=BUCKETS)]
    bucket_to: Annotated[int, Meta(gt=0, le=BUCKETS)]


class Gates(Struct, frozen=True, forbid_unknown_fields=True):
    """What must be measured before a step; no data counts as not passed."""

    max_lag_ms: Milliseconds = 1_000
    verify_fresh_s: Annotated[int, Meta(ge=1, le=86_400)] = 900
    mapping_fresh_s: Annotated[int, Meta(ge=1)] = 86_400  # before a switch: every row carried there and back
    shadow_samples: Annotated[int, Meta(ge=0)] = 0
    # A field of the answers regresses when the sides differ in it more often than legacy does with itself, by both.
    shadow_relative_percent: Annotated[float, Meta(ge=0, le=100)] = 20.0
    shadow_absolute_percent: Annotated[float, Meta(ge=0, le=100)] = 0.03
    error_percent: Annotated[float, Meta(ge=0, le=100)] = 1.0
    requests_per_s: Annotated[float, Meta(ge=0)] = 0.0
    # What makes the steward act, in a stage. It is further out than what lets a step pass, so that nothing flaps:
    # between the two a gate is inconclusive.
    breach_lag_ms: Annotated[int, Meta(ge=1, le=600_000)] = 10_000
    retained_mb: Annotated[int, Meta(ge=16)] | None = None  # WAL that a slot may keep; unset: half of slot_keep_mb
    error_least: Annotated[int, Meta(ge=1)] = 5  # fewer failures in a window say nothing
    # The service's reads beside legacy's of the same operations in the same window.
    latency_samples: Annotated[int, Meta(ge=1)] = 100  # of each side; below, nothing is said
    p50_ratio: Ratio = 2.0
    p95_ratio: Ratio = 2.0
    p99_ratio: Ratio = 3.0
    latency_floor_ms: Annotated[float, Meta(ge=0, le=60_000)] = 50.0  # differences below it never count
    latency_confidence: Annotated[float, Meta(ge=0.5, lt=1)] = 0.98  # as Kayenta's judge


class Stage(Struct, frozen=True, forbid_unknown_fields=True):
    """What the steward does in a stage when a gate fails; the limits are those of Argo Rollouts' analysis.

    More than `failure_limit` failures in a row count, one every 2 s: 3 is the most that acts within 10 s.
    """

    on_fail: Literal["rollback", "freeze", "alert"]
    failure_limit: Annotated[int, Meta(ge=0, le=3)] = 2
    inconclusive_limit: Annotated[int, Meta(ge=0, le=60)] = 30  # then somebody is told; nothing moves by it
    error_limit: Annotated[int, Meta(ge=0, le=60)] = 4  # looks in a row that came to nothing at all, likewise


class Stages(Struct, frozen=True, forbid_unknown_fields=True):
    """A rollback takes one phase back, and freezes. From `service` it moves writes, so there one asks for it."""

    shadow: Stage = Stage("alert")
    canary: Stage = Stage("rollback")
    service: Stage = Stage("freeze")
    window_s: Annotated[int, Meta(ge=4, le=60)] = 10  # of traffic that a look judges
    cooldown_s: Annotated[int, Meta(ge=10, le=86_400)] = 300  # after an act, nothing is done to the same wave

    def of(self, phase: Phase) -> Stage | None:
        """None in phases that nobody watches."""
        return {"shadow": self.shadow, "canary": self.canary, "service": self.service}.get(phase)


class Budgets(Struct, frozen=True, forbid_unknown_fields=True):
    pause_ms: Milliseconds = 1_000
    lock_timeout_ms: Annotated[int, Meta(ge=10, le=900)] = (
        300  # below deadlock_timeout (1 s): the fence gives way, not the writer
    )
    fence_attempts: Annotated[int, Meta(ge=1, le=50)] = 5
    hold_publish_ms: Milliseconds = 200


class Kafka(Struct, frozen=True, forbid_unknown_fields=True):
    """The topics of a domain's streams: `<prefix>.<domain>.<direction>.<table>`. Fixed while the streams live."""

    bootstrap: Variable = "KAFKA_BOOTSTRAP_SERVERS"
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "banyan"
    partitions: Annotated[int, Meta(ge=1, le=256)] = 4
    replicas: Annotated[int, Meta(ge=1, le=9)] = 1
    capture: Literal["relay", "debezium"] = "relay"


class Streams(Struct, frozen=True, forbid_unknown_fields=True):
    """What keeps a domain's streams from lying. `tables`: other policies than `on_ddl`, by either side's table name."""

    on_ddl: Policy = "stop"  # a changed table stops its streams; `expand`: new columns that nobody must fill pass
    tables: dict[str, Policy] = {}
    failover: bool = True  # slots go along to a standby, where the server can (PostgreSQL 17)
    # How much WAL a stream that stands may keep, at a server that sets no bound itself (max_slot_wal_keep_size).
    slot_keep_mb: Annotated[int, Meta(ge=64)] = 4096
    transport: Literal["direct", "kafka"] = "direct"  # of streams that begin; `banyan stream move` moves one that runs
    kafka: Kafka = Kafka()


class Domain(Struct, frozen=True, forbid_unknown_fields=True):
    upstream: Name
    database: Name
    mapping: str
    operations: Annotated[tuple[Operation, ...], Meta(min_length=1)]
    waves: Annotated[tuple[Wave, ...], Meta(min_length=1)] = (Wave(0, BUCKETS),)
    canary_steps: Annotated[tuple[Annotated[int, Meta(ge=1, le=100)], ...], Meta(min_length=1)] = (10, 50)
    shadow_percent: Percent = 100  # of the reads: copied to the other side, and compared
    shadow_noise: Percent = 5  # of those: asked twice at legacy, to learn in what it differs with itself
    shadow_writes: Percent = 0  # of the writes at legacy: done again at the service as dry runs
    compare: Comparison = NO_RULES
    breaker: Breaker = Breaker()
    bulkhead: Bulkhead | None = None  # unset: none
    retry_percent: Percent = 20  # of the requests may be sent once more
    limits: tuple[Limit, ...] = ()
    # Ids below it are the monolith's, from it on the service's: they never meet, so a switch moves no sequence.
    sequence_split: Annotated[int, Meta(gt=1)] = 1_000_000_000
    gates: Gates = Gates()
    budgets: Budgets = Budgets()
    stages: Stages = Stages()
    streams: Streams = Streams()
    # Who may take a step forward: actors (`ann`, `*@ops`) or `role:NAME` of the plan's roles; nobody named: everybody.
    approvers: tuple[Approver, ...] = ()
    # The monolith's files that go with the domain, besides those that serve its routes; relative to legacy.source.
    code: tuple[FilePattern, ...] = ()
    # So long at its service before `banyan complete`, which has no way back. Seconds.
    complete_after_s: Annotated[int, Meta(ge=0)] = 604_800


class Plan(Struct, frozen=True):
    """A plan that has passed every rule. `path` is the file it came from; mappings are relative to its folder."""

    path: Path
    legacy_database: str
    legacy_upstream: str
    databases: dict[str, Database]
    upstreams: dict[str, Upstream]
    domains: dict[str, Domain]
    facade: Facade | None = None
    auth: Auth | None = None  # an issuer's `jwks` names the variable with the URL
    roles: dict[str, tuple[str, ...]] = {}
    legacy_source: Path | None = None  # the folder of the monolith's code; it may be away where the plan is read
    legacy_ignore: tuple[str, ...] = ()

    def domain(self, name: str) -> Domain:
        """Raises: NameUnknown, naming the domains that there are."""
        if name not in self.domains:
            raise NameUnknown(f"no domain {name!r} in the plan; it has: {', '.join(self.domains)}")
        return self.domains[name]

    def wave(self, domain: str, number: int) -> Wave:
        """Raises: NameUnknown."""
        waves = self.domain(domain).waves
        if not 0 <= number < len(waves):
            raise NameUnknown(f"{domain} has no wave {number}; it has {', '.join(map(str, range(len(waves))))}")
        return waves[number]

    def mapping_path(self, domain: str) -> Path:
        return (self.path.parent / self.domain(domain).mapping).resolve()

    def database_of(self, domain: str, side: Side) -> Database:
        return self.databases[self.legacy_database if side == "legacy" else self.domain(domain).database]


T = TypeVar("T", bound=Struct)


class Legacy(Struct, frozen=True, forbid_unknown_fields=True):
    """The monolith. `source`: the folder of its code, relative to the plan's, for `banyan plan graph`; `ignore`: files
    in it that serve nobody (tests, loaders)."""

    database: Name
    upstream: Name
    source: str | None = None
    ignore: tuple[FilePattern, ...] = ()


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """A plan as it stands in its file: what `banyan plan schema` describes."""

    legacy: Legacy
    databases: dict[Name, Database]
    upstreams: dict[Name, Upstream]
    domains: dict[Name, Domain]
    facade: Facade | None = None
    auth: Auth | None = None
    roles: Roles = {}


SECTIONS = File.__struct_fields__


def load(path: Path | None = None, *, mappings: bool = True) -> Plan:
    """Read and check a plan file; every problem is reported at once. `mappings=False` leaves the mapping files unread.

    Raises: PlanInvalid.
    """
    from migration_plan import lint  # lint knows the structs of this module

    doc = document.read(path or SHIPPED)
    problems: list[str] = []
    if not isinstance(doc.data, dict):
        raise PlanInvalid([doc.problem("", f"a plan is a mapping with the sections {', '.join(SECTIONS)}")])
    problems += [
        doc.problem(name, f"unknown key {name!r}; known keys: {', '.join(SECTIONS)}")
        for name in doc.data
        if name not in SECTIONS
    ]
    legacy = doc.convert(doc.data.get("legacy", {}), Legacy, "legacy", problems)
    databases = _each(doc, "databases", Database, problems)
    upstreams = _each(doc, "upstreams", Upstream, problems)
    domains = _each(doc, "domains", Domain, problems)
    facade = doc.convert(doc.data["facade"], Facade, "facade", problems) if "facade" in doc.data else None
    auth = doc.convert(doc.data["auth"], Auth, "auth", problems) if "auth" in doc.data else None
    roles = doc.convert(doc.data.get("roles", {}), Roles, "roles", problems)
    if problems or legacy is None:
        raise PlanInvalid(problems)
    at = doc.path.resolve()
    plan = Plan(
        at,
        legacy.database,
        legacy.upstream,
        databases,
        upstreams,
        domains,
        facade,
        auth,
        roles or {},
        (at.parent / legacy.source).resolve() if legacy.source else None,
        legacy.ignore,
    )
    if found := lint.problems(plan, doc, mappings=mappings):
        raise PlanInvalid(found)
    return plan


def _each(doc: document.Document, section: str, type_: type[T], problems: list[str]) -> dict[str, T]:
    entries = doc.data.get(section)
    if not isinstance(entries, Mapping) or not entries:
        problems.append(doc.problem(section, f"the plan needs a section {section!r} with at least one entry"))
        return {}
    converted = {name: doc.convert(value, type_, f"{section}.{name}", problems) for name, value in entries.items()}
    return {name: value for name, value in converted.items() if value is not None}
