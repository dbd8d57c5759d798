"""Who owns which wave, as the guard in this database says."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.devices.domain.assignment import Wave, epoch_of

_WAVES = sa.text("SELECT bucket_from, bucket_to, owner, epoch FROM assignments() ORDER BY bucket_from")


_REMEMBER = sa.text("""
    UPDATE assignment_floor AS f SET epoch = a.epoch FROM (SELECT max(epoch) AS epoch FROM assignments()) AS a
     WHERE f.epoch < a.epoch
""")


async def remember(connection: AsyncConnection) -> None:
    """Keep the highest epoch: when the guard goes for good, no device's may fall."""
    await connection.execute(_REMEMBER)


async def waves(connection: AsyncConnection) -> list[Wave]:
    """None where there is no guard."""
    return [Wave(*row) for row in await connection.execute(_WAVES)]


async def epoch(connection: AsyncConnection, device_id: int) -> int:
    return epoch_of(await waves(connection), device_id)
