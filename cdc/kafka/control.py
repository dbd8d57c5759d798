"""The control topic: how far the source's changes are in Kafka, and what must wait until all of them are applied.

A control record says: every change that the source committed before `lsn` is in the topics, acknowledged, below the
offsets `ends`. The relay writes it only after the broker acknowledged all of them, and confirms `lsn` to the slot only
after the broker acknowledged the control record: whatever the slot has let go is in Kafka.

A consumer calls a control record passed when the target has applied every partition up to `ends`. Then, and in the
order of the control topic:

1. its fence markers are recorded: everything the source committed before the fence is in the target;
2. its truncates are applied: the relay sends nothing further until the target says so, so they are in their place;
3. `lsn` becomes the stream's watermark, as on the direct transport.

Source transactions do not stay whole: the partitions of one transaction are applied apart. At a watermark all
transactions before it are whole again.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime

import msgspec

from cdc.change import Change, Message, Relation, Transaction
from cdc.errors import EnvelopeError


class Sent(msgspec.Struct, frozen=True):
    """A transactional message of the source (a fence marker), to be handled at this record."""

    prefix: str
    content: str
    lsn: int
    commit_lsn: int


class Truncated(msgspec.Struct, frozen=True):
    """A table emptied at the source at this place."""

    table: str
    lsn: int
    commit_lsn: int


class Control(msgspec.Struct, frozen=True, omit_defaults=True):
    """`session` and `number` continue from record to record, as in the tables' topics; number 0 begins a session.

    `ends`: by topic, the next offset of each partition that was written to since the record before (-1: it was not).
    Records are passed in order, so that is enough, and those of an idle stream are small.

    `pulse`: nothing but the position has changed, and nobody waits for more than that.
    """

    session: str
    number: int
    system: str
    lsn: int
    at: datetime
    commit: bool = True
    ends: dict[str, list[int]] = {}
    messages: list[Sent] = []
    truncates: list[Truncated] = []
    pulse: bool = False


def encode(control: Control) -> bytes:
    return msgspec.json.encode(control)


def decode(value: bytes | None) -> Control:
    """Raises: EnvelopeError."""
    try:
        return msgspec.json.decode(value or b"", type=Control)
    except msgspec.DecodeError as e:
        raise EnvelopeError(f"a record of the control topic is not ours: {e}") from e


def sent(change: Change) -> Sent:
    assert change.message is not None
    content = b64encode(change.message.content).decode()
    return Sent(change.message.prefix, content, change.lsn, change.tx.commit_lsn)


def message_change(one: Sent, at: datetime) -> Change:
    """The message as capture gave it."""
    tx = Transaction(0, one.commit_lsn, at)
    return Change("m", tx, one.lsn, message=Message(one.prefix, b64decode(one.content)))


def truncate_change(one: Truncated, at: datetime) -> Change:
    schema, table = one.table.split(".", 1)
    return Change("t", Transaction(0, one.commit_lsn, at), one.lsn, Relation(0, schema, table, ()))


def passed(control: Control, applied: dict[tuple[str, int], int]) -> bool:
    """`applied`: by topic and partition, the next offset that the target has not applied."""
    return all(
        applied.get((topic, partition), 0) >= end
        for topic, ends in control.ends.items()
        for partition, end in enumerate(ends)
        if end > 0
    )
