"""What can go wrong in the agent, and what helps.

AgentError
├── ConfigError        the configuration file is missing, malformed or contradicts itself
├── SlotError          a schedule's text cannot be read; the stored schedule stays in force
├── DriverError        the battery refused or did not answer; the agent makes it safe
└── ExchangeError      one exchange with a backend did not give what it should
    ├── Unreachable    no answer: name, connection, time-out
    ├── Refused        an answer that says no (4xx, 5xx); carries status and Retry-After
    ├── Malformed      an answer that breaks its contract
    └── Stale          an answer of a backend that does not command this battery any more
"""

from __future__ import annotations


class AgentError(Exception):
    """Something that the agent survives, or that its operator can act on."""


class ConfigError(AgentError):
    """The configuration cannot be used; the message names the key and what it should be."""


class SlotError(AgentError):
    """A schedule's text cannot be read, or its slots overlap."""


class DriverError(AgentError):
    """The battery did not take a setpoint or gave no reading."""


class ExchangeError(AgentError):
    """One exchange with a backend failed."""


class Unreachable(ExchangeError):
    """There was no answer."""


class Malformed(ExchangeError):
    """There was an answer, but not one of the contract."""


class Stale(ExchangeError):
    """The backend does not know of a newer change of owner: what it says is not acted upon."""


class Refused(ExchangeError):
    """The backend answered, and the answer was no."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"answered {status}")
        self.status = status
        self.retry_after = retry_after
