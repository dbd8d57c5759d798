"""Reads what fleets of devices and notifications wrote from either database (docs/architecture.md §4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, time
from typing import Any

import psycopg

from load.databases import ZONE
from load.facts import Fact, Facts
from load.household import preferences

Stored = dict[Fact, list[str]]  # lists, because a fault may store a thing twice
Rows = Iterator[tuple[Fact, str]]

_ACKS = {"delivered": "D", "succeeded": "S", "failed": "F", "expired": "X"}
_MODES = {"charge": "C", "discharge": "D", "hold": "H"}


def stored(dsn: str, facts: Facts, side: str) -> Stored:
    """Everything that belongs to the fleet's own devices or customers. Raises: psycopg.Error."""
    found: Stored = defaultdict(list)
    with psycopg.connect(dsn, connect_timeout=5) as connection:

        def rows(query: str) -> list[Any]:
            return connection.execute(query, [sorted(facts.owners)]).fetchall()

        for fact, value in _READERS[facts.domain, side](rows):
            found[fact].append(value)
    return found


def _legacy_devices(rows: Callable[[str], list[Any]]) -> Rows:
    for id_, serial, customer in rows("SELECT id, serial, customer_id FROM device WHERE id = ANY(%s)"):
        yield Fact("devices", id_), f"{serial} of {customer}"
    for id_, slots in rows("SELECT device_id, slots FROM schedule WHERE device_id = ANY(%s)"):
        yield Fact("schedules", id_), slots
    for id_, ref, state, observed in rows("SELECT device_id, ref, state, observed FROM ack WHERE device_id = ANY(%s)"):
        yield Fact("acks", id_, ref), f"{state} {observed.isoformat()}"


def _service_devices(rows: Callable[[str], list[Any]]) -> Rows:
    for id_, serial, customer in rows("SELECT id, serial, customer_id FROM devices WHERE id = ANY(%s)"):
        yield Fact("devices", id_), f"{serial} of {customer}"
    for id_, slots in rows("SELECT device_id, slots FROM schedules WHERE device_id = ANY(%s)"):
        yield Fact("schedules", id_), ";".join(map(_slot, slots))
    acks = "SELECT device_id, ref, state, observed_at FROM acks WHERE device_id = ANY(%s)"
    for id_, ref, state, observed in rows(acks):
        yield Fact("acks", id_, ref), f"{_ACKS[state]} {_local(observed)}"


def _legacy_notifications(rows: Callable[[str], list[Any]]) -> Rows:
    for id_, subject, body in rows("SELECT customer_id, subject, body FROM notification WHERE customer_id = ANY(%s)"):
        yield Fact("notices", id_, subject), body
    chosen = "SELECT customer_id, email, sms, push, quiet_from, quiet_to FROM notification_pref"
    for id_, *values in rows(f"{chosen} WHERE customer_id = ANY(%s)"):
        yield Fact("preferences", id_), preferences(*values)


def _service_notifications(rows: Callable[[str], list[Any]]) -> Rows:
    for id_, subject, body in rows("SELECT customer_id, subject, body FROM messages WHERE customer_id = ANY(%s)"):
        yield Fact("notices", id_, subject), body
    chosen = "SELECT customer_id, email, sms, push, quiet_from, quiet_to FROM preferences"
    for id_, email, sms, push, *quiet in rows(f"{chosen} WHERE customer_id = ANY(%s)"):
        letters = ("Y" if wanted else "N" for wanted in (email, sms, push))
        yield Fact("preferences", id_), preferences(*letters, *map(_clock, quiet))


_READERS: dict[tuple[str, str], Callable[[Callable[[str], list[Any]]], Rows]] = {
    ("devices", "legacy"): _legacy_devices,
    ("devices", "service"): _service_devices,
    ("notifications", "legacy"): _legacy_notifications,
    ("notifications", "service"): _service_notifications,
}


def _slot(slot: dict[str, Any]) -> str:
    """`{"from":"00:00","to":"05:00","mode":"charge","power_w":2500}` as the monolith writes it."""
    times = f"{slot['from']}-{slot['to']}".replace(":", "")
    return f"{times} {_MODES[slot['mode']]}{slot['power_w']}"


def _local(instant: datetime) -> str:
    return instant.astimezone(ZONE).replace(tzinfo=None).isoformat()


def _clock(at: time | None) -> str | None:
    return at.strftime("%H:%M") if at is not None else None
