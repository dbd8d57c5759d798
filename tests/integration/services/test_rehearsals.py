"""A write at the monolith is rehearsed at a real service behind its real guard, compared by the gateway, and not kept.

The monolith, the service, the gateway, a mail server: all as they run, with the shipped plan's operations.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from banyan.servers import Postgres
from cdc.guard.install import install
from cdc.guard.waves import WHOLE
from cdc.mapping.load import load
from gateway.control.comparison import Comparison
from gateway.control.table import RouteTable, encode_table
from migration_plan.compile import compile_table
from migration_plan.journey import Stand
from migration_plan.plan import load as load_plan
from tests.fixtures.servers import create_database
from tests.integration.gateway import running
from tests.integration.services.mail import MailServer, mail_server
from tests.integration.services.processes import (
    BACK_OFFICE,
    ROOT,
    migrate_service,
    monolith_database,
    running_monolith,
    running_service,
)
from tests.integration.services.test_guarded_writes import TARIFF
from tests.integration.services.test_same_answers import CUSTOMER_ROW, REFS

pytestmark = pytest.mark.long  # monolith, service and gateway, with shadow between them

TABLES = {
    "pricing": ["tariffs", "tariff_rates", "market_prices", "quotes"],
    "devices": ["devices", "schedules", "acks", "commands"],
    "notifications": ["messages", "preferences", "outbox", "inbox"],
}


@dataclass
class World:
    domain: str
    client: httpx.Client  # of the gateway, as the back office
    admin: httpx.Client
    service: httpx.Client  # past the gateway
    service_dsn: str
    mail: MailServer

    def kept(self) -> dict[str, int]:
        """Rows in the service's database."""
        with psycopg.connect(self.service_dsn) as connection:
            rows = {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in TABLES[self.domain]
            }
        return {table: row[0] for table, row in rows.items() if row}

    def shadow(self) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.get(f"/v1/shadow/{self.domain}").json()
        return found

    def compared(self, times: int) -> dict[str, Any]:
        """What shadow found, once so many writes were compared."""
        deadline = time.monotonic() + 20
        while (found := self.shadow())["compared"] < times:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


def table_of(domain: str, legacy: str, service: str) -> RouteTable:
    """The shipped plan's domain in phase shadow, with all its writes rehearsed. Ids and times are each side's own."""
    plan = load_plan(ROOT / "migration_plan" / "plan.yaml")
    env = {"BANYAN_LEGACY_URL": legacy, **{f"BANYAN_{name.upper()}_URL": service for name in TABLES}}
    waves = [(domain, wave) for wave in range(len(plan.domains[domain].waves))]
    owners, stands = dict.fromkeys(waves, ("legacy", 1)), {wave: Stand("shadow") for wave in waves}
    compiled = compile_table(plan, owners, stands, 1, env)
    ignored = Comparison(ignore=("$.id", "$.created", "$.sent", "$.registered", "$.token"))
    shadowing = msgspec.structs.replace(compiled.domains[domain], shadow_writes=100, shadow_percent=0, compare=ignored)
    return msgspec.structs.replace(compiled, domains={domain: shadowing}).validated()


@pytest.fixture
def world(
    postgres: Postgres, service_postgres: Postgres, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[World]:
    domain = request.param
    with (
        psycopg.connect(service_postgres.dsn(), autocommit=True) as connection,
        suppress(psycopg.errors.DuplicateObject),
    ):
        connection.execute(f"CREATE ROLE {domain}_app LOGIN PASSWORD 'app'")
    legacy_dsn, service_dsn = monolith_database(postgres), create_database(service_postgres, domain)
    migrate_service(service_dsn, domain)  # with the role's grants
    as_app = service_postgres.dsn(service_dsn.rpartition("/")[2], f"{domain}_app", "app")
    with psycopg.connect(service_dsn, autocommit=True) as connection:
        connection.execute(REFS[domain])
        install(connection, load(ROOT / "migration_plan" / "mappings" / f"{domain}.yaml"), "service", WHOLE)
    with ExitStack() as stack:
        mail = stack.enter_context(mail_server())
        smtp = {"LEGACY_SMTP_URL": mail.url}
        monolith = stack.enter_context(running_monolith(legacy_dsn, tmp_path / "legacy.log", **smtp))
        service = stack.enter_context(running_service(domain, as_app, tmp_path / "service.log", **smtp))
        with psycopg.connect(legacy_dsn, autocommit=True) as connection:
            connection.execute(CUSTOMER_ROW)
            install(connection, load(ROOT / "migration_plan" / "mappings" / f"{domain}.yaml"), "legacy", WHOLE)
        first = tmp_path / "table.json"
        first.write_bytes(encode_table(table_of(domain, monolith, service)))
        folder = tmp_path / "gateway"
        gateway = running.start(folder, GATEWAY_TABLE=str(first), GATEWAY_WORKERS="1")
        stack.callback(gateway.stop)
        deadline = time.monotonic() + 60
        while not gateway.is_ready():
            assert time.monotonic() < deadline, "the gateway did not come up"
            time.sleep(0.05)
        bearer = {"Authorization": f"Bearer {running.TOKEN}"}
        client = stack.enter_context(httpx.Client(base_url=gateway.url, headers=BACK_OFFICE, timeout=15))
        admin = stack.enter_context(httpx.Client(base_url=f"http://{gateway.addresses['admin']}", headers=bearer))
        direct = stack.enter_context(httpx.Client(base_url=service, headers=BACK_OFFICE, timeout=15))
        yield World(domain, client, admin, direct, service_dsn, mail)


NOTE = {"customer_id": 1, "channel": "E", "subject": "Hello", "body": "A body", "to": "one@example.net"}
DEVICE = {"serial": "S-1", "customer_id": 1, "model": "m", "capacity_wh": 5000, "max_power_w": 2500}


@pytest.mark.parametrize(
    ("world", "path", "body"),
    [
        ("pricing", "/api/tariffs", TARIFF),
        ("devices", "/api/devices", DEVICE),
        ("notifications", "/api/notifications", NOTE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
    indirect=["world"],
)
def test_a_write_at_the_monolith_is_rehearsed_and_compared_and_nothing_is_kept_or_sent(
    world: World, path: str, body: dict[str, Any]
) -> None:
    before, mails = world.kept(), len(world.mail.taken)
    said = world.client.post(path, json=body)
    assert (said.status_code, "side=legacy" in said.headers["Banyan-Route"]) == (201, True), said.text
    found = world.compared(1)
    assert (found["mismatched"], found["rehearsed"], found["unrehearsed"]) == (0, 1, 0), found
    assert world.kept() == before
    assert len(world.mail.taken) - mails == (1 if world.domain == "notifications" else 0), (
        "the monolith's own, no other"
    )
    assert world.service.post(path, json=body).status_code == 421, "the guard stands"
