"""What can go wrong while a plan is read or carried out; each message says what and what to do.

PlanError
├── PlanInvalid        the plan file is wrong: `file:line:column: what; what to do`, one line per problem
├── NameUnknown        a domain, wave or phase that the plan does not have
├── NotConfigured      an environment variable is missing
├── Unreachable        a database or the gateway's admin API does not answer
├── NotPrepared        `banyan prepare` has not run for this domain
├── Refused            a gate failed: nothing was changed
│   ├── Frozen         somebody froze the domain: it goes back, not forward
│   └── NotApproved    the plan names who may take this step, and it is somebody else
├── Aborted            a switch was given up before the point of no return: nothing was changed
├── Unfinished         a switch passed the point of no return and could not finish: run the verb again
├── Busy               another controller holds this domain, or moved the wave meanwhile
├── OwnershipBroken    both databases claim a wave, or a third party changed its epoch
└── LedgerBroken       the ledger's hash chain does not hold
"""

from __future__ import annotations

from collections.abc import Sequence


class PlanError(Exception):
    """The root: something that a person can act on. `exit_code` is the command line's."""

    exit_code = 1


class PlanInvalid(PlanError):
    """The plan file breaks a rule; `problems` holds every one of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class NameUnknown(PlanError):
    """A name that the plan does not know; the message lists those that it does."""

    exit_code = 2


class NotConfigured(PlanError):
    """A variable that this step needs is not set."""


class Unreachable(PlanError):
    """A server did not answer within its time. `at`: its address; `what` it is; `why`: what was heard instead."""

    def __init__(self, message: str, *, at: str = "", what: str = "", why: str = "") -> None:
        super().__init__(message)
        self.at, self.what, self.why = at, what, why


class NotPrepared(PlanError):
    """The guard, the slots or the ledger are missing."""


class Refused(PlanError):
    """A precondition does not hold; nothing was changed."""


class Frozen(Refused):
    """The domain takes no step forward until somebody unfreezes it; nothing was changed."""


class NotApproved(Refused):
    """Somebody whom the plan does not name asks for a step; nothing was changed."""


class Aborted(PlanError):
    """The switch stopped before the point of no return and put everything back."""


class Unfinished(PlanError):
    """The new owner accepts writes, but a later step failed; the same verb finishes it."""


class Busy(PlanError):
    """Somebody else steers this domain at the moment, or did while this controller thought that it did."""


class OwnershipBroken(PlanError):
    """The two ownership tables contradict each other."""


class LedgerBroken(PlanError):
    """A row of the ledger was changed, removed or slipped in."""
