"""A service's settings, from the environment only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.chassis.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Settings:
    """Secrets stay out of `repr`, so that a log line cannot leak them."""

    name: str
    database_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    backoffice_key: str = field(repr=False)
    smtp_url: str | None = None
    pool_size: int = 10
    assertion_key: str = field(default="", repr=False)


def load(name: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of the service `name`.

    Raises: SettingsError, which names every variable that is missing.
    """
    env = os.environ if environ is None else environ
    prefix = name.upper()
    required = (f"{prefix}_DATABASE_URL", "LEGACY_SECRET_KEY", "LEGACY_BACKOFFICE_KEY")
    if missing := [variable for variable in required if not env.get(variable)]:
        raise SettingsError(f"{name} needs {', '.join(missing)}: set it, or read it from the stack's .banyan/env")
    return Settings(
        name=name,
        database_url=sqlalchemy_url(env[required[0]]),
        secret_key=env[required[1]],
        backoffice_key=env[required[2]],
        smtp_url=env.get("LEGACY_SMTP_URL") or None,
        pool_size=_whole_number(env, f"{prefix}_POOL_SIZE", default=10, least=1, most=100),
        assertion_key=env.get("GATEWAY_ASSERTION_KEY", ""),
    )


def sqlalchemy_url(url: str) -> str:
    """A libpq URL with SQLAlchemy's name of the driver."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    raise SettingsError("a database URL starts with postgresql://")


def _whole_number(env: Mapping[str, str], variable: str, *, default: int, least: int, most: int) -> int:
    text = env.get(variable)
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SettingsError(f"{variable} is a number from {least} to {most}")
    return int(text)
