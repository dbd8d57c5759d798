"""Brings the database to the newest revision and lets the application's role at it."""

from __future__ import annotations

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql

from legacy_monolith.settings import sqlalchemy_url

APP_ROLE = "legacy_app"

_GRANTS = (
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
)


def config(url: str) -> Config:
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    made.attributes["url"] = sqlalchemy_url(url)
    return made


def migrate(url: str, revision: str = "head") -> str:
    """Upgrade and grant; returns the revision that the database has now."""
    command.upgrade(config(url), revision)
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (APP_ROLE,)).fetchone():
            for grant in _GRANTS:
                connection.execute(sql.SQL(grant).format(role=sql.Identifier(APP_ROLE)))
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else "none"
