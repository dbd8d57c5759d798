"""What the gateway is told by its environment (docs/architecture.md §2). Anything wrong is refused with its name."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import SettingsRefused
from gateway.policies.override import override_key
from gateway.telemetry.config import Telemetry, telemetry

LONGEST_SOCKET_PATH = 100  # bytes; the kernel allows 107


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    listen: Address | None = Address("127.0.0.1", 8000)  # None: TLS only
    admin_listen: Address = Address("127.0.0.1", 8001)
    tls_listen: Address | None = None
    tls_certificate: Path | None = None  # PEM, with the chain
    tls_key: Path | None = None
    redis_url: str | None = field(default=None, repr=False)  # may carry a password
    state_dir: Path = Path(".banyan/gateway")
    workers: int = 1
    admin_token: str = field(default="", repr=False)
    viewer_token: str = field(default="", repr=False)
    admin_tokens: Path | None = None  # a file with more of them (control.roles)
    assertion_key: str = field(default="", repr=False)  # signs who calls, for upstreams that believe us
    generation: int = 0  # 0 or 1; the other one's workers may still be serving their last requests
    table: Path | None = None
    patience: float = 1.0  # seconds a write may wait for its owner, from when it first has to
    hold_seconds: float = 3.0  # a hold whose controller says nothing more is honoured so long
    replay_bytes: int = 2 * 1024 * 1024  # of a body kept to be sent again; 10,000 prices are 700 KB
    max_body: int = 64 * 1024 * 1024
    read_timeout: float = 30.0  # seconds without a byte from the upstream
    total_timeout: float = 300.0  # seconds from the request's last byte to the response's head, over all tries
    queue_timeout: float = 5.0  # seconds in a bulkhead's queue, or for a connection
    write_timeout: float = 30.0  # seconds in which a client takes nothing of its answer
    slow_timeout: float = 10.0  # seconds for a request's head, and over which the rate of its body is taken
    slow_rate: float = 100.0  # bytes per second of a body that is not too slow; 0: a byte per slow_timeout will do
    idle_timeout: float = 75.0  # seconds a client may keep an idle connection
    tunnel_timeout: float = 600.0  # seconds without a byte in a tunnel
    drain_seconds: float = 10.0
    override_key: bytes | None = field(default=None, repr=False)  # signs testers' overrides; without it there are none
    nodes: int = 2  # 1: no other gateway node takes writes, so that none has to be told of them
    clock_skew: float = 0.1  # seconds by which the clocks of databases and gateways may differ
    trusted_hops: int = 0  # proxies before us whose word on who the client is counts
    breaker_failures: int = 5  # in a row, where the table does not say
    breaker_reset: float = 1.0
    health_interval: float = 1.0
    access_log: Path | None = None  # None: standard output
    log_sample: float = 1.0  # share of requests in the access log; failures are always there
    telemetry: Telemetry | None = None  # None: no spans

    @property
    def table_file(self) -> Path:
        """The last known good table."""
        return self.state_dir / "table.json"

    @property
    def audit_file(self) -> Path:
        return self.state_dir / "audit.jsonl"

    @property
    def jwks_folder(self) -> Path:
        """The keys of issuers as they last were."""
        return self.state_dir / "jwks"

    @property
    def pins_file(self) -> Path:
        return self.state_dir / "pins.map"

    @property
    def owners_file(self) -> Path:
        return self.state_dir / "owners.map"

    @property
    def shares_pins(self) -> bool:
        """Other nodes may take writes, and are told of ours through Redis."""
        return self.redis_url is not None and self.nodes > 1

    @property
    def pins_socket(self) -> Path:
        """Where workers tell the admin process of writes."""
        return self._short("pins.sock")

    def socket(self, worker: int) -> Path:
        """The control socket of a worker."""
        return self._short(f"worker-{worker}{'.next' * self.generation}.sock")

    @property
    def handover_socket(self) -> Path:
        """Where a gateway that is to replace this one asks for its ports."""
        return self._short("handover.sock")

    def _short(self, name: str) -> Path:
        """In the system's temporary folder when the state's path is too long for a socket."""
        path = self.state_dir.absolute() / name
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        digest = hashlib.sha256(os.fsencode(self.state_dir.absolute())).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"banyan-gateway-{os.getuid()}-{digest}" / path.name


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Raises: SettingsRefused."""
    default = Settings()
    token = environment.get("GATEWAY_ADMIN_TOKEN", "")
    if len(token) < 16:
        raise SettingsRefused(
            "GATEWAY_ADMIN_TOKEN must be set to at least 16 characters: the admin API is not open to all"
        )
    table = environment.get("GATEWAY_TABLE")
    listen, tls_listen = _listeners(environment)
    return Settings(
        listen=listen,
        tls_listen=tls_listen,
        tls_certificate=_path(environment, "GATEWAY_TLS_CERT"),
        tls_key=_path(environment, "GATEWAY_TLS_KEY"),
        admin_listen=_address(environment, "GATEWAY_ADMIN_LISTEN", default.admin_listen),
        generation=_whole(environment, "GATEWAY_GENERATION", 0, 0, 1),
        redis_url=environment.get("GATEWAY_REDIS_URL") or None,
        state_dir=Path(environment.get("GATEWAY_STATE_DIR") or default.state_dir),
        workers=int(_number(environment, "GATEWAY_WORKERS", default.workers, 1, 64)),
        admin_token=token,
        viewer_token=_viewer(environment, token),
        admin_tokens=_path(environment, "GATEWAY_ADMIN_TOKENS"),
        assertion_key=_key(environment, "GATEWAY_ASSERTION_KEY"),
        table=Path(table) if table else None,
        patience=_number(environment, "GATEWAY_PATIENCE", default.patience, 0, 10),
        hold_seconds=_number(environment, "GATEWAY_HOLD_SECONDS", default.hold_seconds, 0, 60),
        override_key=override_key(environment),
        nodes=int(_number(environment, "GATEWAY_NODES", default.nodes, 1, 1000)),
        clock_skew=_number(environment, "GATEWAY_CLOCK_SKEW", default.clock_skew, 0, 10),
        max_body=int(_number(environment, "GATEWAY_MAX_BODY", default.max_body, 1, 1 << 40)),
        read_timeout=_number(environment, "GATEWAY_READ_TIMEOUT", default.read_timeout, 0.1, 3600),
        total_timeout=_number(environment, "GATEWAY_TOTAL_TIMEOUT", default.total_timeout, 0.1, 86_400),
        queue_timeout=_number(environment, "GATEWAY_QUEUE_TIMEOUT", default.queue_timeout, 0.05, 3600),
        write_timeout=_number(environment, "GATEWAY_WRITE_TIMEOUT", default.write_timeout, 0.5, 3600),
        slow_timeout=_number(environment, "GATEWAY_SLOW_TIMEOUT", default.slow_timeout, 0.1, 3600),
        slow_rate=_number(environment, "GATEWAY_SLOW_RATE", default.slow_rate, 0, 1e9),
        breaker_reset=_number(environment, "GATEWAY_BREAKER_RESET", default.breaker_reset, 0.05, 600),
        health_interval=_number(environment, "GATEWAY_HEALTH_INTERVAL", default.health_interval, 0.05, 60),
        drain_seconds=_number(environment, "GATEWAY_DRAIN_SECONDS", default.drain_seconds, 0, 3600),
        trusted_hops=_whole(environment, "GATEWAY_TRUSTED_HOPS", default.trusted_hops, 0, 16),
        access_log=_path(environment, "GATEWAY_ACCESS_LOG"),
        log_sample=_number(environment, "GATEWAY_LOG_SAMPLE", default.log_sample, 0, 1),
        telemetry=telemetry(environment),
    )


def _viewer(environment: Mapping[str, str], operator: str) -> str:
    given = environment.get("GATEWAY_VIEWER_TOKEN", "")
    if given and len(given) < 16:
        raise SettingsRefused("GATEWAY_VIEWER_TOKEN must have at least 16 characters")
    if given == operator:
        raise SettingsRefused("GATEWAY_VIEWER_TOKEN is GATEWAY_ADMIN_TOKEN: a viewer could change everything")
    return given


def _key(environment: Mapping[str, str], name: str) -> str:
    given = environment.get(name, "")
    if given and len(given) < 32:
        raise SettingsRefused(f"{name} must have at least 32 characters: whoever guesses it can be anybody")
    return given


def _listeners(environment: Mapping[str, str]) -> tuple[Address | None, Address | None]:
    """(plain, TLS). Certificate and key are looked at when they are loaded."""
    listen, tls = Settings().listen, None
    if given := environment.get("GATEWAY_LISTEN"):
        listen = None if given == "off" else _parsed("GATEWAY_LISTEN", given)
    if given := environment.get("GATEWAY_TLS_LISTEN"):
        tls = _parsed("GATEWAY_TLS_LISTEN", given)
    for name in ("GATEWAY_TLS_CERT", "GATEWAY_TLS_KEY"):
        if bool(environment.get(name)) != (tls is not None):
            raise SettingsRefused(f"GATEWAY_TLS_LISTEN, GATEWAY_TLS_CERT and GATEWAY_TLS_KEY go together: see {name}")
    if listen is None and tls is None:
        raise SettingsRefused("GATEWAY_LISTEN is off and GATEWAY_TLS_LISTEN is not set: nobody could be served")
    if listen is not None and listen == tls and listen.port:
        raise SettingsRefused(f"GATEWAY_LISTEN and GATEWAY_TLS_LISTEN are both {listen}")
    return listen, tls


def _number(environment: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    given = environment.get(name)
    if not given:
        return default
    try:
        value = float(given)
    except ValueError:
        raise SettingsRefused(f"{name} must be a number, not {given!r}") from None
    if not least <= value <= most:
        raise SettingsRefused(f"{name} must be within {least:g}..{most:g}, not {given}")
    return value


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    given = environment.get(name)
    return Path(given) if given else None


def _whole(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    value = _number(environment, name, default, least, most)
    if value != int(value):
        raise SettingsRefused(f"{name} must be a whole number, not {environment[name]}")
    return int(value)


def _address(environment: Mapping[str, str], name: str, default: Address) -> Address:
    given = environment.get(name)
    return default if not given else _parsed(name, given)


def _parsed(name: str, given: str) -> Address:
    host, colon, port = given.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise SettingsRefused(f"{name} must be host:port, not {given!r}")
    return Address(host.strip("[]"), int(port))
