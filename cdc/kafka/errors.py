"""What can go wrong with the Kafka transport, besides cdc.errors' own.

CdcError
├── Moved            the stream has been moved to the other transport: this one ends
├── LogLost          records that the target has not applied are gone from Kafka
└── Transient
    ├── Overtaken    another consumer has applied what was in hand: read the partition's place again
    └── BrokerAway   Kafka does not answer, or took a record too slowly
"""

from __future__ import annotations

from cdc.errors import CdcError, Transient


class Moved(CdcError):
    """Raised in whoever still works on a transport that the stream has left."""


class LogLost(CdcError):
    """Raised when a topic begins after the offset that the target needs, or was made anew."""


class Overtaken(Transient):
    """Raised inside a consumer whose partition was given to another."""


class BrokerAway(Transient):
    """Raised when Kafka cannot be reached or does not acknowledge."""
