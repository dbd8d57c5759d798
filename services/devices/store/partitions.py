"""The days of execution log and telemetry. The owner's functions do it: the service's role may not."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_MAKE = sa.text("SELECT make_partitions(:days, :ahead)")
_DROP = sa.text("SELECT drop_partitions(:log_days, :telemetry_days)")


async def make(connection: AsyncConnection, telemetry_days: int, ahead: int) -> int:
    """Those that are missing, for telemetry that may still come and for days to come; how many were made."""
    return int(await connection.scalar(_MAKE, {"days": telemetry_days, "ahead": ahead}) or 0)


async def drop(connection: AsyncConnection, log_days: int, telemetry_days: int) -> int:
    """Those that are older; how many were dropped."""
    return int(await connection.scalar(_DROP, {"log_days": log_days, "telemetry_days": telemetry_days}) or 0)
