"""The switch's ports on real servers: the guard's functions, a stream's fence marker, the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from cdc import errors as cdc_errors
from cdc.guard import errors as guard_errors
from cdc.guard import ownership
from cdc.streams import FenceListener
from migration_plan.context import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_MS, Context
from migration_plan.databases import Bounded, unreachable
from migration_plan.environment import need_dsn
from migration_plan.errors import NotPrepared, PlanError, Unreachable
from migration_plan.gates.measure import clashes
from migration_plan.journey import Stand
from migration_plan.ledger import Entry, State
from migration_plan.plan import Side
from migration_plan.switch.ports import (
    CatchUpTimeout,
    ChangesParked,
    EpochMoved,
    Fenced,
    FenceTimeout,
    Note,
    Owned,
    SequencesClash,
)

# The writes wait meanwhile: a target that does not say within this whether the marker is there is away.
FENCE_ANSWER_S = 3.0
_PARKED = 'SELECT DISTINCT "table", key::text FROM banyan.parked WHERE stream = %s ORDER BY 1, 2'


class GuardTable:
    """A wave's row in one side's `banyan.ownership`."""

    def __init__(self, context: Context, domain: str, wave: int, side: Side) -> None:
        self._context, self._domain, self._wave, self._side = context, domain, wave, side

    def read(self) -> Owned:
        with self._context.control(self._domain, self._side) as connection:
            try:
                rows = ownership.read_ownership(connection, self._domain)
            except guard_errors.GuardError as error:
                raise NotPrepared(f"{self._domain}'s {self._side} side: {error}") from error
        for row in rows:
            if row.wave == self._wave:
                return Owned(row.owner, row.epoch)
        raise NotPrepared(
            f"{self._domain}'s {self._side} side has no wave {self._wave}: run `banyan prepare {self._domain}`"
        )

    def fence(self, expected_epoch: int) -> Fenced:
        timeout_ms = self._context.plan.domain(self._domain).budgets.lock_timeout_ms
        with self._context.control(self._domain, self._side) as connection:
            try:
                fenced = ownership.fence(connection, self._domain, self._wave, expected_epoch, timeout_ms)
            except guard_errors.FenceTimeout as error:
                raise FenceTimeout(str(error), error.held_by) from error
            except guard_errors.OwnershipChanged as error:
                raise EpochMoved(str(error)) from error
            except guard_errors.GuardError as error:
                raise PlanError(f"{self._side} cannot be fenced: {error}") from error
        return Fenced(fenced.epoch, fenced.lsn)

    def set_owner(self, owner: Side, expected_epoch: int, new_epoch: int, *, answer_s: float | None = None) -> None:
        with self._context.control(self._domain, self._side, answer_s=answer_s) as connection:
            try:
                ownership.set_owner(connection, self._domain, self._wave, owner, expected_epoch, new_epoch)
            except guard_errors.OwnershipChanged as error:
                raise EpochMoved(str(error)) from error
            except guard_errors.GuardError as error:
                raise PlanError(f"{self._side}'s owner cannot be set: {error}") from error


class CdcStream:
    """The stream from `source` to the other side. `open` before the pause, so that connecting is no part of it."""

    def __init__(self, context: Context, domain: str, wave: int, source: Side) -> None:
        self._context, self._domain, self._wave = context, domain, wave
        self._target: Side = "service" if source == "legacy" else "legacy"
        self._name = f"{domain}.{'forward' if source == 'legacy' else 'reverse'}"
        self._what = f"the {self._target} database of {domain}"
        self._connection: psycopg.Connection[Any] | None = None
        self._listener: FenceListener | None = None
        self._accepted: set[tuple[Any, ...]] = set()

    @property
    def _dsn(self) -> str:
        return need_dsn(self._context.env, self._context.plan.database_of(self._domain, self._target).control)

    def open(self) -> None:
        """Raises: Unreachable."""
        try:
            connection = Bounded.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="banyan fence",
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
            )
        except psycopg.OperationalError as error:
            raise unreachable(self._what, self._dsn, error) from error
        connection.answer_s = FENCE_ANSWER_S
        self._connection = connection
        self._listener = FenceListener(connection)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def wait_fence(self, fenced: Fenced, timeout_s: float) -> None:
        if self._listener is None:
            self.open()
        assert self._listener is not None
        try:
            self._listener.wait(self._name, self._domain, self._wave, fenced.epoch, max(timeout_s, 0.0))
        except cdc_errors.FenceTimeout as error:
            raise CatchUpTimeout(str(error)) from error
        except cdc_errors.CdcError as error:
            raise Unreachable(f"{self._name}: {error}") from error
        except psycopg.Error as error:
            raise unreachable(self._what, self._dsn, error) from error

    def accept_parked(self) -> None:
        """Keys that are parked by now do not stop the switch: a person said so. Raises: Unreachable."""
        self._accepted = self._parked()

    def check_parked(self) -> dict[str, Any]:
        parked = sorted(self._parked() - self._accepted)
        if parked:
            keys, table, key = len(parked), *parked[0]
            raise ChangesParked(
                f"{self._target} refused changes made since the preflight: {keys} parked"
                f" {'key' if keys == 1 else 'keys'} (first {table} {key});"
                f" look at them with `python -m cdc parked list --stream {self._name}`"
            )
        return {"parked": len(self._accepted)}

    def _parked(self) -> set[tuple[Any, ...]]:
        if self._connection is None:
            self.open()
        assert self._connection is not None
        try:
            return set(self._connection.execute(_PARKED, [self._name]).fetchall())
        except psycopg.Error as error:
            raise unreachable(self._what, self._dsn, error) from error

    def check_sequences(self) -> dict[str, Any]:
        tables = self._context.tables(self._domain, self._target)
        split = self._context.plan.domain(self._domain).sequence_split
        with self._context.control(self._domain, self._target) as connection:
            if wrong := clashes(connection, tables, self._target, split):
                raise SequencesClash("; ".join(wrong))
        return {"split": split}


class LedgerJournal:
    """One run of a verb in the ledger: rows `step.at` under one run id."""

    def __init__(self, context: Context, domain: str, wave: int, verb: str, run_id: str, reason: str | None) -> None:
        self._context, self._domain, self._wave = context, domain, wave
        self._verb, self._run_id, self._reason = verb, run_id, reason
        self.before: Stand | None = None
        self.after: Stand | None = None

    def write(self, notes: Sequence[Note], stand: Stand | None = None, owned: Owned | None = None) -> None:
        entries = [
            Entry(
                domain=self._domain,
                wave=self._wave,
                verb=self._verb,
                step=f"{note.step}.{note.at}",
                run_id=self._run_id,
                actor=self._context.actor,
                epoch=note.epoch,
                before=str(self.before) if self.before else None,
                after=str(self.after) if self.after else None,
                measured=note.measured,
                reason=note.why or self._reason,
            )
            for note in notes
        ]
        states = [State(self._domain, self._wave, stand, owned.owner, owned.epoch)] if stand and owned else []
        self._context.ledger().append(entries, states)


class Checks:
    """The two looks around a switch, handed in as functions."""

    def __init__(self, preflight: Callable[[], dict[str, Any]], verify: Callable[[], dict[str, Any]]) -> None:
        self.preflight, self.verify = preflight, verify


class WallClock:
    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
