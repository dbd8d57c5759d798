"""The customers that exist, and their preferences."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.references import patiently
from services.notifications.domain.messages import Preferences
from services.notifications.store.tables import CUSTOMER_REFS, PREFERENCES

_WISHES = (
    PREFERENCES.c.email, PREFERENCES.c.sms, PREFERENCES.c.push, PREFERENCES.c.quiet_from, PREFERENCES.c.quiet_to,
)  # fmt: skip


async def find(connection: AsyncConnection, customer_id: int) -> tuple[str, Preferences] | None:
    """E-mail address and preferences; None for a customer that does not exist."""
    statement = (
        sa.select(CUSTOMER_REFS.c.email, PREFERENCES.c.customer_id, *_WISHES)
        .select_from(CUSTOMER_REFS.outerjoin(PREFERENCES, PREFERENCES.c.customer_id == CUSTOMER_REFS.c.id))
        .where(CUSTOMER_REFS.c.id == customer_id)
    )

    async def look() -> sa.Row[*tuple[Any, ...]] | None:
        return (await connection.execute(statement)).one_or_none()

    row = await patiently(look)
    if row is None:
        return None
    address, has_wishes, *wishes = row
    return address, Preferences() if has_wishes is None else Preferences(*wishes)


async def put_preferences(connection: AsyncConnection, customer_id: int, wanted: Preferences) -> None:
    """Equal preferences are left alone."""
    statement = insert(PREFERENCES).values(customer_id=customer_id, **asdict(wanted))
    given = {name: statement.excluded[name] for name in asdict(wanted)}
    differs = sa.tuple_(*_WISHES).is_distinct_from(sa.tuple_(*given.values()))
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["customer_id"], set_={**given, "updated_at": sa.func.now()}, where=differs
        )
    )
