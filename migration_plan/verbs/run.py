"""One run of a verb on one wave: its ports, its lease, where the wave stands, and what the last run wanted."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from migration_plan.context import Context
from migration_plan.errors import NameUnknown
from migration_plan.journey import Move, Stand, require_known
from migration_plan.ledger import Row
from migration_plan.plan import Domain, Side
from migration_plan.switch import Recovered, recover
from migration_plan.switch.adapters import CdcStream, Checks, GuardTable, LedgerJournal
from migration_plan.switch.ports import Ports, Stream
from migration_plan.switch.routes import GatewayRoutes


class Run:
    """Everything that one call of a verb needs. Made by `begin` (under the lease) or for a look."""

    def __init__(
        self, context: Context, verb: str, domain: str, wave: int | None, reason: str | None, to: str | None = None
    ) -> None:
        self.context, self.verb, self.domain = context, verb, domain
        self.plan: Domain = context.plan.domain(domain)
        require_known(to, self.plan.canary_steps)
        self.wave = _wave(context, domain, wave)
        self.run_id = uuid.uuid4().hex[:12]
        self.reason = reason
        self.journal = LedgerJournal(context, domain, self.wave, verb, self.run_id, reason)
        self.routes = GatewayRoutes(context, domain, self.wave, f"{verb} {domain}: {reason or 'no reason given'}")
        self.legacy = GuardTable(context, domain, self.wave, "legacy")
        self.service = GuardTable(context, domain, self.wave, "service")

    def recover(self) -> Recovered:
        """End what an earlier run left half done."""
        recorded = self.recorded()
        return recover(self.ports(_no_stream(), _no_checks()), recorded, self._intended())

    def recorded(self) -> Stand | None:
        """Where the ledger says that the wave stands."""
        state = self.context.ledger().states().get((self.domain, self.wave))
        return state.stand if state else None

    def ports(self, stream: Stream, checks: Checks) -> Ports:
        return Ports(self.legacy, self.service, stream, self.routes, self.journal, checks)

    def announce(self, move: Move) -> None:
        """From here on, rows say from where to where."""
        self.journal.before, self.journal.after = move.before, move.after

    @contextlib.contextmanager
    def stream(self, source: Side) -> Iterator[CdcStream]:
        stream = CdcStream(self.context, self.domain, self.wave, source)
        try:
            yield stream
        finally:
            stream.close()

    def _intended(self) -> list[Stand]:
        rows = self.context.ledger().history(self.domain, limit=50)
        mine = [row for row in rows if row.entry.wave == self.wave and row.entry.after]
        return _stands(mine[-1]) if mine else []


@contextlib.contextmanager
def begin(
    context: Context, verb: str, domain: str, wave: int | None, reason: str | None, to: str | None = None
) -> Iterator[Run]:
    """A run that steers the domain alone. Raises: NameUnknown, Busy, Unreachable, NotPrepared."""
    run = Run(context, verb, domain, wave, reason, to)
    with context.ledger().lease(domain):
        yield run


def _wave(context: Context, domain: str, wave: int | None) -> int:
    count = len(context.plan.domain(domain).waves)
    if wave is None:
        if count > 1:
            raise NameUnknown(f"{domain} has {count} waves: say which with --wave 0 to {count - 1}")
        return 0
    context.plan.wave(domain, wave)
    return wave


def _stands(row: Row) -> list[Stand]:
    found = []
    for text in (row.entry.after, row.entry.before):
        with contextlib.suppress(ValueError):
            found.append(Stand.parse(text or ""))
    return found


class _NoStream:
    """Recovery waits for no fence."""

    def wait_fence(self, fenced: Any, timeout_s: float) -> None:
        raise AssertionError("recovery waits for no fence")

    def check_parked(self) -> dict[str, Any]:
        raise AssertionError("recovery waits for no fence")

    def check_sequences(self) -> dict[str, Any]:
        raise AssertionError("recovery looks at no sequences")


def _no_stream() -> Stream:
    return _NoStream()


def _no_checks() -> Checks:
    return Checks(dict, dict)
