"""`freeze`, `unfreeze`: a mark in the ledger that lets a domain go back, and not forward, whoever asks.

The newest row of either verb is the mark: it is in the hash chain, and there is nothing that could contradict it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from migration_plan.context import Context
from migration_plan.freezing import by
from migration_plan.ledger import Entry, Row

Verb = Literal["freeze", "unfreeze"]


class Marked(msgspec.Struct, frozen=True):
    """What `freeze` or `unfreeze` came to. `by`, `why`, `at`: of the freeze that stands, or stood."""

    verb: Verb
    domain: str
    changed: bool
    frozen: bool
    message: str
    by: str | None = None
    why: str | None = None
    at: str | None = None
    run_id: str | None = None
    dry_run: bool = False
    steps: list[str] = []

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def freeze(
    context: Context,
    domain: str,
    reason: str | None = None,
    *,
    measured: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Marked:
    """No step forward begins, or passes its gates, from now on. It waits for nobody: who is past the gates goes on.

    Raises: NameUnknown, Unreachable, NotPrepared, NotConfigured.
    """
    context.plan.domain(domain)
    ledger = context.ledger()
    if (known := ledger.frozen().get(domain)) is not None:
        return _marked("freeze", domain, known, message=f"{domain}: already frozen {by(known)}, nothing to do")
    steps = [f"1 ledger: {domain} goes back, not forward, until `banyan unfreeze {domain}`"]
    if dry_run:
        return Marked("freeze", domain, False, False, f"{domain}: would be frozen", dry_run=True, steps=steps)
    row = _append(context, "freeze", domain, reason, measured or {})
    at_work = ledger.holder(domain)
    more = f"; {at_work} is at work on it, and may be past its gates" if at_work else ""
    message = f"{domain}: frozen, it goes back but not forward until `banyan unfreeze {domain}`{more}"
    return _marked("freeze", domain, row, message=message, changed=True)


def unfreeze(context: Context, domain: str, reason: str | None = None, *, dry_run: bool = False) -> Marked:
    """Raises: as `freeze`."""
    context.plan.domain(domain)
    known = context.ledger().frozen().get(domain)
    if known is None:
        return Marked("unfreeze", domain, False, False, f"{domain}: not frozen, nothing to do", dry_run=dry_run)
    if dry_run:
        steps = [f"1 ledger: steps of {domain} go forward again, if their gates pass"]
        message = f"{domain}: frozen {by(known)}; would be unfrozen"
        return msgspec.structs.replace(_marked("unfreeze", domain, known, message=message), dry_run=True, steps=steps)
    row = _append(context, "unfreeze", domain, reason, {"frozen_by": known.entry.actor, "row": known.id})
    message = f"{domain}: unfrozen; it was frozen {by(known)}"
    return msgspec.structs.replace(
        _marked("unfreeze", domain, known, message=message, changed=True), frozen=False, run_id=row.entry.run_id
    )


def _append(context: Context, verb: Verb, domain: str, reason: str | None, measured: Mapping[str, Any]) -> Row:
    entry = Entry(
        domain=domain,
        verb=verb,
        step="done",
        run_id=uuid.uuid4().hex[:12],
        actor=context.actor,
        measured=dict(measured),
        reason=reason,
    )
    [row] = context.ledger().append([entry])
    return row


def _marked(verb: Verb, domain: str, row: Row, *, message: str, changed: bool = False) -> Marked:
    entry = row.entry
    at = row.at.isoformat(timespec="seconds")
    return Marked(verb, domain, changed, True, message, entry.actor, entry.reason, at, entry.run_id)
