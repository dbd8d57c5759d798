"""Roles, databases and passwords of the local stack: runs the files that docker-compose runs too."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psycopg
from psycopg import sql

from banyan.servers import Postgres
from banyan.stack.config import SERVICES, Config

_FILES = Path(__file__).resolve().parents[2] / "deploy" / "postgres"
_SEPARATOR = "-- ;;"  # a line of its own between two statements

_ROLES = {
    "legacy": ["legacy_owner", "legacy_app", "banyan_cdc", "banyan_ctl"],
    "services": [*(f"{s}_{kind}" for s in SERVICES for kind in ("owner", "app")), "banyan_cdc", "banyan_ctl"],
}


def statements(text: str) -> list[str]:
    """The statements of a bootstrap file."""
    parts = "\n".join(line if line.strip() != _SEPARATOR else "\0" for line in text.splitlines()).split("\0")
    return [part.strip() for part in parts if part.strip()]


_DATABASES = {"legacy": ["legacy"], "services": [*SERVICES, "banyan"]}


def bootstrap(server: Postgres, cluster: str, config: Config) -> None:
    """Make `cluster`'s roles and databases ("legacy" or "services"); changes nothing that is there already."""
    _run(server, "postgres", f"{cluster}.sql")
    for database in _DATABASES[cluster]:
        _run(server, database, "database.sql")
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for role in _ROLES[cluster]:
            password = config[f"BANYAN_PASSWORD_{role.upper()}"]
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))


def _run(server: Postgres, database: str, file: str) -> None:
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        for statement in statements((_FILES / file).read_text()):
            with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                connection.execute(statement)
