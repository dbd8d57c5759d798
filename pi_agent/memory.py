"""The journal in memory, for simulated fleets: the same rules, and nothing that survives its process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pi_agent.journal import Entry, OutboxCounts, Pending, follows, plain, with_fallback
from pi_agent.model import Ack, AckState, Command, Document, Schedule, Setpoint

#: Settled entries that are kept, so that a late redelivery is still known.
KEEP_SETTLED = 50
MAX_PENDING = 500


@dataclass(slots=True)
class _Entry:
    kind: str
    state: Entry
    issuer: str


class MemoryJournal:
    def __init__(self) -> None:
        self._schedule = Schedule()
        self._schedule_issuer = "legacy"
        self._commands: dict[str, Command] = {}
        self._issuers: dict[str, str] = {}
        self._entries: dict[str, _Entry] = {}
        self._outbox: dict[int, tuple[Pending, int]] = {}
        self._told: dict[tuple[str, AckState], None] = {}
        self._settings: dict[str, object] = {}
        self._seq = self._refused = self._dropped = 0

    def schedule(self) -> Schedule:
        return self._schedule

    def commands(self) -> list[Command]:
        over = (Entry.FAILED, Entry.REJECTED, Entry.EXPIRED)
        return [c for ref, c in self._commands.items() if self.state_of(ref) not in over]

    def receive(self, document: Document, now: datetime, issuer: str) -> bool:
        schedule = document.schedule
        fresh = [c for c in document.commands if c.ref not in self._commands and c.ref not in self._entries]
        before = self._schedule
        newer = schedule.version > before.version
        if not newer:
            schedule = with_fallback(before, schedule)
        changed = schedule != before
        gone = self._taken_back(document, issuer)
        for ref in gone:
            self._forget(ref)
        if changed:
            self._schedule, self._schedule_issuer = schedule, issuer if newer else self._schedule_issuer
        if newer:
            self._enqueue(Ack(f"schedule-v{schedule.version}", AckState.DELIVERED, now), issuer)
        for command in fresh:
            if command.expires_at <= now:
                self._write(command.ref, "command", Entry.EXPIRED, issuer)
                self._enqueue(Ack(command.ref, AckState.EXPIRED, now, "expired before it arrived"), issuer)
                continue
            self._commands[command.ref], self._issuers[command.ref] = command, issuer
            self._enqueue(Ack(command.ref, AckState.DELIVERED, now), issuer)
        return bool(fresh or changed or gone)

    def _taken_back(self, document: Document, issuer: str) -> list[str]:
        superseded = {c.supersedes for c in document.commands if c.supersedes}
        there = {c.ref for c in document.commands}
        return [
            ref
            for ref in self._commands
            if ref in superseded
            or (document.complete and ref not in there and ref not in self._entries and self._issuers[ref] == issuer)
        ]

    def intend(self, setpoint: Setpoint, kind: str, now: datetime, issuer: str) -> None:
        if setpoint.ref not in self._entries:
            slot = setpoint.ref.startswith(f"slot-v{self._schedule.version}-")
            of_schedule = self._schedule_issuer if slot else issuer
            self._write(setpoint.ref, kind, Entry.INTENT, self._issuers.get(setpoint.ref, of_schedule))

    def open_intents(self) -> list[tuple[str, str]]:
        return [(ref, e.kind) for ref, e in self._entries.items() if e.state is Entry.INTENT]

    def state_of(self, ref: str) -> Entry | None:
        entry = self._entries.get(ref)
        return None if entry is None else entry.state

    def record(self, ref: str, state: AckState, now: datetime, note: str = "") -> None:
        after = Entry(state.value)
        if not follows(self.state_of(ref), after):
            return
        entry = self._entries[ref]
        entry.state = after
        if after in (Entry.FAILED, Entry.REJECTED):
            self._forget(ref)
        self._enqueue(Ack(ref, state, now, plain(note)), entry.issuer)

    def expire(self, commands: Iterable[Command], now: datetime) -> int:
        missed = 0
        for command in commands:
            if follows(self.state_of(command.ref), Entry.EXPIRED):
                issuer = self._issuers.get(command.ref, "legacy")
                self._write(command.ref, "command", Entry.EXPIRED, issuer)
                self._enqueue(Ack(command.ref, AckState.EXPIRED, now), issuer)
                missed += 1
            self._forget(command.ref)
        return missed

    def _write(self, ref: str, kind: str, state: Entry, issuer: str) -> None:
        self._entries[ref] = _Entry(kind, state, issuer)
        if len(self._entries) > KEEP_SETTLED:
            settled = (r for r, e in self._entries.items() if e.state is not Entry.INTENT and r not in self._commands)
            if (oldest := next(settled, None)) is not None:
                del self._entries[oldest]

    def _forget(self, ref: str) -> None:
        self._commands.pop(ref, None)
        self._issuers.pop(ref, None)

    def _enqueue(self, ack: Ack, issuer: str) -> None:
        if (ack.ref, ack.state) in self._told:
            return
        self._told[ack.ref, ack.state] = None
        if len(self._told) > 4 * KEEP_SETTLED:
            del self._told[next(iter(self._told))]
        self._seq += 1
        self._outbox[self._seq] = (Pending(self._seq, ack, issuer), 0)
        if len(self._outbox) > MAX_PENDING:
            del self._outbox[next(iter(self._outbox))]
            self._dropped += 1

    def pending(self, limit: int, issuer: str | None = None) -> list[Pending]:
        waiting = [(refusals, p.seq, p) for p, refusals in self._outbox.values() if issuer in (None, p.issuer)]
        return [p for _, _, p in sorted(waiting, key=lambda w: w[:2])[:limit]]

    def issuers(self) -> list[str]:
        return list(dict.fromkeys(p.issuer for p, _ in self._outbox.values()))

    def accepted(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            self._outbox.pop(seq, None)

    def refused(self, seqs: Sequence[int], max_refusals: int) -> None:
        for seq in seqs:
            pending, refusals = self._outbox[seq]
            self._outbox[seq] = (pending, refusals + 1)
            if refusals + 1 >= max_refusals:
                del self._outbox[seq]
                self._refused += 1

    def counts(self) -> OutboxCounts:
        return OutboxCounts(len(self._outbox), self._refused, self._dropped)

    def setting(self, name: str) -> object:
        return self._settings.get(name)

    def set(self, name: str, value: object) -> None:
        self._settings[name] = value

    def close(self) -> None:
        """Nothing to give back."""
