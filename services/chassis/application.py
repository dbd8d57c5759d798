"""Puts a service together: routes, engine, errors, telemetry, background work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.types import ControllerRouterHandler
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.chassis import logs
from services.chassis.auth import Authenticator, Caller, DeviceLookup
from services.chassis.database import create_engine, problem_of, transaction
from services.chassis.errors import FrameworkProblem, Problem
from services.chassis.health import livez, metrics, newest_revision, readyz
from services.chassis.metrics import Metrics
from services.chassis.settings import Settings
from services.chassis.telemetry import Telemetry, is_dry_run

log = structlog.get_logger()

BODY_BYTES = 4 * 1024 * 1024
REQUEST_SECONDS = 10.0

# A transaction for this request: `async with work() as connection`. A dry run rolls it back.
Work = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
# A connection for single statements that read: no transaction, so no round trips for one.
Read = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


def create_app(
    settings: Settings,
    routes: Sequence[ControllerRouterHandler],
    *,
    migrations: Path,
    title: str,
    device_lookup: Callable[[AsyncEngine], DeviceLookup] | None = None,
    background: Callable[[State], AbstractAsyncContextManager[None]] | None = None,
    seconds: float = REQUEST_SECONDS,
) -> Litestar:
    """A Litestar application that serves `routes` beside health, metrics and its OpenAPI document at /schema."""
    logs.configure(settings.name)
    measured = Metrics(settings.name)
    engine = create_engine(settings)
    reader = engine.execution_options(isolation_level="AUTOCOMMIT")
    device_of = None if device_lookup is None else device_lookup(reader)
    authenticator = Authenticator(
        settings.secret_key,
        settings.backoffice_key,
        device_of,
        assertion_key=settings.assertion_key,
        audience=settings.name,
    )

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        try:
            if background is None:
                yield
            else:
                async with background(app.state):
                    yield
        finally:
            await engine.dispose()

    async def caller(request: Request[Any, Any, Any]) -> Caller:
        return await authenticator.caller(request)

    async def work(request: Request[Any, Any, Any]) -> Work:
        dry_run = is_dry_run(request.scope)
        return lambda: transaction(engine, dry_run=dry_run)

    async def read() -> Read:
        return reader.connect

    app = Litestar(
        route_handlers=[livez, readyz, metrics, *routes],
        dependencies={"caller": Provide(caller), "work": Provide(work), "read": Provide(read)},
        state=State(
            {
                "engine": engine,
                "authenticator": authenticator,
                "metrics": measured,
                "settings": settings,
                "wanted_revision": newest_revision(migrations),
            }
        ),
        lifespan=[lifespan],
        plugins=[ProblemDetailsPlugin(problem_details())],
        openapi_config=OpenAPIConfig(
            title=title, version="2", path="/schema", render_plugins=[JsonRenderPlugin(path="/")]
        ),
        request_max_body_size=BODY_BYTES,
        logging_config=None,
        debug=False,
    )
    app.asgi_handler = Telemetry(app.asgi_handler, measured, seconds=seconds)
    return app


def problem_details() -> ProblemDetailsConfig:
    """Every error becomes a Problem, which knows how to look on each path."""
    return ProblemDetailsConfig(
        exception_to_problem_detail_map={
            HTTPException: _of_http,
            SQLAlchemyError: _of_database,
            Exception: _of_anything,
        }
    )


def _of_http(error: HTTPException) -> Problem:
    extra = {"errors": error.extra} if isinstance(error.extra, list) else error.extra
    return FrameworkProblem(error.status_code, error.detail, extra=extra or None, headers=error.headers)


def _of_database(error: SQLAlchemyError) -> Problem:
    return problem_of(error) or _of_anything(error)


def _of_anything(error: Exception) -> Problem:
    log.error("unexpected", exc_info=error)
    return Problem(500, "internal server error")
