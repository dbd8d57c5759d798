"""The operator's page and the agents' flags, as one ASGI application: `granian --interface asgi console.app:app`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.exceptions import ServiceUnavailableException
from litestar.handlers import HTTPRouteHandler
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.response import Stream
from litestar.static_files import create_static_files_router

from console import metrics, pages
from console.ending import before_the_end
from console.flags import create_flags_router
from console.flags_source import from_admin_api
from console.headers import add_headers
from console.history import SERIES, History
from console.hub import Hub, TooManyViewers
from console.operate import Operator
from console.operate import handlers as operating
from console.poller import Poller
from console.settings import Settings
from console.sources import LiveSource, Source
from console.view import View, view


class Console:
    """One poller, one history, one hub; what they know, in the forms in which it is asked for."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self.settings, self.source = settings, source
        self.history = History(settings.history_s)
        self.poller = Poller(source, self.history, settings.poll_s)
        self.hub = Hub(settings.viewers)
        self.metrics = metrics.registry(self.poller, self.hub)
        self._watching_signals = False

    def view(self) -> View:
        return view(self.poller.readings, self.settings.domains, datetime.now(UTC))

    def tick(self) -> None:
        if not self._watching_signals:
            self._watching_signals = True
            before_the_end(self.hub.close)
        now = self.view()
        at, values = self.history.last or (0.0, {})
        point = {"t": round(at, 1), "at": now.at, "domains": values}
        self.hub.publish(pages.fragments(now), json.dumps(point, separators=(",", ":")))

    @contextlib.asynccontextmanager
    async def running(self, _: Litestar) -> AsyncIterator[None]:
        polling = asyncio.create_task(self.poller.run(self.tick))
        try:
            yield
        finally:
            self.hub.close()
            polling.cancel()
            await asyncio.wait([polling])
            await self.source.close()


def _bar(operator: Operator, request: Request[Any, Any, Any]) -> pages.Bar:
    if operator.plan is None:
        return pages.Bar()
    choices = {name: pages.Choices(len(d.waves), tuple(d.canary_steps)) for name, d in operator.plan.domains.items()}
    return pages.Bar(True, operator.session(request), choices)


def _handlers(console: Console, operator: Operator) -> list[HTTPRouteHandler]:
    @get("/", media_type="text/html")
    async def page(request: Request[Any, Any, Any]) -> Response[str]:
        drawn = pages.page(console.view(), _bar(operator, request))
        return Response(drawn, media_type="text/html", headers={"Cache-Control": "no-store", "Vary": "Cookie"})

    @get("/events")
    async def events() -> Stream:
        try:
            viewer = console.hub.join()
        except TooManyViewers as error:
            raise ServiceUnavailableException(str(error), headers={"Retry-After": "5"}) from error

        async def messages() -> AsyncIterator[bytes]:
            try:
                async for message in viewer.messages():
                    yield message
            finally:
                console.hub.leave(viewer)

        return Stream(messages(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @get("/api/snapshot")
    async def snapshot() -> Response[bytes]:
        return Response(msgspec.json.encode(console.view()), media_type="application/json")

    @get("/api/history")
    async def history() -> dict[str, Any]:
        return {"series": SERIES, **console.history.columns()}

    @get("/livez", media_type="text/plain")
    async def livez() -> str:
        return "ok\n"

    @get("/readyz", media_type="text/plain")
    async def readyz() -> str:
        if not console.poller.ready:
            raise ServiceUnavailableException("the sources have not been asked yet")
        return "ok\n"

    @get("/metrics")
    async def prometheus() -> Response[bytes]:
        return Response(metrics.exposition(console.metrics), media_type=metrics.MEDIA_TYPE)

    return [page, events, snapshot, history, livez, readyz, prometheus]


def create_app(settings: Settings, source: Source, env: Mapping[str, str] | None = None) -> Litestar:
    """The application over any source. `env`: what the operator's verbs need; without it the page only looks."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every poll
    console = Console(settings, source)
    operator = Operator(env or {}, settings.gateway_admin_url)
    flags = from_admin_api(settings.gateway_admin_url or "http://127.0.0.1:1", settings.gateway_admin_token)
    static = create_static_files_router("/static", [pages.STATIC], name="static")
    return Litestar(
        [*_handlers(console, operator), *operating(operator), static, create_flags_router(flags.owner_of)],
        lifespan=[console.running],
        before_send=[add_headers],
        plugins=[ProblemDetailsPlugin(ProblemDetailsConfig(enable_for_all_http_exceptions=True))],
        openapi_config=None,
    )


def _from_environment() -> Litestar:
    settings = Settings.from_env()
    return create_app(settings, LiveSource(settings), os.environ)


app = _from_environment()
