"""What a verb works with: the plan, the variables, and connections that are opened when they are first needed."""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from cdc import mapping as mappings
from gateway.control.client import AdminClient
from migration_plan import plan as plans
from migration_plan.databases import Bounded, unreachable
from migration_plan.environment import need, need_dsn
from migration_plan.errors import NotPrepared, PlanInvalid, Unreachable
from migration_plan.ledger import Ledger
from migration_plan.plan import Plan, Side

CONNECT_TIMEOUT_S = 3
# Every statement of the control path is short; one that is not is given up before it holds a migration.
STATEMENT_TIMEOUT_MS = 10_000
ADMIN_TIMEOUT_S = 2.0
# Beyond the budget of its pause a controller may need so long to give its writes back by itself.
OVERTAKE_S = 1.0

SIDES: tuple[Side, Side] = ("legacy", "service")
Connection = Bounded[TupleRow]


class Context:
    """Use from one thread. Close it, or use it as a context manager."""

    def __init__(self, plan: Plan, env: Mapping[str, str], actor: str | None = None) -> None:
        self.plan = plan
        self.env = env
        self.actor = actor or env.get("BANYAN_ACTOR") or f"{_user()}@{socket.gethostname()}"
        self._connections: dict[str, Connection] = {}
        self._admins: dict[float, AdminClient] = {}
        self._ledger: Ledger | None = None
        self._mappings: dict[str, mappings.Mapping] = {}

    @classmethod
    def from_env(cls, env: Mapping[str, str], actor: str | None = None) -> Context:
        """The plan that BANYAN_PLAN names, else the shipped one. Raises: PlanInvalid."""
        return cls(plans.load(Path(env["BANYAN_PLAN"]) if env.get("BANYAN_PLAN") else None), env, actor)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        for admin in self._admins.values():
            admin.close()
        if self._ledger is not None:
            self._ledger.close()
        self._connections, self._admins, self._ledger = {}, {}, None

    def ledger(self) -> Ledger:
        """Connected again when need be, but not while a lease is held: it went with the connection, and another
        controller may have it by now. Raises: NotConfigured, Unreachable.
        """
        if self._ledger is not None and (lost := self._ledger.lost) is not None:
            raise Unreachable(
                f"the connection to the ledger was lost, and with it the lease of {lost}: run the same command again"
            )
        if self._ledger is None or self._ledger.closed:
            self._ledger = Ledger(need_dsn(self.env, "BANYAN_LEDGER_DSN"), self.actor)
        return self._ledger

    def lease(self, domain: str) -> contextlib.AbstractContextManager[None]:
        """Steer `domain`, in place of a holder that is silent for longer than its writes may wait. Raises: Busy."""
        silent_s = self.plan.domain(domain).budgets.pause_ms / 1000 + OVERTAKE_S
        return self.ledger().lease(domain, silent_s=silent_s)

    def admin(self, timeout_s: float = ADMIN_TIMEOUT_S) -> AdminClient:
        """The gateway's admin API; one kept-alive client per timeout. Raises: NotConfigured."""
        if timeout_s not in self._admins:
            url, token = need(self.env, "BANYAN_GATEWAY_ADMIN_URL"), need(self.env, "GATEWAY_ADMIN_TOKEN")
            self._admins[timeout_s] = AdminClient(url, token, timeout=timeout_s)
        return self._admins[timeout_s]

    def mapping(self, domain: str) -> mappings.Mapping:
        """Raises: PlanInvalid."""
        if domain not in self._mappings:
            try:
                found = mappings.load(self.plan.mapping_path(domain))
                self._mappings[domain] = mappings.bind(found, {side: self._reading(domain, side) for side in SIDES})
            except mappings.MappingError as error:
                raise PlanInvalid([str(error)]) from error
        return self._mappings[domain]

    def _reading(self, domain: str, side: Side) -> Callable[[], psycopg.Connection[Any]]:
        """A connection of its own for the mapping's reference tables, when one is looked at."""
        variable = self.plan.database_of(domain, side).control
        return lambda: psycopg.connect(need_dsn(self.env, variable), connect_timeout=CONNECT_TIMEOUT_S)

    def tables(self, domain: str, side: Side) -> list[str]:
        """The domain's own tables on one side, without reference data."""
        return [table.table(side) for table in self.mapping(domain).own(side)]

    @contextlib.contextmanager
    def control(self, domain: str, side: Side, *, answer_s: float | None = None) -> Iterator[Connection]:
        """A side's database as `banyan_ctl`. `answer_s`: seconds for each answer, over a connection that is there:
        where there is none, making it would take longer. Raises: NotConfigured, Unreachable, NotPrepared.
        """
        variable = self.plan.database_of(domain, side).control
        if answer_s is not None and self._known(variable) is None:
            raise Unreachable(f"the {side} database of {domain}: its connection was lost")
        with self._open(domain, side, variable) as connection:
            connection.answer_s, before = answer_s, connection.answer_s
            try:
                yield connection
            finally:
                connection.answer_s = before

    @contextlib.contextmanager
    def owner(self, domain: str, side: Side) -> Iterator[Connection]:
        """A side's database with the rights to install things. Raises: as `control`."""
        with self._open(domain, side, self.plan.database_of(domain, side).owner) as connection:
            yield connection

    @contextlib.contextmanager
    def capture(self, domain: str, side: Side) -> Iterator[Connection]:
        """A side's database as `banyan_cdc`. Raises: as `control`."""
        with self._open(domain, side, self.plan.database_of(domain, side).capture) as connection:
            yield connection

    def _known(self, variable: str) -> Connection | None:
        known = self._connections.get(variable)
        return None if known is None or known.closed or known.broken else known

    def _connection(self, variable: str, dsn: str) -> Connection:
        if (known := self._known(variable)) is not None:
            return known
        options = f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
        conninfo = make_conninfo(
            dsn, connect_timeout=CONNECT_TIMEOUT_S, application_name="banyan plan", options=options
        )
        opened = Bounded.connect(conninfo, autocommit=True)
        self._connections[variable] = opened
        return opened

    @contextlib.contextmanager
    def _open(self, domain: str, side: Side, variable: str) -> Iterator[Connection]:
        what, dsn = f"the {side} database of {domain}", need_dsn(self.env, variable)
        try:
            yield self._connection(variable, dsn)
        except (
            psycopg.errors.UndefinedTable,
            psycopg.errors.InvalidSchemaName,
            psycopg.errors.UndefinedFunction,
            psycopg.errors.UndefinedColumn,  # of an older version
        ) as error:
            raise NotPrepared(f"{what} has no guard or stream yet: run `banyan prepare --all`") from error
        except psycopg.OperationalError as error:
            raise unreachable(what, dsn, error) from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def figures(row: TupleRow | None) -> tuple[Any, ...]:
    """A query that always answers one row."""
    assert row is not None, "an aggregate answers one row"
    return row
