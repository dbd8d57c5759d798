"""The journal in SQLite: schedule, commands, what was done, outbox of acks, settings.

Every change is one transaction and is on disk when the call returns (WAL, synchronous=FULL). All tables are bounded.

Journal of one ref:  see `pi_agent.journal`
Outbox of one ack:   pending → accepted | refused
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pi_agent.errors import AgentError
from pi_agent.journal import Entry, OutboxCounts, Pending, follows, plain, with_fallback
from pi_agent.model import Ack, AckState, Command, Document, Mode, Schedule, Setpoint
from pi_agent.slots import parse_text, text_of

#: Settled rows that are kept for people to look at, and so that a late redelivery is still known.
KEEP_SETTLED = 2_000
#: Acks that wait; days off line make some dozens a day.
MAX_PENDING = 5_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS schedule (
    id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, slots TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS command (
    ref TEXT PRIMARY KEY, mode TEXT NOT NULL, power_w INTEGER NOT NULL,
    issued_at TEXT NOT NULL, expires_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, ref TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, mode TEXT NOT NULL,
    power_w INTEGER NOT NULL, state TEXT NOT NULL, at TEXT NOT NULL, note TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, ref TEXT NOT NULL, state TEXT NOT NULL, observed_at TEXT NOT NULL,
    note TEXT NOT NULL, delivery TEXT NOT NULL DEFAULT 'pending', refusals INTEGER NOT NULL DEFAULT 0,
    UNIQUE (ref, state));
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


#: Columns that newer agents added: (table, column, declaration). A column is never taken away.
_ADDED = (
    ("schedule", "issuer", "TEXT NOT NULL DEFAULT 'legacy'"),
    ("schedule", "fallback", "TEXT"),
    ("schedule", "fallback_after_s", "REAL"),
    ("command", "issuer", "TEXT NOT NULL DEFAULT 'legacy'"),
    ("journal", "issuer", "TEXT NOT NULL DEFAULT 'legacy'"),
    ("outbox", "issuer", "TEXT NOT NULL DEFAULT 'legacy'"),
)


class Store:
    """One agent's state. Use from one thread. Raises AgentError when another agent has it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = path.with_suffix(".lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise AgentError(f"another agent uses {path.parent}: stop it, or give this one its own state_dir") from None
        self._db = _open(path)

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # What the backend wants

    def schedule(self) -> Schedule:
        row = self._db.execute("SELECT version, slots, fallback, fallback_after_s FROM schedule").fetchone()
        if row is None:
            return Schedule()
        version, slots, fallback, after_s = row
        return Schedule(version, parse_text(slots), None if fallback is None else parse_text(fallback), after_s)

    def commands(self) -> list[Command]:
        rows = self._db.execute(
            "SELECT c.ref, c.mode, c.power_w, c.issued_at, c.expires_at FROM command c LEFT JOIN journal j USING (ref)"
            " WHERE j.state IS NULL OR j.state IN ('intent', 'succeeded')"
        )
        return [
            Command(ref, Mode(mode), power, _instant(issued), _instant(ends)) for ref, mode, power, issued, ends in rows
        ]

    def receive(self, document: Document, now: datetime, issuer: str) -> bool:
        schedule, before = document.schedule, self.schedule()
        fresh = [c for c in document.commands if not self._knows(c.ref)]
        newer = schedule.version > before.version
        if not newer:
            schedule = with_fallback(before, schedule)
        changed = schedule != before
        gone = self._taken_back(document, issuer)
        if not (fresh or changed or gone):
            return False
        with self._transaction() as db:
            db.executemany("DELETE FROM command WHERE ref = ?", [(ref,) for ref in gone])
            if changed:
                fallback = None if schedule.fallback is None else text_of(schedule.fallback)
                db.execute(
                    "INSERT OR REPLACE INTO schedule (id, version, slots, issuer, fallback, fallback_after_s)"
                    " VALUES (1, ?, ?, ?, ?, ?)",
                    (schedule.version, text_of(schedule.slots), issuer, fallback, schedule.fallback_after_s),
                )
            if newer:
                self._enqueue(db, [Ack(f"schedule-v{schedule.version}", AckState.DELIVERED, now)], issuer)
            for command in fresh:
                if command.expires_at <= now:
                    self._write(db, _setpoint(command), "command", Entry.EXPIRED, now, issuer)
                    self._enqueue(db, [Ack(command.ref, AckState.EXPIRED, now, "expired before it arrived")], issuer)
                    continue
                times = (_text(command.issued_at), _text(command.expires_at))
                db.execute(
                    "INSERT INTO command (ref, mode, power_w, issued_at, expires_at, issuer) VALUES (?, ?, ?, ?, ?, ?)",
                    (command.ref, command.mode.value, command.power_w, *times, issuer),
                )
                self._enqueue(db, [Ack(command.ref, AckState.DELIVERED, now)], issuer)
        return True

    def _taken_back(self, document: Document, issuer: str) -> list[str]:
        """Refs that are over before their time: superseded, or no longer there though they were not begun."""
        superseded = {c.supersedes for c in document.commands if c.supersedes}
        held = self._db.execute(
            "SELECT c.ref, c.issuer = ? AND j.ref IS NULL FROM command c LEFT JOIN journal j USING (ref)", (issuer,)
        )
        there = {c.ref for c in document.commands}
        return [
            ref
            for ref, untouched in held
            if ref in superseded or (document.complete and untouched and ref not in there)
        ]

    def _knows(self, ref: str) -> bool:
        query = "SELECT 1 FROM command WHERE ref = :ref UNION ALL SELECT 1 FROM journal WHERE ref = :ref"
        return self._db.execute(query, {"ref": ref}).fetchone() is not None

    # What was done

    def intend(self, setpoint: Setpoint, kind: str, now: datetime, issuer: str) -> None:
        with self._transaction() as db:
            self._write(db, setpoint, kind, Entry.INTENT, now, self._issuer_of(setpoint.ref) or issuer)

    def open_intents(self) -> list[tuple[str, str]]:
        return list(self._db.execute("SELECT ref, kind FROM journal WHERE state = 'intent' ORDER BY seq"))

    def state_of(self, ref: str) -> Entry | None:
        row = self._db.execute("SELECT state FROM journal WHERE ref = ?", (ref,)).fetchone()
        return None if row is None else Entry(row[0])

    def _issuer_of(self, ref: str) -> str | None:
        query = (
            "SELECT issuer FROM command WHERE ref = :ref UNION ALL SELECT issuer FROM journal WHERE ref = :ref"
            " UNION ALL SELECT issuer FROM schedule WHERE :ref LIKE 'slot-v' || version || '-%'"
        )
        row = self._db.execute(query, {"ref": ref}).fetchone()
        return None if row is None else str(row[0])

    def record(self, ref: str, state: AckState, now: datetime, note: str = "") -> None:
        after = Entry(state.value)
        if not follows(self.state_of(ref), after):
            return
        issuer = self._issuer_of(ref) or "legacy"
        with self._transaction() as db:
            db.execute(
                "UPDATE journal SET state = ?, at = ?, note = ? WHERE ref = ?", (after.value, _text(now), note, ref)
            )
            if after in (Entry.FAILED, Entry.REJECTED):
                db.execute("DELETE FROM command WHERE ref = ?", (ref,))
            self._enqueue(db, [Ack(ref, state, now, note)], issuer)

    def expire(self, commands: Iterable[Command], now: datetime) -> int:
        missed = 0
        with self._transaction() as db:
            for command in commands:
                before, issuer = self.state_of(command.ref), self._issuer_of(command.ref) or "legacy"
                if follows(before, Entry.EXPIRED):
                    self._write(db, _setpoint(command), "command", Entry.EXPIRED, now, issuer)
                    db.execute("UPDATE journal SET state = 'expired', at = ? WHERE ref = ?", (_text(now), command.ref))
                    self._enqueue(db, [Ack(command.ref, AckState.EXPIRED, now)], issuer)
                    missed += 1
                db.execute("DELETE FROM command WHERE ref = ?", (command.ref,))
        return missed

    @staticmethod
    def _write(db: sqlite3.Connection, setpoint: Setpoint, kind: str, state: Entry, now: datetime, issuer: str) -> None:
        db.execute(
            "INSERT INTO journal (ref, kind, mode, power_w, state, at, issuer) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (ref) DO NOTHING",
            (setpoint.ref, kind, setpoint.mode.value, setpoint.power_w, state.value, _text(now), issuer),
        )
        db.execute(
            "DELETE FROM journal WHERE seq <= (SELECT max(seq) FROM journal) - ? AND state <> 'intent'"
            " AND ref NOT IN (SELECT ref FROM command)",
            (KEEP_SETTLED,),
        )

    # What must be told

    def _enqueue(self, db: sqlite3.Connection, acks: Iterable[Ack], issuer: str) -> None:
        for ack in acks:
            db.execute(
                "INSERT INTO outbox (ref, state, observed_at, note, issuer) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (ref, state) DO NOTHING",
                (ack.ref, ack.state.value, _text(ack.observed_at), plain(ack.note), issuer),
            )
        db.execute(
            "DELETE FROM outbox WHERE delivery <> 'pending' AND seq <= (SELECT max(seq) FROM outbox) - ?",
            (KEEP_SETTLED,),
        )
        excess = db.execute("SELECT count(*) - ? FROM outbox WHERE delivery = 'pending'", (MAX_PENDING,)).fetchone()[0]
        if excess > 0:
            # The oldest go first: what a battery did weeks ago matters least. The number dropped stays visible.
            db.execute(
                "DELETE FROM outbox WHERE seq IN"
                " (SELECT seq FROM outbox WHERE delivery = 'pending' ORDER BY seq LIMIT ?)",
                (excess,),
            )
            self._set(db, "dropped", self._dropped() + excess)

    def pending(self, limit: int, issuer: str | None = None) -> list[Pending]:
        rows = self._db.execute(
            "SELECT seq, ref, state, observed_at, note, issuer FROM outbox"
            " WHERE delivery = 'pending' AND issuer = coalesce(?, issuer) ORDER BY refusals, seq LIMIT ?",
            (issuer, limit),
        )
        return [
            Pending(seq, Ack(ref, AckState(state), _instant(at), note), of) for seq, ref, state, at, note, of in rows
        ]

    def issuers(self) -> list[str]:
        query = "SELECT issuer FROM outbox WHERE delivery = 'pending' GROUP BY issuer ORDER BY min(seq)"
        return [str(row[0]) for row in self._db.execute(query)]

    def accepted(self, seqs: Sequence[int]) -> None:
        with self._transaction() as db:
            db.executemany("UPDATE outbox SET delivery = 'accepted' WHERE seq = ?", [(seq,) for seq in seqs])

    def refused(self, seqs: Sequence[int], max_refusals: int) -> None:
        with self._transaction() as db:
            db.executemany(
                "UPDATE outbox SET refusals = refusals + 1,"
                " delivery = CASE WHEN refusals + 1 >= ? THEN 'refused' ELSE delivery END WHERE seq = ?",
                [(max_refusals, seq) for seq in seqs],
            )

    def counts(self) -> OutboxCounts:
        found = dict(self._db.execute("SELECT delivery, count(*) FROM outbox GROUP BY delivery").fetchall())
        return OutboxCounts(found.get("pending", 0), found.get("refused", 0), self._dropped())

    def _dropped(self) -> int:
        value = self.setting("dropped")
        return value if isinstance(value, int) else 0

    # Small things

    def setting(self, name: str) -> object:
        row = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set(self, name: str, value: object) -> None:
        with self._transaction() as db:
            self._set(db, name, value)

    @staticmethod
    def _set(db: sqlite3.Connection, name: str, value: object) -> None:
        db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, json.dumps(value)))


def _open(path: Path) -> sqlite3.Connection:
    """A damaged file (a memory card that wore out) is put aside and a new one begun: a battery must come up again."""
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise AgentError(f"cannot open {path}: {error}") from None
        for suffix in ("", "-wal", "-shm"):
            damaged = path.with_name(path.name + suffix)
            if damaged.exists():
                damaged.replace(path.with_name(f"{path.name}.damaged{suffix}"))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=5)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 1048576")
        if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
        db.executescript(_SCHEMA)
        for table, column, declaration in _ADDED:
            if column not in {row[1] for row in db.execute(f"PRAGMA table_info({table})")}:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")
    except BaseException:
        db.close()
        raise
    return db


def _setpoint(command: Command) -> Setpoint:
    return Setpoint(command.mode, command.power_w, command.ref)


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
