"""Writes a command for each active device, leaving out those that somebody else owns by now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from legacy_monolith import guard, localtime
from legacy_monolith.cron import decide

log = logging.getLogger("legacy")

_CHUNK = 500

# By the hash that waves are cut by: devices of one wave are neighbours, so that halving finds the border fast.
_ACTIVE = text("SELECT id, max_power_w FROM device WHERE status = 'A' ORDER BY md5(CAST(id AS text))")
_INSERT = text("""
    INSERT INTO battery_command (device_id, ref, mode, power_w, status, issued, expires)
    SELECT id, ref, :mode, power_w, 'Q', :issued, :expires
    FROM unnest(CAST(:ids AS bigint[]), CAST(:refs AS text[]), CAST(:powers AS integer[])) AS i (id, ref, power_w)
    ON CONFLICT (ref) DO NOTHING
""")


def write(connection: Connection, mode: str, now: datetime) -> tuple[int, int]:
    """(written, left to another owner) at the UTC instant `now`. The same minute again writes nothing."""
    devices = connection.execute(_ACTIVE).all()
    written = foreign = 0
    for start in range(0, len(devices), _CHUNK):
        some, others = _write(connection, devices[start : start + _CHUNK], mode, now)
        written, foreign = written + some, foreign + others
    return written, foreign


def _write(connection: Connection, devices: Sequence[Any], mode: str, now: datetime) -> tuple[int, int]:
    try:
        with connection.begin_nested():
            done = connection.execute(
                _INSERT,
                {
                    "ids": [device.id for device in devices],
                    "refs": [decide.ref(device.id, now) for device in devices],
                    "powers": [device.max_power_w for device in devices],
                    "mode": mode,
                    "issued": localtime.to_local(now)[0],
                    "expires": localtime.to_local(now + decide.COMMAND_LIFE)[0],
                },
            )
            return done.rowcount, 0
    except DBAPIError as error:
        refusal = guard.refusal(error)
        if refusal is None:
            raise
    if len(devices) == 1:
        return 0, 1
    half = len(devices) // 2
    first, second = (_write(connection, part, mode, now) for part in (devices[:half], devices[half:]))
    return first[0] + second[0], first[1] + second[1]
