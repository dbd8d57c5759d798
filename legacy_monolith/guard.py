"""Reads the guard's refusal (SQLSTATE BN421) out of a database error: the row now belongs to somebody else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from sqlalchemy import Engine, text

SQLSTATE = "BN421"
#: A table that is not there. One of a retired domain was renamed: `thing` is `thing_retired` now.
MISSING = "42P01"


@dataclass(frozen=True, slots=True)
class Refusal:
    domain: str
    wave: int
    owner: str
    epoch: int


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of a psycopg error, or of SQLAlchemy's wrapper of one."""
    cause = getattr(error, "orig", None) or error
    diagnostics = getattr(cause, "diag", None)
    return getattr(cause, "sqlstate", None) or getattr(diagnostics, "sqlstate", None)


def refusal(error: BaseException) -> Refusal | None:
    """Who owns the row, when it was the guard that refused; None for any other error."""
    if sqlstate(error) != SQLSTATE:
        return None
    cause = getattr(error, "orig", None) or error
    try:
        detail = json.loads(cause.diag.message_detail or "{}")
        return Refusal(str(detail["domain"]), int(detail["wave"]), str(detail["owner"]), int(detail["epoch"]))
    except (ValueError, KeyError, TypeError):
        return Refusal("unknown", 0, "moving", 0)


def retired(error: BaseException, engine: Engine) -> str | None:
    """The table whose domain has left this application for good, when that is what went wrong."""
    if sqlstate(error) != MISSING:
        return None
    cause = getattr(error, "orig", None) or error
    named = re.search(r'"(?:public\.)?(\w+)"', str(cause))
    if named is None:
        return None
    with engine.connect() as connection:
        there = connection.execute(text("SELECT to_regclass(:name)"), {"name": f"public.{named[1]}_retired"}).scalar()
    return named[1] if there is not None else None
