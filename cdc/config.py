"""A stream's configuration: the JSON file that the plan compiles (docs/architecture.md §8), strict."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import psycopg

from cdc import mapping as mappings
from cdc.change import Direction
from cdc.environment import missing
from cdc.errors import ConfigError
from cdc.kafka.settings import Settings, Transport
from cdc.schema.judge import Policy
from cdc.throttle import Limits

_NAME = re.compile(r"[a-z0-9_]{1,63}")


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One domain in one direction.

    `binary`: values in binary where their types are known. `status_interval`: seconds between two confirmations.
    `spool`: folder for transactions that are streamed before they end (default: the system's for temporary files), at
    most `spool_mib`.
    """

    name: str
    domain: str
    direction: Direction
    source_dsn_env: str
    target_dsn_env: str
    slot: str
    publication: str
    origin: str
    snapshot: bool
    mapping: str
    listen: str = "127.0.0.1:0"
    redis_url_env: str | None = None
    transport: Transport = "direct"  # how a new stream begins; one that has begun is moved by `banyan stream move`
    kafka: Settings | None = None
    binary: bool = False
    status_interval: float = 1.0
    spool: str | None = None
    spool_mib: int = 8192
    on_ddl: Policy = "stop"  # what a changed table does to the stream; `expand`: new columns that nobody must fill pass
    on_ddl_tables: dict[str, Policy] = {}  # other policies, by either name of a table
    slot_keep_mb: Annotated[int, msgspec.Meta(ge=64)] = 4096  # for a source that bounds no slot's WAL yet
    snapshot_limits: Limits = Limits()
    failover: bool = True  # the slot goes along to a standby, where the source can (PostgreSQL 17)

    @property
    def policies(self) -> dict[str, Policy]:
        """By table; the empty name is for all others."""
        return {"": self.on_ddl, **self.on_ddl_tables}

    def __post_init__(self) -> None:
        for what in ("slot", "publication", "origin"):
            if not _NAME.fullmatch(getattr(self, what)):
                raise ValueError(f"{what} {getattr(self, what)!r}: use 1 to 63 of a-z, 0-9 and _")
        if not self.name:
            raise ValueError("name is empty")
        if self.transport == "kafka" and self.kafka is None:
            raise ValueError("transport kafka needs `kafka` settings, at least their prefix")
        if not 0.05 <= self.status_interval <= 30:
            raise ValueError(f"status_interval {self.status_interval:g}: use 0.05 to 30 seconds")
        if self.spool_mib < 0:
            raise ValueError("spool_mib is negative: 0 leaves large transactions at the server until they end")
        listen_address(self.listen)


def load_stream(path: Path) -> Stream:
    """Raises: ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Stream)
    except OSError as e:
        raise ConfigError(f"stream file {path} cannot be read: {e.strerror}") from e
    except (msgspec.MsgspecError, ValueError) as e:
        raise ConfigError(f"stream file {path}: {e}") from e


def load_mapping(stream: Stream, beside: Path | None = None) -> mappings.Mapping:
    """The mapping file, relative to the working directory or else to the stream file's folder. Raises: ConfigError."""
    path = Path(stream.mapping)
    if not path.exists() and beside is not None:
        path = beside.parent / stream.mapping
    try:
        mapping = mappings.load(path)
    except mappings.MappingError as e:
        raise ConfigError(f"mapping {e}") from e
    if mapping.domain != stream.domain:
        raise ConfigError(f"mapping {path} is of domain {mapping.domain}, stream {stream.name} of {stream.domain}")
    ends = (stream.source_dsn_env, stream.target_dsn_env)
    legacy, service = ends if stream.direction == "forward" else ends[::-1]
    return mappings.bind(mapping, {"legacy": _reading(legacy), "service": _reading(service)})


def _reading(variable: str) -> Callable[[], psycopg.Connection[Any]]:
    """A connection of its own for a mapping's reference tables, when one is looked at."""
    return lambda: psycopg.connect(dsn(variable), connect_timeout=5, application_name="banyan-cdc reference")


def dsn(variable: str, environment: Mapping[str, str] | None = None) -> str:
    """A DSN from the environment, never from a file that is committed. Raises: ConfigError."""
    known = os.environ if environment is None else environment
    if value := known.get(variable):
        return value
    raise ConfigError(f"environment variable {missing(variable, known)}")


def listen_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9000`; port 0 lets the kernel choose. Raises: ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"listen {text!r} is not host:port")
    ipaddress.ip_address(host)
    return host, int(port)
