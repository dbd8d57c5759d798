"""The database engine, and the transaction of a request: committed, or rolled back in a dry run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.chassis.errors import Misdirected, Problem, Unavailable
from services.chassis.settings import Settings

# The guard's refusal: the other side owns the rows.
MISDIRECTED = "BN421"
# The guard lets a rehearsal try what only the other side may write, and makes its commit impossible.
REHEARSE = sa.text("SELECT banyan.rehearse()")
# invalid_schema_name, undefined_function, insufficient_privilege
UNKNOWN_TO_GUARD = {"3F000", "42883", "42501"}
# query_canceled, lock_not_available, deadlock_detected, serialization_failure, admin_shutdown
TRANSIENT = {"57014", "55P03", "40P01", "40001", "57P01"}
# Milliseconds. A session must never outlive the request that made it.
SESSION = {"statement_timeout": 8_000, "lock_timeout": 5_000, "idle_in_transaction_session_timeout": 15_000}


class _Owner(msgspec.Struct, frozen=True):
    """The DETAIL of a BN421."""

    domain: str = "?"
    wave: int = 0
    owner: str = "?"
    epoch: int = 0


def create_engine(settings: Settings) -> AsyncEngine:
    """An engine with a bounded pool whose sessions speak UTC and have time limits."""
    options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    return create_async_engine(
        settings.database_url,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=3,
        pool_pre_ping=False,
        pool_recycle=1800,
        connect_args={
            "options": f"-c timezone=UTC {options}",
            "application_name": settings.name,
            "connect_timeout": 3,
            "prepare_threshold": 2,
        },
    )


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, dry_run: bool = False) -> AsyncIterator[AsyncConnection]:
    """Commit at the end of the block; roll back on an exception, or always in a dry run."""
    async with engine.connect() as connection, connection.begin() as work:
        if dry_run:
            await _rehearse(connection)
        yield connection
        if dry_run:
            await work.rollback()


async def _rehearse(connection: AsyncConnection) -> None:
    """Without a guard, or one that knows us, this is a transaction like any other: the roll-back alone undoes it."""
    try:
        async with connection.begin_nested():
            await connection.execute(REHEARSE)
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) not in UNKNOWN_TO_GUARD:
            raise


def problem_of(error: Exception) -> Problem | None:
    """What a client is told about a database error; None when it is our own mistake."""
    if isinstance(error, PoolTimeout):
        return Unavailable()
    if not isinstance(error, DBAPIError):
        return None
    cause = error.orig
    sqlstate = getattr(cause, "sqlstate", None)
    if isinstance(cause, psycopg.Error) and sqlstate == MISDIRECTED:
        return misdirected(cause.diag.message_detail)
    if (
        sqlstate in TRANSIENT
        or error.connection_invalidated
        or (sqlstate is None and isinstance(error, OperationalError))
    ):
        return Unavailable()
    if sqlstate is not None and sqlstate.startswith("22"):
        return Problem(422, "a value is out of range")
    if sqlstate is not None and sqlstate.startswith("23"):
        return Problem(409, "this conflicts with other data")
    return None


def misdirected(detail: str | None) -> Misdirected:
    """The guard's DETAIL as an answer. An unreadable detail is still a refusal."""
    try:
        owner = msgspec.json.decode(detail or "{}", type=_Owner)
    except msgspec.MsgspecError:
        owner = _Owner()
    return Misdirected(owner.domain, owner.wave, owner.owner, owner.epoch)
