"""Asks the market's source over HTTP: bounded in time and size, again with backoff when the error may pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from services.devices.market import elia, tennet
from services.devices.market.errors import BadData, SourceAway
from services.devices.market.prices import Price

Schema = Literal["elia", "tennet"]
PARSERS: dict[str, Callable[[bytes, str], list[Price]]] = {"elia": elia.parse, "tennet": tennet.parse}
BODY_BYTES = 8 * 1024 * 1024
#: Seconds for one attempt, attempts, the longest pause between two: together less than the minute until the next run.
SECONDS = 5.0
ATTEMPTS = 4
LONGEST_PAUSE = 8.0


@dataclass(frozen=True, slots=True)
class Source:
    """`api_key` is sent as the header `apikey` (TenneT's)."""

    url: str
    schema: str
    area: str
    api_key: str = field(default="", repr=False)


async def fetch(source: Source, client: httpx.AsyncClient, *, pause: float = 0.5) -> list[Price]:
    """The prices that the source tells now. Raises: SourceAway after the last attempt, BadData at once."""
    patience = AsyncRetrying(
        retry=retry_if_exception_type(SourceAway),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=pause, max=LONGEST_PAUSE),
        reraise=True,
    )
    return await patience(_once, source, client)


async def _once(source: Source, client: httpx.AsyncClient) -> list[Price]:
    headers = {"apikey": source.api_key} if source.api_key else {}
    try:
        async with (
            asyncio.timeout(SECONDS),  # the client's own is for each read
            client.stream("GET", source.url, headers=headers, timeout=SECONDS) as answer,
        ):
            if answer.status_code == 429 or answer.status_code >= 500:
                raise SourceAway(f"the source answered {answer.status_code}")
            if answer.status_code != 200:
                raise BadData(f"the source answered {answer.status_code}")
            body = bytearray()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > BODY_BYTES:
                    raise BadData(f"the source's answer is longer than {BODY_BYTES} bytes")
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceAway(f"the source did not answer: {type(error).__name__}") from None
    return PARSERS[source.schema](bytes(body), source.area)
