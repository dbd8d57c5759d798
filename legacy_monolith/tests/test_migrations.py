"""The migrations make the tables that the models and the other sides rely on."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine

from legacy_monolith.migrate import config, migrate
from legacy_monolith.models import Base
from legacy_monolith.settings import sqlalchemy_url


def test_the_models_describe_what_the_migrations_make(database: str) -> None:
    migrate(database)
    engine = create_engine(sqlalchemy_url(database))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = [d for d in compare_metadata(context, Base.metadata) if d[0] not in {"remove_index"}]
    engine.dispose()
    assert differences == []


def test_migrating_twice_changes_nothing_and_all_can_be_taken_back(database: str) -> None:
    assert migrate(database) == migrate(database) == "0006"
    command.downgrade(config(database), "base")
    with psycopg.connect(database) as connection:
        left = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        ).fetchall()
    assert left == [("alembic_version",)]


@pytest.fixture
def app_role(database: str) -> Iterator[str]:
    """The role legacy_app, taken away again when nobody else has made it."""
    with psycopg.connect(database, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'legacy_app'").fetchone()
        if not known:
            connection.execute("CREATE ROLE legacy_app LOGIN")
    yield "legacy_app"
    if not known:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DROP OWNED BY legacy_app")
            connection.execute("DROP ROLE legacy_app")


def test_the_application_role_may_write_rows_but_owns_nothing(database: str, app_role: str) -> None:
    migrate(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(app_role)))
        connection.execute(
            "INSERT INTO price (area, ts, hour_flag, eur_mwh, source, updated)"
            " VALUES ('NL', '2024-01-01', 'N', -1.50, 'test', '2024-01-01')"
        )
        assert connection.execute("SELECT min_eur_mwh::text, hours FROM price_daily").fetchall() == [("-1.50", 1)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE price")
