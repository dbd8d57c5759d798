"""What the stack's processes are: each with its command and with just the variables that are its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from banyan.servers import Postgres, Redis
from banyan.servers.redis import find_binary as find_redis
from banyan.stack.config import DIRECTIONS, SERVICES, Config
from banyan.stack.process import Spec

#: Everything Python that we start is this interpreter's.
_PYTHON = sys.executable


def _tool(name: str) -> str:
    return str(Path(_PYTHON).parent / name)


def postgres(config: Config, name: str) -> Postgres:
    return Postgres(
        data=config.home.path / name,
        log=config.home.log(name),
        port=config.port(name),
        password=config["BANYAN_PASSWORD_POSTGRES"],
    )


def redis(config: Config) -> Redis:
    return Redis(
        folder=config.home.path / "redis",
        log=config.home.log("redis"),
        port=config.port("redis"),
        password=config["BANYAN_REDIS_PASSWORD"],
    )


def _answers(server: Postgres | Redis) -> bool:
    try:
        server.wait_ready(timeout=0)
    except Exception:
        return False
    return True


def servers(config: Config) -> list[Spec]:
    """The two PostgreSQL clusters and Redis."""
    clusters = [postgres(config, name) for name in ("pg-legacy", "pg-services")]
    memory = redis(config)
    memory.folder.mkdir(parents=True, exist_ok=True)
    return [
        *(
            Spec(
                name=cluster.data.name,
                command=cluster.command(),
                ready=lambda cluster=cluster: _answers(cluster),  # type: ignore[misc]
                stop_signal=signal.SIGINT,
                stop_seconds=20,
                server=True,
            )
            for cluster in clusters
        ),
        Spec(
            name="redis",
            command=[str(find_redis()), "-"],
            standard_input=memory.configuration().encode(),
            ready=lambda: _answers(memory),
            server=True,
        ),
    ]


def legacy(config: Config) -> Spec:
    return Spec(
        name="legacy",
        command=[
            _tool("gunicorn"),
            "--config",
            "python:legacy_monolith.gunicorn_conf",
            "--bind",
            f"127.0.0.1:{config.port('legacy')}",
            "legacy_monolith.wsgi:app",
        ],
        env={
            **config.pick(
                "LEGACY_DATABASE_URL",
                "LEGACY_SECRET_KEY",
                "LEGACY_BACKOFFICE_KEY",
                "LEGACY_SMTP_URL",
                "LEGACY_CRON",
                "GATEWAY_ASSERTION_KEY",
            ),
            **{k: v for k, v in os.environ.items() if k == "LEGACY_PASSWORD_METHOD"},
        },
        ready_url=f"{config['BANYAN_LEGACY_URL']}/health",
    )


# Watchers of commands come over WebSockets, and every battery may wait for its schedule at the same time.
_WAITED_FOR = ("--backlog", "4096", "--backpressure", "25000")
# Settings of the devices service that are no secrets of the stack.
_OF_DEVICES = (
    "DEVICES_IMBALANCE_",
    "DEVICES_MOST_",
    "DEVICES_OFFLINE_",
    "DEVICES_LOG_",
    "DEVICES_TELEMETRY_",
    "DEVICES_OTA_",
)


def services(config: Config, domains: Sequence[str] = SERVICES) -> list[Spec]:
    return [
        Spec(
            name=name,
            command=[
                _tool("granian"),
                "--interface",
                "asgi",
                "--host",
                "127.0.0.1",
                "--port",
                str(config.port(name)),
                "--workers",
                "1",
                *(_WAITED_FOR if name == "devices" else ("--no-ws",)),
                "--log-level",
                "warning",
                f"services.{name}.app:app",
            ],
            env={
                **config.pick(
                    f"{name.upper()}_DATABASE_URL",
                    "LEGACY_SECRET_KEY",
                    "LEGACY_BACKOFFICE_KEY",
                    "LEGACY_SMTP_URL",
                    "GATEWAY_ASSERTION_KEY",
                ),
                **({"DEVICES_REDIS_URL": config["BANYAN_REDIS_URL"]} if name == "devices" else {}),
                **{k: v for k, v in os.environ.items() if name == "devices" and k.startswith(_OF_DEVICES)},
            },
            ready_url=f"{config[f'BANYAN_{name.upper()}_URL']}/readyz",
        )
        for name in domains
    ]


def streams(config: Config, domains: Sequence[str] = SERVICES) -> list[Spec]:
    """One capture-and-apply process a domain and direction."""
    return [
        Spec(
            name=f"cdc-{domain}-{direction}",
            command=[_PYTHON, "-m", "cdc", "run", "--stream", str(config.home.streams / f"{domain}.{direction}.json")],
            env=config.pick("BANYAN_LEGACY_CDC_DSN", f"BANYAN_{domain.upper()}_CDC_DSN", "BANYAN_REDIS_URL", "KAFKA_*"),
            ready_url=f"{config[f'BANYAN_CDC_{domain.upper()}_{direction.upper()}_URL']}/readyz",
        )
        for domain in domains
        for direction in DIRECTIONS
    ]


def verify(config: Config, domains: Sequence[str] = SERVICES) -> Spec:
    """Compares these domains, all the time, at a rate that nobody notices."""
    files = [config.home.streams / f"{domain}.{direction}.json" for domain in domains for direction in DIRECTIONS]
    named = [word for file in files for word in ("--stream", str(file))]
    capture = [f"BANYAN_{side}_CDC_DSN" for side in ("LEGACY", *map(str.upper, domains))]
    return Spec(
        name="verify",
        command=[_PYTHON, "-m", "cdc", "verify-loop", *named],
        env=config.pick(*capture, "BANYAN_VERIFY_URL"),
        ready_url=f"{config['BANYAN_VERIFY_URL']}/readyz",
    )


def steward(config: Config) -> Spec:
    """Watches the gates of each stage. It acts as a person would, with all that a person has but an owner's rights."""
    sides = ("LEGACY", *map(str.upper, SERVICES))
    return Spec(
        name="steward",
        command=[_tool("banyan"), "steward"],
        env={
            **config.pick(
                "BANYAN_LEDGER_DSN",
                "BANYAN_GATEWAY_ADMIN_URL",
                "GATEWAY_ADMIN_TOKEN",
                "BANYAN_STEWARD_URL",
                "BANYAN_REDIS_URL",
                *(f"BANYAN_{side}_{kind}" for side in sides for kind in ("DSN", "CDC_DSN", "URL")),
            ),
            "BANYAN_HOME": str(config.home.path / "steward"),  # where no file gives it more than this
            **{k: v for k, v in os.environ.items() if k in ("BANYAN_PLAN", "BANYAN_STEWARD_WEBHOOK")},
        },
        ready_url=f"{config['BANYAN_STEWARD_URL']}/readyz",
    )


def gateway(config: Config) -> Spec:
    return Spec(
        name="gateway",
        command=[_PYTHON, "-m", "gateway", "serve"],
        env={**config.pick("GATEWAY_*"), **{k: v for k, v in os.environ.items() if k.startswith("OTEL_")}},
        ready_url=f"{config['BANYAN_GATEWAY_ADMIN_URL']}/readyz",
    )


def console(config: Config) -> Spec:
    return Spec(
        name="console",
        command=[
            _tool("granian"),
            "--interface",
            "asgi",
            "--host",
            "127.0.0.1",
            "--port",
            str(config.port("console")),
            "--workers",
            "1",
            "--log-level",
            "warning",
            "console.app:app",
        ],
        env={
            # What a person's commands have, but the token that moves routes: who logs in brings theirs.
            **config.pick("BANYAN_*", "GATEWAY_VIEWER_TOKEN"),
            **{k: v for k, v in os.environ.items() if k == "BANYAN_PLAN"},
        },
        ready_url=f"{config['BANYAN_CONSOLE_URL']}/readyz",
    )
