"""The ledger in PostgreSQL: rows, where each wave stands, and one controller at a time for a domain."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from migration_plan.databases import Bounded, unreachable
from migration_plan.errors import Busy, NotPrepared
from migration_plan.journey import Stand
from migration_plan.ledger.chain import Checked, Entry, Row, check, seal

# The advisory lock's first key: "leas". The second is a hash of the domain's name.
LEASE = 0x6C656173
CONNECT_TIMEOUT_S = 5
# A lease ends with its connection. Of a controller whose machine or network is gone the server would learn after two
# hours; so it asks after 5 s of silence, and gives the connection up after some 11 s. Who is stopped with the ledger's
# head in its hands loses both after 2 s.
_NOTICED = (
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=11000"
    " -c idle_in_transaction_session_timeout=2000"
)
# Milliseconds to wait for another controller's rows: a wave may be fenced meanwhile.
HEAD_MS = 1000
# Seconds between two looks whether a holder goes on.
LOOK_S = 0.05
# The newest row of a switch whose writes wait: from the hold until the point of no return is passed.
_WAITING = """
SELECT a.pid, r.id FROM pg_locks l JOIN pg_stat_activity a USING (pid),
       (SELECT id, step FROM ledger WHERE domain = %s AND wave IS NOT NULL ORDER BY id DESC LIMIT 1) r
 WHERE l.locktype = 'advisory' AND l.granted AND r.step IN ('hold.begin', 'cross.begin')
   AND l.classid = %s::bigint::oid AND l.objid = (hashtext(%s)::bigint & 4294967295)::oid
"""
_COLUMNS = (
    "id", "at", "actor", "domain", "wave", "verb", "step", "run_id", "epoch", "before", "after", "measured", "reason",
    "prev_hash", "hash",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """Where a wave stands, and what its owner's database said when that was written."""

    domain: str
    wave: int
    stand: Stand
    owner: str
    epoch: int
    updated: datetime | None = None


def install(dsn: str) -> None:
    """Make the ledger's tables; running it again changes nothing."""
    with _connect(dsn, "banyan prepare") as connection, connection.transaction():
        # Two first `prepare`s at once: CREATE … IF NOT EXISTS alone can collide.
        connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", [LEASE])
        connection.execute(files("migration_plan.ledger").joinpath("schema.sql").read_text())


def is_installed(dsn: str) -> bool:
    """Whether `install` has made the ledger's tables. Raises: Unreachable."""
    with _connect(dsn, "banyan prepare") as connection:
        query = "SELECT bool_and(to_regclass(t) IS NOT NULL) AS there FROM unnest(%s::text[]) t"
        row = connection.execute(query, [["ledger", "ledger_head", "state", "lease"]]).fetchone()
    return row is not None and bool(row["there"])


class Ledger:
    """One connection to the ledger, in the name of `actor`.

    Raises everywhere: Unreachable, NotPrepared.
    """

    def __init__(self, dsn: str, actor: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.actor = actor
        self._now = now
        self._leased: dict[str, int] = {}  # domain → the epoch of our lease
        self._dsn = dsn
        self._connection = _connect(dsn, f"banyan {actor}"[:63])

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @property
    def closed(self) -> bool:
        return self._connection.closed or self._connection.broken

    @property
    def lost(self) -> str | None:
        """The domains whose lease went away with the connection while somebody steers by it; None while all is well."""
        return ", ".join(sorted(self._leased)) if self._leased and self.closed else None

    def append(self, entries: Sequence[Entry], states: Sequence[State] = ()) -> list[Row]:
        """Write rows, and where waves stand because of them, in one transaction.

        Raises: Busy when somebody has taken over the lease of a domain that we believed to steer.
        """
        # In a pipeline: one message for what the rows need to know, the head and its hash, and one for all the rest.
        with _told(self._dsn), self._connection.pipeline(), self._connection.transaction():
            self._connection.execute(f"SET LOCAL lock_timeout = {HEAD_MS}")
            self._require_leases({entry.domain for entry in entries})
            head = self._connection.execute("SELECT id, hash FROM ledger_head FOR UPDATE").fetchone()
            if head is None:
                raise NotPrepared("the ledger has lost its head: run `banyan prepare --all`")
            last, previous = int(head["id"]), str(head["hash"])
            rows: list[Row] = []
            for entry in entries:
                row = seal(last + 1, self._now(), entry, previous)
                self._insert(row)
                rows.append(row)
                last, previous = row.id, row.hash
            self._connection.execute("UPDATE ledger_head SET id = %s, hash = %s", [last, previous])
            for state in states:
                self._put_state(state)
        return rows

    def _require_leases(self, domains: Collection[str]) -> None:
        for domain in self._leased.keys() & set(domains):
            row = self._connection.execute("SELECT epoch, holder FROM lease WHERE domain = %s", [domain]).fetchone()
            if row is None or int(row["epoch"]) != self._leased[domain]:
                holder = row["holder"] if row else "another controller"
                raise Busy(f"{holder} has taken over {domain}: see `banyan status`, then run the same command again")

    def history(
        self, domain: str | None = None, *, verb: str | None = None, step: str | None = None, limit: int = 200
    ) -> list[Row]:
        """The newest rows that match, oldest first."""
        found = self._query(
            "SELECT * FROM ledger WHERE (%s::text IS NULL OR domain = %s) AND (%s::text IS NULL OR verb = %s)"
            " AND (%s::text IS NULL OR step = %s) ORDER BY id DESC LIMIT %s",
            [domain, domain, verb, verb, step, step, limit],
        )
        return [_row(values) for values in reversed(found)]

    def check(self) -> Checked:
        """Verify the whole chain against one snapshot."""
        with _told(self._dsn), self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            head = self._connection.execute("SELECT id, hash FROM ledger_head").fetchone() or {"id": 0, "hash": ""}
            with self._connection.cursor("chain") as cursor:
                cursor.execute("SELECT * FROM ledger ORDER BY id")
                return check((_row(values) for values in cursor), int(head["id"]), str(head["hash"]))

    def states(self) -> dict[tuple[str, int], State]:
        rows = self._query("SELECT domain, wave, phase, canary_percent, owner, epoch, updated FROM state", [])
        return {(r["domain"], r["wave"]): _state(r) for r in rows}

    @contextlib.contextmanager
    def lease(self, domain: str, *, silent_s: float | None = None) -> Iterator[None]:
        """Steer `domain` alone; ends with the block or with this process. Each lease has an epoch: rows of a holder
        that was overtaken are refused here, and its changes of ownership by the epoch in the domain's databases.

        `silent_s`: a holder that keeps a wave's writes waiting and writes nothing for so long is overtaken; it may be
        frozen, or cut off, and nobody accepts those writes until somebody ends its fence.

        Raises: Busy, naming who has it.
        """
        key = [LEASE, domain]
        if not self._lock(key) and (silent_s is None or not self._overtake(domain, key, silent_s)):
            raise Busy(f"{self._holder(domain)} is at work on {domain}: wait until it is done, then try again")
        try:
            taken = self._query(
                "INSERT INTO lease AS l (domain, epoch, holder) VALUES (%s, 1, %s) ON CONFLICT (domain)"
                " DO UPDATE SET epoch = l.epoch + 1, holder = excluded.holder, taken = now() RETURNING epoch",
                [domain, self.actor],
            )
            self._leased[domain] = int(taken[0]["epoch"])
            yield
        finally:
            self._leased.pop(domain, None)
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)

    def _lock(self, key: Sequence[Any]) -> bool:
        return bool(self._query("SELECT pg_try_advisory_lock(%s, hashtext(%s)) AS mine", key)[0]["mine"])

    def _overtake(self, domain: str, key: Sequence[Any], silent_s: float) -> bool:
        """Watched by our own clock: that of a holder on another machine says nothing."""
        seen = self._query(_WAITING, [domain, *key])
        give_up = time.monotonic() + silent_s
        while seen and self._query(_WAITING, [domain, *key]) == seen:
            if time.monotonic() >= give_up:
                self._query("SELECT pg_terminate_backend(%s, 1000)", [seen[0]["pid"]])
                break
            time.sleep(LOOK_S)
        return self._lock(key)

    def frozen(self) -> dict[str, Row]:
        """The freeze of each domain that has one: its newest row of either verb says `freeze`."""
        found = self._query(
            "SELECT DISTINCT ON (domain) * FROM ledger WHERE verb IN ('freeze', 'unfreeze') ORDER BY domain, id DESC",
            [],
        )
        return {values["domain"]: _row(values) for values in found if values["verb"] == "freeze"}

    def holder(self, domain: str) -> str | None:
        """Who steers `domain` at this moment."""
        return self._holder(domain, None)

    def _holder(self, domain: str, nobody: str | None = "another controller") -> str | None:
        found = self._query(
            "SELECT a.application_name, a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.granted"
            " AND l.classid = %s::bigint::oid AND l.objid = (hashtext(%s)::bigint & 4294967295)::oid",
            [LEASE, domain],
        )
        return str(found[0]["application_name"]) or f"backend {found[0]['pid']}" if found else nobody

    def _query(self, query: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        with _told(self._dsn):
            return self._connection.execute(query, values).fetchall()

    def _insert(self, row: Row) -> None:
        entry = row.entry
        statement = sql.SQL("INSERT INTO ledger ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)), sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS))
        )
        values = [
            row.id, row.at, entry.actor, entry.domain, entry.wave, entry.verb, entry.step, entry.run_id, entry.epoch,
            entry.before, entry.after, Jsonb(entry.measured), entry.reason, row.prev_hash, row.hash,
        ]  # fmt: skip
        self._connection.execute(statement, values)

    def _put_state(self, state: State) -> None:
        self._connection.execute(
            "INSERT INTO state (domain, wave, phase, canary_percent, owner, epoch, updated)"
            " VALUES (%s, %s, %s, %s, %s, %s, now()) ON CONFLICT (domain, wave) DO UPDATE"
            " SET phase = excluded.phase, canary_percent = excluded.canary_percent,"
            " owner = excluded.owner, epoch = excluded.epoch, updated = excluded.updated",
            [state.domain, state.wave, state.stand.phase, state.stand.percent, state.owner, state.epoch],
        )


def _connect(dsn: str, name: str) -> psycopg.Connection[dict[str, Any]]:
    with _told(dsn):
        return Bounded.connect(
            dsn, autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_TIMEOUT_S, application_name=name,
            options=_NOTICED,
        )  # fmt: skip


@contextlib.contextmanager
def _told(dsn: str) -> Iterator[None]:
    """Database errors as ours, without the DSN."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise NotPrepared("there is no ledger yet: run `banyan prepare --all`") from error
    except psycopg.OperationalError as error:
        raise unreachable("the ledger's database", dsn, error) from error


def _row(values: dict[str, Any]) -> Row:
    measured = values["measured"] if isinstance(values["measured"], dict) else json.loads(values["measured"])
    entry = Entry(
        domain=values["domain"], verb=values["verb"], step=values["step"], run_id=values["run_id"],
        actor=values["actor"], wave=values["wave"], epoch=values["epoch"], before=values["before"],
        after=values["after"], measured=measured, reason=values["reason"],
    )  # fmt: skip
    return Row(values["id"], values["at"], entry, values["prev_hash"], values["hash"])


def _state(values: dict[str, Any]) -> State:
    stand = Stand(values["phase"], values["canary_percent"])
    return State(values["domain"], values["wave"], stand, values["owner"], values["epoch"], values["updated"])
