"""Starts each own service of the compose file by its command and environment, on real servers, in the file's order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from banyan.servers import Postgres, Redis
from banyan.servers.postgres import find_binaries
from tests.integration.deploy import compose
from tests.integration.deploy.container import Container, Substitution

pytestmark = pytest.mark.timeout(600)

OWN = sorted(compose.own(compose.raw()["services"]))


@dataclass
class Started:
    """What came of each service: None when it is healthy or ended well, else why not."""

    containers: dict[str, Container] = field(default_factory=dict)
    outcome: dict[str, str | None] = field(default_factory=dict)
    substitution: Substitution | None = None


def cluster(name: str, folder: Path, stack: dict[str, Any], env: dict[str, str]) -> Postgres:
    """A cluster with the settings of the file's command, initialised by the script that the container runs."""
    words = stack["services"][name]["command"]
    settings = dict(word.split("=", 1) for flag, word in zip(words, words[1:], strict=False) if flag == "-c")
    server = Postgres(
        data=folder / name / "data",
        log=folder / f"{name}.log",
        password=env["BANYAN_PASSWORD_POSTGRES"],
        settings={**settings, "fsync": "off"},
    ).start()
    given = {k: str(v) for k, v in stack["services"][name]["environment"].items() if k.startswith("BANYAN_")}
    subprocess.run(
        ["/bin/sh", compose.ROOT / "deploy/postgres/bootstrap.sh"],
        env={
            "PATH": f"{find_binaries()}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGPASSWORD": env["BANYAN_PASSWORD_POSTGRES"],
            "BANYAN_POSTGRES_FILES": str(compose.ROOT / "deploy/postgres"),
            **given,
        },
        check=True,
        timeout=60,
    )
    return server


@pytest.fixture(scope="module")
def started(
    stack: dict[str, Any], secrets_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("stack")
    servers: list[Postgres | Redis] = []
    result = Started()
    try:
        for name in ("pg-legacy", "pg-services"):
            servers.append(cluster(name, folder, stack, secrets_env))
        servers.append(
            Redis(
                folder=folder / "redis", log=folder / "redis.log", password=secrets_env["BANYAN_REDIS_PASSWORD"]
            ).start()
        )
        addresses = dict(zip(("pg-legacy:5432", "pg-services:5432", "redis:6379"), servers, strict=True))
        result.substitution = Substitution({a: f"127.0.0.1:{s.port}" for a, s in addresses.items()}, folder / "volumes")
        start_all(stack["services"], folder, result)
        yield result
    finally:
        for container in reversed(result.containers.values()):
            container.stop()
        for server in servers:
            server.stop()


def start_all(services: dict[str, Any], folder: Path, result: Started) -> None:
    own = compose.own(services)
    assert result.substitution is not None
    for name in compose.in_order(services):
        if name not in own:
            continue
        failed = [d for d in compose.dependencies(own[name]) if result.outcome.get(d) is not None]
        if failed:
            result.outcome[name] = f"not started: {', '.join(failed)} failed"
            continue
        container = Container(name, own[name], result.substitution, set(own), folder)
        container.start()
        result.containers[name] = container
        result.outcome[name] = container.finish() if compose.is_job(own[name]) else container.wait_healthy()


@pytest.mark.parametrize("name", OWN)
def test_a_service_starts_as_the_file_says_and_becomes_healthy(started: Started, name: str) -> None:
    assert started.outcome[name] is None, started.outcome[name]


def url_of(started: Started, address: str) -> str:
    assert started.substitution is not None
    return f"http://127.0.0.1:{started.substitution.port(address.rpartition(':')[2])}"


def until(condition: Any, what: str, seconds: float = 30) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(0.1)


def test_the_agent_got_its_schedule_through_the_gateway_from_the_monolith(started: Started) -> None:
    assert started.outcome["agent"] is None, started.outcome["agent"]
    assert started.substitution is not None
    status = started.substitution.folder("agent") / "state" / "status.json"
    until(lambda: json.loads(status.read_text())["last_contact"], "the agent's first contact")
    assert json.loads(status.read_text())["flag"] == "legacy"


def test_prometheus_is_told_of_every_metric_that_rules_and_dashboards_use(started: Started) -> None:
    exposed: set[str] = set()
    config = yaml.safe_load((compose.ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = [t for job in config["scrape_configs"] for c in job["static_configs"] for t in c["targets"]]
    for target in targets:
        host = target.partition(":")[0]
        if host == "127.0.0.1":
            continue  # Prometheus itself
        assert started.outcome[host] is None, f"{host}: {started.outcome[host]}"
        with urllib.request.urlopen(f"{url_of(started, target)}/metrics", timeout=10) as answer:
            exposed |= set(re.findall(r"^# TYPE (\S+)", answer.read().decode(), re.MULTILINE))
    assert used_metrics() - exposed == set()


def used_metrics() -> set[str]:
    rules = yaml.safe_load((compose.ROOT / "deploy/prometheus/rules.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    dashboard = json.loads((compose.ROOT / "deploy/grafana/dashboards/banyan.json").read_text())
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {name for text in expressions for name in re.findall(r"\bbanyan_\w+", text)}
    assert len(names) > 8
    return {name.removesuffix("_bucket") for name in names}


def test_every_process_ends_within_its_grace_period(started: Started) -> None:
    """The last test of this module: it stops what the others need."""
    slow = {}
    for name, container in reversed(started.containers.items()):
        if not compose.is_job(container.service) and started.outcome[name] is None:
            seconds = container.stop()
            if seconds == float("inf"):
                slow[name] = container.tail()
    assert slow == {}
