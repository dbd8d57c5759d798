"""What to do when a slot was lost, recreated or advanced: one command makes slot, position and rows good again."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from cdc.apply.session import translated_errors
from cdc.apply.state import read_state
from cdc.capture import slot as slots
from cdc.capture.session import open_source
from cdc.change import lsn_text
from cdc.errors import CdcError, NotPrepared, TargetOwns, Transient
from cdc.runner import Runner
from cdc.schema import store

Way = Literal["fill", "refill", "remake"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """`why`: what was wrong; None when nothing was. `rows`: brought over again."""

    stream: str
    why: str | None
    way: Way | None = None
    rows: int = 0

    def __str__(self) -> str:
        if self.why is None:
            return f"{self.stream}: slot and position fit, nothing to recover"
        done = {
            "fill": f"{self.rows} rows were filled again from a new slot; compare both sides now",
            "refill": "its slot was made again; the stream, once it runs, reads all tables again beside it, and"
            " `banyan status` shows how far it is",
            "remake": "its slot was made again; its source owned nothing, so no row was missing",
        }
        return f"{self.stream}: {done[self.way or 'fill']} (it was: {self.why})"


def way(domain: str, source: str, owners: Collection[str]) -> Way | CdcError:
    """`source`: the side that the stream reads; `owners`: of the domain's waves, none without a guard.

    The rows of who owns them are right. A stream from the side that owns all fills again; one from the side that owns
    nothing had nothing to bring. Where each owns some, neither is right, and writes that only one side has would be
    lost.
    """
    if all(owner == source for owner in owners):
        return "fill"
    if source not in owners and "moving" not in owners:
        return "remake" if source == "service" else _refused(domain, "the service owns every wave")
    return _refused(domain, "the sides own a part each" if "moving" not in owners else "a wave is moving")


def _refused(domain: str, why: str) -> TargetOwns:
    return TargetOwns(
        f"{domain}: {why}, so a fill would overwrite writes that only its target has: take the writes to one side first"
        f" (`banyan rollback {domain} --force-gate forward-stream`, or `--force-gate reverse-stream`), then recover"
    )


def recover(runner: Runner, source_dsn: str, actor: str, reason: str, *, force: bool = False) -> Recovered:
    """A process that runs the stream is put aside meanwhile, and goes on by itself. Nothing is done to a stream that is
    well, unless by `force`.

    Raises: TargetOwns (nothing was changed), NotPrepared, AtWork, Transient.
    """
    stream = runner.stream
    with runner.alone() as target, translated_errors():
        state = read_state(target, stream.name)
        if state is None:
            raise NotPrepared(f"stream {stream.name} is not prepared in the target: run prepare")
        why = None
        if state.lsn is not None:
            try:
                runner.judge(target, state, state.lsn)
            except Transient:  # a source or a Kafka that is away says nothing of what it has
                raise
            except CdcError as e:
                why = str(e).partition(f"; {slots.AGAIN}")[0]
        elif state.phase != "streaming":
            why = "its fill was not finished"
        if why is None and not force:
            return Recovered(stream.name, None)
        source = "legacy" if stream.direction == "forward" else "service"
        chosen = way(stream.domain, source, _owners(target, stream.domain))
        if isinstance(chosen, CdcError):
            raise chosen
        target.execute(
            "UPDATE banyan.stream SET source_system = NULL, source_timeline = NULL WHERE stream = %s", [stream.name]
        )
        rows = 0
        if chosen == "fill" and state.lsn is not None:  # it was filled before: clients may go on meanwhile
            chosen = "refill"
            runner.refill(target)
        elif chosen == "fill":
            rows = runner.fill(target, threading.Event()).rows
        else:
            _remake(target, source_dsn, runner)
        store.close_halt(target, stream.name, actor, f"recovered: {reason}", None)
    return Recovered(stream.name, why or "forced", chosen, rows)


def _remake(target: psycopg.Connection[Any], source_dsn: str, runner: Runner) -> None:
    """1. Without a position the stream refuses to run. 2. The slot is made anew. 3. Its position is stored."""
    stream = runner.stream
    target.execute("UPDATE banyan.stream SET source_lsn = NULL WHERE stream = %s", [stream.name])
    with open_source(source_dsn, stream.name, "recover") as source:
        slots.drop(source, stream.slot)
        lsn = slots.create(source, stream.slot, stream.failover)
        row = source.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    target.execute(
        "UPDATE banyan.stream SET state = 'streaming', source_lsn = %s, source_commit_at = %s,"
        " applied_at = clock_timestamp() WHERE stream = %s",
        [lsn_text(lsn), row[0], stream.name],
    )


def _owners(target: psycopg.Connection[Any], domain: str) -> set[str]:
    try:
        return {row[0] for row in target.execute("SELECT owner FROM banyan.ownership WHERE domain = %s", [domain])}
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return set()
