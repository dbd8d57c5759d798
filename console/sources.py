"""Where the page's facts come from: the gateway's admin API, the streams, the ledger, and the health of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import httpx

from console import decode
from console.readings import Gateway, Ledger, Stream
from console.settings import Settings
from gateway.control.client import AdminClient
from migration_plan.ledger import Ledger as LedgerConnection

TIMEOUT_S = 2.0
TAIL = 150  # ledger rows; a switch writes about twenty
VERIFICATIONS = 30


class SourceFailed(Exception):
    """A source did not answer; the message is shown to operators, so it names no secret."""


class Source(Protocol):
    """Each call answers within a few seconds or raises; the poller calls each at most once at a time."""

    async def gateway(self) -> Gateway: ...

    async def streams(self) -> Mapping[str, Stream]: ...

    async def ledger(self) -> Ledger: ...

    async def components(self) -> Mapping[str, bool]: ...

    async def close(self) -> None: ...


class LiveSource:
    """The real thing, described by `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=20))
        self._admin: AdminClient | None = None
        self._ledger: LedgerConnection | None = None

    async def gateway(self) -> Gateway:
        if not self._settings.gateway_admin_url:
            raise SourceFailed("not configured: BANYAN_GATEWAY_ADMIN_URL is not set")
        return await asyncio.to_thread(self._read_gateway)

    async def streams(self) -> Mapping[str, Stream]:
        urls = self._settings.streams
        found = await asyncio.gather(*(self._stream(url) for url in urls.values()))
        return dict(zip(urls, found, strict=True))

    async def ledger(self) -> Ledger:
        if not self._settings.ledger_dsn:
            raise SourceFailed("not configured: BANYAN_LEDGER_DSN is not set")
        return await asyncio.to_thread(self._read_ledger)

    async def components(self) -> Mapping[str, bool]:
        urls = self._settings.components
        found = await asyncio.gather(*(self._healthy(url) for url in urls.values()))
        return dict(zip(urls, found, strict=True))

    async def close(self) -> None:
        await self._http.aclose()
        if self._admin is not None:
            self._admin.close()
        self._drop_ledger()

    def _read_gateway(self) -> Gateway:
        if self._admin is None:
            url, token = self._settings.gateway_admin_url, self._settings.gateway_admin_token
            self._admin = AdminClient(url, token, timeout=TIMEOUT_S)
        return decode.gateway(self._admin.table(), self._admin.status())

    def _read_ledger(self) -> Ledger:
        try:
            if self._ledger is None:
                self._ledger = LedgerConnection(self._settings.ledger_dsn, "console")
            rows = self._ledger.history(limit=TAIL)
            frozen = self._ledger.frozen()
            verified = self._ledger.history(verb="verify", step="compared", limit=VERIFICATIONS)
        except Exception:
            self._drop_ledger()  # the next reading connects anew
            raise
        return decode.ledger(rows, verified, frozen)

    def _drop_ledger(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    async def _stream(self, url: str) -> Stream:
        try:
            answer = await self._http.get(f"{url}/status")
            body: Any = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return Stream(answers=False)
        return decode.stream(body)

    async def _healthy(self, url: str) -> bool:
        try:
            return (await self._http.get(url)).is_success
        except httpx.HTTPError:
            return False
