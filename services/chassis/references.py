"""References to rows that another database owns: a copy follows them, a moment behind.

Whoever has just been told that a customer exists must not hear that there is none, so a missing one is looked up again
for as long as a healthy copy lags.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

#: Seconds before each further look; in all about what the streams lag under load.
_PAUSES = (0.05, 0.1, 0.15)

T = TypeVar("T")


async def patiently(look: Callable[[], Awaitable[T | None]]) -> T | None:
    """What `look` finds, now or within a moment; None when it is still missing then.

    `look` must see what others commit meanwhile: no REPEATABLE READ transaction.
    """
    found = await look()
    for pause in _PAUSES:
        if found is not None:
            break
        await asyncio.sleep(pause)
        found = await look()
    return found
