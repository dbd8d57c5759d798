"""Writes commands for the batteries that this side owns, and finds the others fast.

Rows are ordered by the bucket that waves are cut by, so a wave is a stretch of neighbours. Where the guard refuses a
part, its two ends are tried alone: both refused for the same wave means that all between them belongs to it; else the
rest is halved. A fleet that legacy owns costs three statements a part, a border in the middle some twenty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import problem_of
from services.chassis.errors import Misdirected
from services.devices.domain.assignment import bucket
from services.devices.store import fleet
from services.devices.store.fleet import NewCommand


@dataclass(frozen=True, slots=True)
class Written:
    """`foreign`: devices whose rows another side owns; `repeated`: their command was there already."""

    written: int = 0
    repeated: int = 0
    foreign: tuple[int, ...] = ()

    def __add__(self, other: Written) -> Written:
        return Written(self.written + other.written, self.repeated + other.repeated, self.foreign + other.foreign)


async def write(
    connection: AsyncConnection, commands: Sequence[NewCommand], issued_at: datetime, expires_at: datetime
) -> Written:
    """Write what may be written here. Raises: DBAPIError for anything but the guard's refusal."""
    ordered = sorted(commands, key=lambda command: (bucket(command.device_id), command.device_id))
    return await _part(connection, ordered, (issued_at, expires_at)) if ordered else Written()


async def _part(connection: AsyncConnection, part: Sequence[NewCommand], times: tuple[datetime, datetime]) -> Written:
    done, _ = await _try(connection, part, times)
    if done is not None:
        return done
    if len(part) == 1:
        return _foreign(part)
    ends = [await _try(connection, [end], times) for end in (part[0], part[-1])]
    (first, wave), (last, other) = ends
    if first is None and last is None and wave == other:
        return _foreign(part)
    total = (first or _foreign(part[:1])) + (last or _foreign(part[-1:]))
    inner = part[1:-1]
    for half in (inner[: len(inner) // 2], inner[len(inner) // 2 :]):
        if half:
            total += await _part(connection, half, times)
    return total


async def _try(
    connection: AsyncConnection, part: Sequence[NewCommand], times: tuple[datetime, datetime]
) -> tuple[Written | None, int | None]:
    """What was written; or None and the wave for which it was refused."""
    try:
        async with connection.begin_nested():
            written = await fleet.command(connection, part, *times)
    except DBAPIError as error:
        refusal = problem_of(error)
        if not isinstance(refusal, Misdirected):
            raise
        return None, refusal.wave
    return Written(written, len(part) - written), None


def _foreign(part: Sequence[NewCommand]) -> Written:
    return Written(foreign=tuple(command.device_id for command in part))
