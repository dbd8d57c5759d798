"""The local stack's ports, secrets and variables (docs/architecture.md §2), kept in `.banyan/env`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from banyan.environment import read_lines
from banyan.errors import StackError
from banyan.servers.ports import free_port, require_free
from banyan.stack.home import Home

SERVICES = ("pricing", "devices", "notifications")
DIRECTIONS = ("forward", "reverse")

# Names that a person types keep their port from one start to the next where they can.
PREFERRED_PORTS = {"gateway": 8000, "console": 8001}


@dataclass(frozen=True, slots=True)
class Config:
    """Every variable of the stack; what a component gets of it is decided in `specs`."""

    home: Home
    env: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.env[name]

    def port(self, name: str) -> int:
        return int(self.env[_port_variable(name)])

    def pick(self, *names: str) -> dict[str, str]:
        """The named variables; a name that ends in * takes all with that beginning."""
        exact = {n for n in names if not n.endswith("*")}
        starts = tuple(n[:-1] for n in names if n.endswith("*"))
        return {k: v for k, v in self.env.items() if k in exact or (starts and k.startswith(starts))}

    def write(self) -> None:
        """0600 from its first byte."""
        temporary = self.home.path / "env.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.writelines(f"{name}={value}\n" for name, value in sorted(self.env.items()))
        temporary.replace(self.home.env_file)


def read_env_file(home: Home) -> dict[str, str]:
    return read_lines(home.env_file)


def make(
    home: Home,
    *,
    gateway_port: int | None = None,
    console_port: int | None = None,
    workers: int = 1,
    fresh: bool = False,
) -> Config:
    """A configuration for this start: secrets of the last one are kept, ports are kept where they are free.

    `fresh`: nothing is kept, as if there had been no last one.

    Raises: StackError, PortInUse, PortDenied when a port that was asked for cannot be had.
    """
    old = {} if fresh else read_env_file(home)
    asked = require_ports(gateway_port, console_port)
    env = {_port_variable(name): str(port) for name, port in asked.items()}  # first: nothing else may get one of them
    for name in _port_names():
        variable = _port_variable(name)
        if variable not in env:
            remembered = int(old[variable]) if variable in old else PREFERRED_PORTS.get(name)
            env[variable] = str(_unused(remembered, set(env.values())))
    for name in _secret_names():
        env[name] = old.get(name) or secrets.token_urlsafe(24)
    env |= _kafka(os.environ) or _kafka(old)
    config = Config(home, env)
    env.update(_derived(config, workers))
    return config


def _kafka(env: Mapping[str, str]) -> dict[str, str]:
    """Of a broker that is not ours: a stream that goes through it needs it at each start, and who moves one too."""
    return {name: value for name, value in env.items() if name.startswith("KAFKA_")}


def require_ports(gateway: int | None, console: int | None) -> dict[str, int]:
    """The ports that were asked for by number, by name. Raises: StackError, PortInUse, PortDenied."""
    if gateway is not None and gateway == console:
        raise StackError(f"gateway and console cannot both have port {gateway}: choose another for one of them")
    asked = {"gateway": gateway, "console": console}
    return {name: require_free(port, name) for name, port in asked.items() if port is not None}


def _port_variable(name: str) -> str:
    return f"BANYAN_PORT_{name.upper().replace('-', '_')}"


def _unused(preferred: int | None, taken: set[str]) -> int:
    while True:
        port = free_port(preferred)
        if str(port) not in taken:
            return port
        preferred = None


def _port_names() -> list[str]:
    streams = [f"cdc-{service}-{direction}" for service in SERVICES for direction in DIRECTIONS]
    return [
        "gateway",
        "console",
        "gateway-admin",
        "pg-legacy",
        "pg-services",
        "redis",
        "legacy",
        *SERVICES,
        *streams,
        "verify",
        "steward",
    ]


def _roles() -> list[str]:
    return [
        "postgres",
        "legacy_owner",
        "legacy_app",
        "banyan_cdc",
        "banyan_ctl",
        *(f"{s}_{r}" for s in SERVICES for r in ("owner", "app")),
    ]


def _secret_names() -> list[str]:
    return [
        *(f"BANYAN_PASSWORD_{role.upper()}" for role in _roles()),
        "BANYAN_REDIS_PASSWORD", "LEGACY_SECRET_KEY", "LEGACY_BACKOFFICE_KEY", "GATEWAY_ADMIN_TOKEN",
        "GATEWAY_VIEWER_TOKEN", "GATEWAY_OVERRIDE_KEY", "GATEWAY_ASSERTION_KEY",
    ]  # fmt: skip


def _derived(config: Config, workers: int) -> dict[str, str]:
    def url(name: str) -> str:
        return f"http://127.0.0.1:{config.port(name)}"

    def dsn(cluster: str, database: str, role: str) -> str:
        return f"postgresql://{role}:{config[f'BANYAN_PASSWORD_{role.upper()}']}@127.0.0.1:{config.port(cluster)}/{database}"

    redis_url = f"redis://:{config['BANYAN_REDIS_PASSWORD']}@127.0.0.1:{config.port('redis')}/0"
    env = {
        "LEGACY_DATABASE_URL": dsn("pg-legacy", "legacy", "legacy_app"),
        "LEGACY_OWNER_DATABASE_URL": dsn("pg-legacy", "legacy", "legacy_owner"),
        "LEGACY_CRON": "1",
        "GATEWAY_LISTEN": f"127.0.0.1:{config.port('gateway')}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{config.port('gateway-admin')}",
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_STATE_DIR": str(config.home.path / "gateway"),
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_NODES": "1",
        "GATEWAY_TABLE": str(config.home.streams / "table.json"),
        "BANYAN_REDIS_URL": redis_url,
        "BANYAN_LEDGER_DSN": dsn("pg-services", "banyan", "banyan_ctl"),
        "BANYAN_LEGACY_DSN": dsn("pg-legacy", "legacy", "banyan_ctl"),
        "BANYAN_LEGACY_OWNER_DSN": dsn("pg-legacy", "legacy", "postgres"),
        "BANYAN_LEGACY_CDC_DSN": dsn("pg-legacy", "legacy", "banyan_cdc"),
        "BANYAN_LEGACY_URL": url("legacy"),
        "BANYAN_GATEWAY_URL": url("gateway"),
        "BANYAN_GATEWAY_ADMIN_URL": url("gateway-admin"),
        "BANYAN_CONSOLE_URL": url("console"),
        "BANYAN_VERIFY_URL": url("verify"),
        "BANYAN_STEWARD_URL": url("steward"),
    }
    for service in SERVICES:
        upper = service.upper()
        env |= {
            f"{upper}_DATABASE_URL": dsn("pg-services", service, f"{service}_app"),
            f"{upper}_OWNER_DATABASE_URL": dsn("pg-services", service, f"{service}_owner"),
            f"BANYAN_{upper}_DSN": dsn("pg-services", service, "banyan_ctl"),
            f"BANYAN_{upper}_OWNER_DSN": dsn("pg-services", service, "postgres"),
            f"BANYAN_{upper}_CDC_DSN": dsn("pg-services", service, "banyan_cdc"),
            f"BANYAN_{upper}_URL": url(service),
        }
        for direction in DIRECTIONS:
            env[f"BANYAN_CDC_{upper}_{direction.upper()}_URL"] = url(f"cdc-{service}-{direction}")
    return env
