"""`/livez`: the process runs. `/readyz`: its database answers and is migrated. `/metrics`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from litestar import Response, get
from litestar.datastructures import State
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.chassis.metrics import Metrics

_SECONDS = 2.0


def newest_revision(migrations: Path) -> str:
    """The head of a linear history of `0001_….py` files; reading names spares the start Alembic's import."""
    return max(path.name.split("_")[0] for path in migrations.glob("[0-9]*_*.py"))


async def readiness(engine: AsyncEngine, wanted: str) -> str | None:
    """None when ready, else what is amiss and what to do."""
    try:
        async with asyncio.timeout(_SECONDS), engine.connect() as connection:
            present = await connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
            found = await connection.scalar(text("SELECT max(version_num) FROM alembic_version")) if present else None
    except (SQLAlchemyError, TimeoutError, OSError):
        return "the database does not answer"
    if found != wanted:
        return f"the database is at migration {found or 'none'}, not {wanted}: run the service's `migrate`"
    return None


@get("/livez", include_in_schema=False, sync_to_thread=False)
def livez() -> dict[str, str]:
    return {"status": "ok"}


@get("/readyz", include_in_schema=False)
async def readyz(state: State) -> Response[dict[str, Any]]:
    amiss = await readiness(state.engine, state.wanted_revision)
    if amiss is None:
        return Response({"status": "ok"})
    return Response({"status": "unavailable", "detail": amiss}, status_code=503)


@get("/metrics", include_in_schema=False, sync_to_thread=False)
def metrics(state: State) -> Response[bytes]:
    collected: Metrics = state.metrics
    return Response(collected.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
