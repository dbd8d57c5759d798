"""Variables by name, with an error that says which one is missing and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cdc.environment import missing
from migration_plan.errors import NotConfigured


def need(env: Mapping[str, str], name: str) -> str:
    """Raises: NotConfigured."""
    if value := env.get(name, "").strip():
        return value
    raise NotConfigured(missing(name, env))


def need_dsn(env: Mapping[str, str], name: str) -> str:
    """A libpq URL or connection string. Raises: NotConfigured."""
    value = need(env, name)
    try:
        conninfo_to_dict(value)
    except psycopg.ProgrammingError as error:
        raise NotConfigured(
            f"{name} is not a database's URL, such as postgresql://user:password@host:5432/name"
        ) from error
    return value
