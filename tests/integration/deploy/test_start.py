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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from banyan.servers import Postgres, Redis
from banyan.servers.postgres import find_binaries
from gateway.routing.bucket import bucket
from migration_plan import plan as plans
from tests.integration.deploy import compose
from tests.integration.deploy.container import Container, Substitution

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]  # starts every component as a container would

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
            if container.process is not None:
                container.stop()
        for server in servers:
            server.stop()


def start_all(services: dict[str, Any], folder: Path, result: Started) -> None:
    """Each as soon as those that it depends on are healthy, or have ended well; tools when all else stands."""
    own = compose.own(services)
    assert result.substitution is not None
    done = {name: threading.Event() for name in own}

    def start(name: str) -> None:
        container = result.containers[name]
        is_tool = "tools" in own[name].get("profiles", [])
        waits_for = [d for d in (own if is_tool else compose.dependencies(own[name])) if d in own and d != name]
        for other in waits_for:
            done[other].wait()
        if failed := [d for d in waits_for if result.outcome[d] is not None]:
            result.outcome[name] = f"not started: {', '.join(failed)} failed"
        else:
            container.start()
            result.outcome[name] = container.finish() if compose.is_job(own[name]) else container.wait_healthy()
        done[name].set()

    in_order = [name for name in compose.in_order(services) if name in own]
    for name in in_order:
        result.containers[name] = Container(name, own[name], result.substitution, set(own), folder)
        result.containers[name].learn_ports()
        result.outcome[name] = "was not reached"
    with ThreadPoolExecutor(max_workers=len(own)) as pool:
        for future in [pool.submit(start, name) for name in in_order]:
            future.result()


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


def operator(started: Started, *words: str) -> str:
    """`docker compose run --rm plan …`; what it printed."""
    plan = started.containers["plan"]
    done = subprocess.run(
        plan.words([*plan.service["entrypoint"], *words]),
        env=plan.environment(), cwd=plan.folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_agent_follows_its_domain_to_the_service_and_back(started: Started, secrets_env: dict[str, str]) -> None:
    """The operator switches devices; the flag tells the agent; what it reports is in both databases, once."""
    assert started.substitution is not None
    folder = started.substitution.folder("agent")
    status, device = (
        folder / "state" / "status.json",
        re.search(r"device_id = (\d+)", (folder / "agent.toml").read_text()),
    )
    assert device is not None
    gateway = url_of(started, "gateway:8000")

    def put_schedule(slots: str) -> str:
        request = urllib.request.Request(
            f"{gateway}/api/devices/{device[1]}/schedule",
            json.dumps({"slots": slots}).encode(),
            {"X-Api-Key": secrets_env["LEGACY_BACKOFFICE_KEY"], "Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return f"schedule-v{json.load(answer)['version']}"

    def backend() -> str:
        found: str = json.loads(status.read_text())["backend"]
        return found

    def reported(ref: str) -> list[int]:
        """How often the ref is in the monolith's and in the service's database."""
        counts = []
        for dsn, table in (("BANYAN_LEGACY_OWNER_DSN", "ack"), ("BANYAN_DEVICES_OWNER_DSN", "acks")):
            with psycopg.connect(started.containers["plan"].environment()[dsn]) as connection:
                row = connection.execute(
                    f"SELECT count(*) FROM {table} WHERE device_id = %s AND ref = %s", [device[1], ref]
                ).fetchone()
                counts.append(row[0] if row else 0)
        return counts

    first = put_schedule("0000-2400 C700")
    until(lambda: reported(first) == [1, 1], "reported to the monolith, and carried to the service")
    [wave] = [
        str(number)
        for number, one in enumerate(plans.load(mappings=False).domain("devices").waves)
        if one.bucket_from <= bucket(device[1]) < one.bucket_to
    ]
    operator(started, "advance", "devices", "--wave", wave, "--yes")
    for _ in ("canary 10 %", "canary 50 %"):
        operator(
            started, "advance", "devices", "--wave", wave, "--yes", "--force-gate", "shadow"
        )  # one agent is too little traffic
    operator(started, "switch", "devices", "--wave", wave, "--yes")
    until(lambda: backend() == "v2", "the agent is on v2", 60)
    second = put_schedule("0000-2400 C800")
    until(lambda: reported(second) == [1, 1], "reported to the service, and carried to the monolith")
    operator(started, "rollback", "devices", "--wave", wave, "--yes")
    until(lambda: backend() == "legacy", "the agent is back", 60)
    third = put_schedule("0000-2400 C900")
    until(lambda: reported(third) == [1, 1], "reported to the monolith again")


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
