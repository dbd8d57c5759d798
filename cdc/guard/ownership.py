"""Who owns a wave, in one database: read it, fence it, hand it over (the functions of guard.sql, typed)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from cdc.guard.errors import FenceTimeout, GuardError, OwnershipChanged

Owner = Literal["legacy", "service", "moving"]
REFUSED = "BN421"  # SQLSTATE of a write that the guard did not let in


@dataclass(frozen=True, slots=True)
class Ownership:
    """A wave's row; the bucket range is half-open."""

    domain: str
    wave: int
    bucket_from: int
    bucket_to: int
    owner: Owner
    epoch: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """The new epoch, and where the marker `banyan.fence` lies in the WAL."""

    epoch: int
    lsn: str


def read_ownership(connection: psycopg.Connection[Any], domain: str) -> tuple[Ownership, ...]:
    """The domain's waves in order. Raises: GuardError when the guard is not installed here."""
    with _explained(), connection.cursor(row_factory=class_row(Ownership)) as cursor:
        cursor.execute(
            "SELECT domain, wave, bucket_from, bucket_to, owner, epoch FROM banyan.ownership"
            " WHERE domain = %s ORDER BY wave",
            (domain,),
        )
        return tuple(cursor)


def fence(
    connection: psycopg.Connection[Any], domain: str, wave: int, expected_epoch: int, lock_timeout_ms: int
) -> Fenced:
    """Stop the wave's writes on the side that owns it, in a transaction of its own: owner `moving`, epoch + 1, marker.

    Raises: FenceTimeout, OwnershipChanged, GuardError; then nothing was changed.
    """
    _idle(connection, "the fence")
    with _explained(), _one_statement(connection):
        row = connection.execute(
            "SELECT epoch, lsn::text FROM banyan.fence(%s, %s, %s, %s)", (domain, wave, expected_epoch, lock_timeout_ms)
        ).fetchone()
    assert row is not None, "a function with OUT parameters answers one row"
    return Fenced(*row)


def set_owner(
    connection: psycopg.Connection[Any], domain: str, wave: int, owner: Owner, expected_epoch: int, new_epoch: int
) -> int:
    """Give the wave an owner, in a transaction of its own; saying it twice changes nothing. Returns the epoch.

    Raises: OwnershipChanged, GuardError; then nothing was changed.
    """
    _idle(connection, "a change of owner")
    with _explained(), _one_statement(connection):
        row = connection.execute(
            "SELECT banyan.set_owner(%s, %s, %s, %s, %s)", (domain, wave, owner, expected_epoch, new_epoch)
        ).fetchone()
    assert row is not None, "a function answers one row"
    return int(row[0])


def _idle(connection: psycopg.Connection[Any], what: str) -> None:
    """An outer transaction would keep our locks, and could roll back what we reported as done."""
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise GuardError(f"{what} needs a connection without an open transaction: commit first")


def _one_statement(connection: psycopg.Connection[Any]) -> AbstractContextManager[Any]:
    """A transaction around one statement; with autocommit it is one by itself, at a third of the messages."""
    return nullcontext() if connection.autocommit else connection.transaction()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        if error.diag.message_hint:  # banyan.stop_autovacuum
            held_by = str(error.diag.message_primary)
            raise FenceTimeout(f"{held_by}. {error.diag.message_hint}", held_by) from error
        raise FenceTimeout("writers held the tables past the lock timeout; nothing changed, try again") from error
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName) as error:
        raise GuardError("this database has no guard: run `banyan prepare` first") from error
    except psycopg.Error as error:
        if error.sqlstate == "BN409":
            raise OwnershipChanged(f"{error.diag.message_primary}. {error.diag.message_hint}") from error
        if error.sqlstate in ("22023", "42501"):
            raise GuardError(str(error.diag.message_primary)) from error
        raise
