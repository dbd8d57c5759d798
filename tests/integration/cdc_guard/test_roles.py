"""The roles of deploy/postgres may do what their part needs, and no more; set up as a container does it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from banyan.servers import Postgres
from banyan.servers.postgres import find_binaries
from cdc.guard.install import install
from cdc.guard.ownership import fence, read_ownership, set_owner
from cdc.guard.waves import WHOLE
from cdc.mapping import Mapping
from tests.integration.cdc_guard.conftest import SCHEMA

FILES = Path(__file__).parents[3] / "deploy" / "postgres"
ROLES = {
    "legacy": ["legacy_owner", "legacy_app", "banyan_cdc", "banyan_ctl"],
    "services": [
        *(f"{name}_{kind}" for name in ("pricing", "devices", "notifications") for kind in ("owner", "app")),
        "banyan_cdc",
        "banyan_ctl",
    ],
}
Login = Callable[[str], "psycopg.Connection[Any]"]


def bootstrap(server: Postgres, cluster: str, **changes: str) -> subprocess.CompletedProcess[str]:
    passwords = {f"BANYAN_PASSWORD_{role.upper()}": f"it's {role}" for role in ROLES[cluster]}
    environment = {
        "PATH": f"{find_binaries()}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSWORD": server.password,
        "BANYAN_CLUSTER": cluster,
        "BANYAN_POSTGRES_FILES": str(FILES),
    }
    return subprocess.run(
        ["sh", str(FILES / "bootstrap.sh")],
        env=environment | passwords | changes,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Of its own, because roles belong to a whole cluster."""
    folder = tmp_path_factory.mktemp("roles")
    server = Postgres(data=folder / "data", log=folder / "log", settings={"fsync": "off"}).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def legacy(cluster: Postgres) -> Postgres:
    done = bootstrap(cluster, "legacy")
    assert (done.returncode, done.stderr) == (0, "")
    return cluster


@pytest.fixture
def login(legacy: Postgres, mapping: Mapping) -> Iterator[Login]:
    """Connects to the guarded database `legacy` as a role."""
    opened: list[psycopg.Connection[Any]] = []

    def connect(role: str) -> psycopg.Connection[Any]:
        password = legacy.password if role == "postgres" else f"it's {role}"
        opened.append(
            psycopg.connect(
                host="127.0.0.1", port=legacy.port, dbname="legacy", user=role, password=password, autocommit=True
            )
        )
        return opened[-1]

    owner = connect("legacy_owner")
    owner.execute("DROP TABLE IF EXISTS item, note")
    owner.execute(SCHEMA)
    owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON item, note TO legacy_app")
    root = connect("postgres")
    root.execute("DROP SCHEMA IF EXISTS banyan CASCADE")
    install(root, mapping, "legacy", WHOLE)
    yield connect
    for connection in opened:
        connection.close()


def test_the_application_writes_and_cannot_help_itself_past_the_guard(login: Login) -> None:
    app = login("legacy_app")
    assert app.execute("UPDATE item SET qty = 1 WHERE id = 1").rowcount == 1
    for attempt in (
        "SELECT banyan.fence('shop', 0, 1, 100)",
        "SELECT banyan.set_owner('shop', 0, 'legacy', 1, 2)",
        "UPDATE banyan.ownership SET owner = 'legacy'",
        "SELECT pg_replication_origin_session_setup('x')",
        "SELECT pg_replication_origin_create('x')",
        "SET session_replication_role = replica",
        "ALTER TABLE item DISABLE TRIGGER ALL",
        "CREATE TABLE public.mine (id int)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(attempt)


def test_the_controller_reads_fences_and_hands_over_and_writes_nothing(login: Login) -> None:
    control = login("banyan_ctl")
    assert control.execute("SELECT count(*) FROM item").fetchone() == (100,)
    fenced = fence(control, "shop", 0, 1, 300)
    set_owner(control, "shop", 0, "service", fenced.epoch, fenced.epoch)
    assert read_ownership(control, "shop")[0].owner == "service"
    assert control.execute("SELECT count(*) FROM banyan.stream").fetchone() == (0,)
    for attempt in ("UPDATE item SET qty = 1", "UPDATE banyan.ownership SET epoch = 9", "DELETE FROM banyan.stream"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            control.execute(attempt)


def test_the_applier_passes_with_its_origin_and_owns_nothing(login: Login) -> None:
    control, applier = login("banyan_ctl"), login("banyan_cdc")
    set_owner(control, "shop", 0, "service", fence(control, "shop", 0, 1, 300).epoch, 2)
    applier.execute("SELECT pg_replication_origin_create('shop') WHERE pg_replication_origin_oid('shop') IS NULL")
    with pytest.raises(psycopg.Error, match="owned by service"):
        applier.execute("UPDATE item SET qty = 1")
    applier.execute("SET session_replication_role = replica")
    applier.execute("SELECT pg_replication_origin_session_setup('shop')")
    assert applier.execute("UPDATE item SET qty = 1").rowcount == 100
    applier.execute("CREATE TEMP TABLE batch (LIKE item)")
    applier.execute("INSERT INTO banyan.stream (stream) VALUES ('shop.reverse')")
    applier.execute(
        'INSERT INTO banyan.parked (stream, "table", key, change, lsn) VALUES (%s, %s, %s, %s, %s)',
        ("shop.reverse", "public.item", "[1]", "{}", "0/1"),
    )
    for attempt in ("SELECT banyan.set_owner('shop', 0, 'legacy', 2, 3)", "UPDATE banyan.ownership SET epoch = 9"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            applier.execute(attempt)


def test_running_the_files_again_through_a_driver_changes_nothing(legacy: Postgres) -> None:
    """As the local stack does it: statement by statement, passing over databases that exist."""
    for database, file in (("postgres", "legacy.sql"), ("legacy", "database.sql")):
        with psycopg.connect(legacy.dsn(database), autocommit=True) as connection:
            for statement in (FILES / file).read_text().split("-- ;;\n"):
                try:
                    connection.execute(statement)
                except psycopg.errors.DuplicateDatabase:
                    continue


def test_the_services_get_their_databases_and_keep_out_of_each_others(cluster: Postgres) -> None:
    done = bootstrap(cluster, "services")
    assert done.returncode == 0, done.stderr
    for name in ("pricing", "devices", "notifications"):
        password = f"it's {name}_app"
        where = {"host": "127.0.0.1", "port": cluster.port, "user": f"{name}_app", "password": password}
        psycopg.connect(dbname=name, **where).close()
        for other in {"pricing", "devices", "notifications", "banyan"} - {name}:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(dbname=other, **where)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"BANYAN_CLUSTER": "moon"}, "must be legacy or services"),
        ({"BANYAN_PASSWORD_BANYAN_CTL": ""}, "BANYAN_PASSWORD_BANYAN_CTL is not set"),
    ],
)
def test_a_bad_environment_is_said(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    server = Postgres(data=tmp_path / "data", log=tmp_path / "log", settings={"fsync": "off"}).start()
    try:
        done = bootstrap(server, "legacy", **changes)
    finally:
        server.stop()
    assert done.returncode == 2
    assert says in done.stderr
