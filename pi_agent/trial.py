"""One round of a candidate's trial: what it has to show, as an exchange without I/O. Changes nothing at either side.

Its ack is one that is true whatever comes of the trial, that its schedule was delivered; backends know an ack by its
ref and state, so that a second one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pi_agent.assignment import Check
from pi_agent.backends import Backend, Verdict
from pi_agent.errors import ExchangeError, Malformed, Refused, Stale
from pi_agent.exchange import Exchange
from pi_agent.model import Ack, AckState, Document, Schedule

#: Takes note of a passed check; false when the trial is over.
Passed = Callable[[Check], bool]


def one_round(
    backend: Backend, known: Schedule, epoch: int, now: Callable[[], datetime], passed: Passed
) -> Exchange[None]:
    """Raises: ExchangeError of the check that failed, which is the one that comes next."""
    try:
        fetched = yield from backend.fetch(None, 0, epoch)
    except Refused as error:
        if passed(Check.HANDSHAKE) and error.status not in (401, 403):
            passed(Check.AUTH)
        raise
    except Malformed:
        if passed(Check.HANDSHAKE):
            passed(Check.AUTH)
        raise
    if not (passed(Check.HANDSHAKE) and passed(Check.AUTH)):
        return
    if fetched.document is None:
        raise Malformed("it has no schedule")
    check_schedule(fetched.document, known, epoch)
    if not passed(Check.SCHEDULE):
        return
    ack = Ack(f"schedule-v{fetched.document.schedule.version}", AckState.DELIVERED, now())
    verdicts = yield from backend.deliver([ack], epoch)
    if verdicts != [Verdict.ACCEPTED]:
        raise ExchangeError("it refuses a good ack")
    passed(Check.ACK)


def check_schedule(document: Document, known: Schedule, epoch: int) -> None:
    """A backend that lags behind, or has other data, must not take over. Raises: Stale, Malformed."""
    said = document.schedule
    if document.epoch is not None and document.epoch < epoch:
        raise Stale(f"its epoch is {document.epoch}, the battery has seen {epoch}")
    if said.version < known.version:
        raise Stale(f"it has schedule {said.version}, the battery runs {known.version}")
    if said.version == known.version and said.slots != known.slots:
        raise Malformed(f"it has other slots under the same version {known.version}")
