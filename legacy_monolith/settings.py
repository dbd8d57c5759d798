"""Settings from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from legacy_monolith.errors import CommandError


@dataclass(frozen=True, slots=True)
class Settings:
    database_url: str
    secret_key: str
    backoffice_key: str
    smtp_url: str | None = None
    cron: bool = False
    assertion_key: str = ""


def from_env(env: Mapping[str, str] = os.environ) -> Settings:
    return Settings(
        database_url=require(env, "LEGACY_DATABASE_URL"),
        secret_key=require(env, "LEGACY_SECRET_KEY"),
        backoffice_key=require(env, "LEGACY_BACKOFFICE_KEY"),
        smtp_url=env.get("LEGACY_SMTP_URL") or None,
        cron=env.get("LEGACY_CRON") == "1",
        assertion_key=env.get("GATEWAY_ASSERTION_KEY", ""),
    )


def require(env: Mapping[str, str], name: str) -> str:
    """The value of `name`. Raises: CommandError when it is not set or empty."""
    if value := env.get(name):
        return value
    raise CommandError(f"{name} is not set: set it, or start the stack with `banyan up`")


def sqlalchemy_url(url: str) -> str:
    """A libpq URL as SQLAlchemy wants it."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    raise CommandError("a database URL starts with postgresql://")
