"""One run of a verb on one wave: its ports, the step and its gates, where the wave stands, what the last run wanted."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from migration_plan import gates, journey
from migration_plan.approval import require_approver
from migration_plan.context import Context
from migration_plan.errors import NameUnknown, Refused
from migration_plan.freezing import require_unfrozen
from migration_plan.gates.measure import measure, way_back
from migration_plan.gates.measured import Measured
from migration_plan.journey import Move, Stand
from migration_plan.ledger import Row
from migration_plan.plan import Domain, Side
from migration_plan.switch import Recovered, recover
from migration_plan.switch.adapters import CdcStream, Checks, GuardTable, LedgerJournal
from migration_plan.switch.ports import Ports, Stream
from migration_plan.switch.routes import GatewayRoutes
from migration_plan.verbs.options import Options
from migration_plan.verbs.result import Result

Verb = Literal["advance", "shadow", "canary", "switch", "rollback", "complete", "abort"]
#: Steps that somebody must approve, where the plan names who may. The way back is open to everybody.
FORWARD: frozenset[Verb] = frozenset({"advance", "shadow", "canary", "switch", "complete"})


class Run:
    """Everything that one call of a verb needs. Raises: NameUnknown, before anything is looked up."""

    def __init__(self, context: Context, verb: Verb, domain: str, options: Options) -> None:
        self.context, self.verb, self.domain, self.options = context, verb, domain, options
        self.plan: Domain = context.plan.domain(domain)
        journey.require_known(options.to, self.plan.canary_steps)
        gates.require_known(options.forced)
        self.wave = _wave(context, domain, options.wave)
        self.run_id = uuid.uuid4().hex[:12]
        self.journal = LedgerJournal(context, domain, self.wave, verb, self.run_id, options.reason)
        why = options.reason or "no reason given"
        self.routes = GatewayRoutes(context, domain, self.wave, f"{verb} {domain}: {why}")
        self.legacy = GuardTable(context, domain, self.wave, "legacy")
        self.service = GuardTable(context, domain, self.wave, "service")

    def move(self, stand: Stand) -> Move:
        """The step that this verb takes from `stand`. Raises: NameUnknown, Refused."""
        match self.verb:
            case "advance" | "shadow" | "canary":
                return journey.advance(stand, self.plan.canary_steps, self.options.to)
            case "switch":
                return journey.switch(stand, self.plan.canary_steps)
            case "rollback":
                return journey.rollback(stand, self.plan.canary_steps, self.options.to)
            case "complete":
                return journey.complete(stand)
            case "abort":
                return Move(stand, stand)

    def require_approver(self) -> None:
        """Raises: NotApproved."""
        if self.verb in FORWARD:
            require_approver(self.context.plan, self.domain, self.verb, self.context.actor)

    def require_unfrozen(self, move: Move) -> None:
        """Asked before a step, and again after what takes its time. Raises: Frozen."""
        if self.verb in FORWARD and not move.nothing:
            require_unfrozen(self.context, self.domain)

    def require_expected(self, stand: Stand) -> None:
        """Raises: Refused when somebody moved the wave since this step was decided."""
        expected = self.options.expected
        if expected is not None and stand != expected:
            raise Refused(
                f"{self.domain} was at {expected} when this was decided, and is at {stand} now: nothing was done"
            )

    def compares(self, move: Move) -> bool:
        """Whether the step wants a fresh comparison of both sides."""
        return move.switches or (self.verb in FORWARD and move.after.phase == "canary")

    def judge(self, move: Move) -> tuple[Measured | None, list[gates.Finding]]:
        """What is measured before the step, and what the gates say of it. The way back of reads has no gate."""
        if self.verb == "rollback" and not move.switches:
            return None, []
        source = move.before.owner
        measured = measure(self.context, self.domain, source)
        if move.switches and self.verb != "complete":
            measured = replace(measured, way_back=way_back(self.context, self.domain, source))
            return measured, gates.for_switch(measured, self.plan.gates, self.plan.budgets, source)
        return measured, gates.for_advance(measured, self.plan.gates, move.after)

    def recover(self) -> Recovered:
        """End what an earlier run left half done."""
        recorded = self.recorded()
        ports, back = self.ports(_no_stream(), _no_checks()), self.verb == "rollback"
        return recover(ports, recorded, self._intended(), only_reads=back)

    def recorded(self) -> Stand | None:
        """Where the ledger says that the wave stands."""
        state = self.context.ledger().states().get((self.domain, self.wave))
        return state.stand if state else None

    def ports(self, stream: Stream, checks: Checks) -> Ports:
        return Ports(self.legacy, self.service, stream, self.routes, self.journal, checks)

    def result(self, move: Move, **more: Any) -> Result:
        """What the step came to; `more` are fields of `Result`."""
        return Result(self.verb, self.domain, self.wave, str(move.before), str(move.after), **more)

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
