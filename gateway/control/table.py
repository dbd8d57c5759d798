"""The route table as it travels between plan and gateway (docs/architecture.md §7), and what makes one wrong."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.control.comparison import NO_RULES, Comparison, Thresholds
from gateway.control.front import Auth, Facade, Limit
from gateway.control.resilience import Breaker, Bulkhead, Outliers, Shedding
from gateway.control.rules import problems_of
from gateway.errors import TableRefused

Phase = Literal["legacy", "shadow", "canary", "service", "retired"]
Owner = Literal["legacy", "service", "moving"]
Kind = Literal["read", "write"]
LEGACY = "legacy"


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One or more equal servers; `health` is the path that answers 2xx when the server may get traffic.

    `rehearses`: it rolls back a write that carries `Banyan-Dry-Run: 1`, and says so in its answer.
    `connections` to one server and `waiting` for one are per worker; `connect_timeout` is in seconds.
    `cookies`: the only ones that it gets and may set (`name`, or `prefix*`); None: all. `identity`: it believes our
    signed word about who calls.
    """

    urls: list[str]
    health: str = "/health"
    rehearses: bool = False
    connections: int = 256
    waiting: int = 1024
    connect_timeout: float = 1.0
    outliers: Outliers = Outliers()
    shedding: Shedding | None = None
    cookies: list[str] | None = None
    identity: bool = False
    ca: str | None = None  # https: a PEM file on each gateway node; None: the system's
    certificate: str | None = None  # the client certificate that we show, with its key (PEM files)
    certificate_key: str | None = None
    server_name: str | None = None  # for SNI and the check of the certificate; None: the host of the url


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A half-open bucket range of a domain that moves together."""

    wave: int
    bucket_from: int
    bucket_to: int
    phase: Phase = "legacy"
    canary_percent: float = 0
    owner: Owner = "legacy"
    epoch: int = 0
    hold: bool = False


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a request must carry in `source` (`header:x` or `query:x`): one of the three. `present` false: must not."""

    source: str
    exact: str | None = None
    prefix: str | None = None
    present: bool | None = None


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One method and path template. `key`: where its partition key is found, first source present wins.

    `idempotent`: doing it twice is as doing it once although its method does not say so. True: always (an upsert by
    POST); "key": when the request carries an Idempotency-Key, because its server is known to honour one.
    `timeout`: seconds until the head of the answer, and between its bytes (unset: the gateway's own); `try_timeout`:
    until the head of one try of a read, or of a write with `idempotent`.
    `when`: only requests that meet all of these; of several operations with one path the narrowest wins.
    """

    id: str
    method: str
    path: str
    kind: Kind
    key: list[str] = []
    native: bool = False
    idempotent: bool | Literal["key"] = False
    when: list[Condition] = []
    compare: Comparison = NO_RULES
    timeout: float | None = None
    try_timeout: float | None = None
    limits: list[Limit] = []
    auth: Literal["required"] | None = None


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A capability that moves as a unit; `service` names an upstream. A limit here is shared by all operations.

    In percent: `shadow_percent` of the reads are copied to the other side, `shadow_writes` of the writes at legacy are
    rehearsed at the service, of the copied reads `shadow_noise` are asked twice at legacy. A new `shadow_round` makes
    the counting of differences begin anew.
    """

    service: str
    waves: list[Wave]
    operations: list[Operation] = []
    shadow_percent: float = 0
    shadow_writes: float = 0
    shadow_noise: float = 5
    shadow_round: int = 0
    thresholds: Thresholds = Thresholds()
    compare: Comparison = NO_RULES
    breaker: Breaker | None = None
    bulkhead: Bulkhead | None = None
    retry_percent: float = 20  # of the requests may be sent once more; 0: none
    limits: list[Limit] = []


class RouteTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the gateway routes by. What matches no operation goes to the upstream `legacy`."""

    version: int
    upstreams: dict[str, Upstream]
    domains: dict[str, Domain] = {}
    facade: Facade | None = None
    auth: Auth | None = None

    def problems(self) -> list[str]:
        """Every reason why this table cannot be used; empty when it can."""
        return problems_of(self)

    def validated(self) -> RouteTable:
        """Itself. Raises: TableRefused with every reason."""
        if problems := self.problems():
            raise TableRefused(problems)
        return self


_decoder = msgspec.json.Decoder(RouteTable)
_encoder = msgspec.json.Encoder()


def decode_table(data: bytes | str) -> RouteTable:
    """A valid table from JSON. Raises: TableRefused for bad JSON, unknown fields, wrong types, broken rules."""
    return decode_checked(data).validated()


def decode_checked(data: bytes | str) -> RouteTable:
    """As `decode_table`, of a table whose rules somebody has checked already. Raises: TableRefused for its form."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise TableRefused([str(error)]) from error


def encode_table(table: RouteTable) -> bytes:
    """The table as indented JSON: it is also read by people (the file of the last known good one)."""
    return msgspec.json.format(_encoder.encode(table), indent=1)
