"""Brings a service's database to its newest migration, and lets the service's own role use it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from services.chassis.errors import SettingsError
from services.chassis.settings import sqlalchemy_url

# "BNYM": two migrations at once would race for the version table.
_LOCK = 0x424E594D


def migrate(name: str, migrations: Path, environ: Mapping[str, str] | None = None) -> None:
    """Upgrade to head as `<NAME>_OWNER_DATABASE_URL`, whose role then owns the tables.

    Running it again changes nothing. Raises: SettingsError when the variable is missing.
    """
    variable = f"{name.upper()}_OWNER_DATABASE_URL"
    url = (os.environ if environ is None else environ).get(variable)
    if not url:
        raise SettingsError(f"migrating {name} needs {variable}: set it, or read it from the stack's .banyan/env")
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool, connect_args={"connect_timeout": 5})
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = alembic_config(migrations)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        grant(connection, f"{name}_app")


def alembic_config(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "newline")
    return config


def grant(connection: Connection, role: str) -> None:
    """DML for the service's role, if there is one (a test's database has only its superuser)."""
    if connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}) is None:
        return
    quoted = connection.dialect.identifier_preparer.quote(role)
    connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {quoted}"))
    connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {quoted}"))
    connection.execute(text(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {quoted}"))
