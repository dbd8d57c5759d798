"""Migrations make what the code expects, for the role that serves; running them again changes nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from importlib import import_module

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine

from banyan.servers import Postgres
from services.chassis.health import newest_revision
from services.chassis.migrate import alembic_config
from services.chassis.settings import sqlalchemy_url
from tests.fixtures import forked
from tests.fixtures.servers import create_database
from tests.integration.services.processes import ROOT, migrate_service, migrated

SERVICES = ["pricing", "devices", "notifications"]
pytestmark = pytest.mark.parametrize("service", SERVICES)


def test_the_tables_are_those_that_the_code_describes(service: str, service_postgres: Postgres) -> None:
    engine = create_engine(sqlalchemy_url(migrated(service_postgres, service)))
    metadata = import_module(f"services.{service}.store.tables").METADATA
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        differences = [d for d in compare_metadata(context, metadata) if "comment" not in str(d)]
    assert differences == []
    engine.dispose()


def test_the_newest_file_is_the_head_of_the_history(service: str) -> None:
    migrations = ROOT / "services" / service / "migrations"
    assert newest_revision(migrations) == ScriptDirectory.from_config(alembic_config(migrations)).get_current_head()


def test_the_command_migrates_and_may_be_run_again(service: str, service_postgres: Postgres) -> None:
    dsn = create_database(service_postgres, service)
    for _ in range(2):
        done = run(service, "migrate", **{f"{service.upper()}_OWNER_DATABASE_URL": dsn})
        assert (done.returncode, done.stdout) == (0, f"{service}: at migration {head(service)}\n"), done.stderr


def test_all_can_be_taken_back(service: str, service_postgres: Postgres) -> None:
    dsn = migrated(service_postgres, service)
    engine = create_engine(sqlalchemy_url(dsn))
    config = alembic_config(ROOT / "services" / service / "migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    engine.dispose()
    with psycopg.connect(dsn) as check:
        left = check.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert left == [("alembic_version",)]


@pytest.fixture
def role(service: str, service_postgres: Postgres) -> Iterator[sql.Identifier]:
    """The service's role, taken away again when it was not there before."""
    name = sql.Identifier(f"{service}_app")
    with psycopg.connect(service_postgres.dsn(), autocommit=True) as admin:
        is_new = not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [f"{service}_app"]).fetchone()
        if is_new:
            admin.execute(sql.SQL("CREATE ROLE {}").format(name))
        yield name
        if is_new:
            admin.execute(sql.SQL("DROP ROLE {}").format(name))


def test_the_services_role_may_write_rows_but_owns_nothing(
    service: str, service_postgres: Postgres, role: sql.Identifier
) -> None:
    dsn = create_database(service_postgres, service)
    migrate_service(dsn, service)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(role))
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head(service),)]
        connection.execute("DELETE FROM customer_refs")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE customer_refs")
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))


@pytest.mark.parametrize(
    ("url", "text"),
    [(None, "_OWNER_DATABASE_URL"), ("mysql://x", "postgresql://"), ("postgresql://x@127.0.0.1:1/x", "refused")],
)
def test_a_migration_that_cannot_start_says_why_in_one_line(service: str, url: str | None, text: str) -> None:
    variable = f"{service.upper()}_OWNER_DATABASE_URL"
    done = run(service, "migrate", **({variable: url} if url else {}))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert text in done.stderr


def test_an_unknown_command_is_refused(service: str) -> None:
    assert run(service, "destroy").returncode == 2


def head(service: str) -> str:
    return newest_revision(ROOT / "services" / service / "migrations")


def run(service: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.endswith("_DATABASE_URL")}
    return forked.run(f"services.{service}", *arguments, env={**own, **env})
