"""The admin API: read and change the route table, see the figures. Its own process, its own port, a bearer token."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import structlog
from litestar import Litestar, MediaType, Request, Response, Router, get, patch, put
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.params import Parameter
from litestar.response import Stream

from gateway.control.audit import Source
from gateway.control.change import DomainChange
from gateway.control.client import Applied
from gateway.control.node import Node
from gateway.control.roles import Holder, Tokens
from gateway.control.scores import scores
from gateway.control.status import counted, metrics, status
from gateway.control.table import RouteTable, decode_table
from gateway.errors import GatewayError, TableRefused, VersionConflict
from gateway.routing.router import DEFAULT_DOMAIN
from gateway.tail.relay import TooManyTails
from gateway.tail.wanted import BadFilter, wanted

log = structlog.get_logger("gateway.admin")

Problem = Response[dict[str, Any]]


def _problem(code: int, title: str, detail: str, **more: Any) -> Problem:
    content = {"type": "about:blank", "title": title, "status": code, "detail": detail, **more}
    return Response(content, status_code=code, media_type="application/problem+json")


def _conflict(_: Request[Any, Any, Any], error: VersionConflict) -> Problem:
    return _problem(412, "Precondition Failed", str(error), version=error.current)


def _refused(_: Request[Any, Any, Any], error: TableRefused) -> Problem:
    return _problem(422, "Unprocessable Content", str(error), reasons=list(error.reasons))


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Problem:
    answer = _problem(error.status_code, type(error).__name__.removesuffix("Exception"), error.detail)
    answer.headers.update(error.headers or {})
    return answer


def _failed(_: Request[Any, Any, Any], error: Exception) -> Problem:
    return _problem(500, "Internal Server Error", f"the change was not made: {error}")


def needs_token(tokens: Tokens) -> Any:
    """Everybody with a token may read; only operators may do anything else."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scheme, _space, given = connection.headers.get("authorization", "").partition(" ")
        holder = tokens.holder(given.strip()) if scheme.lower() == "bearer" else None
        if holder is None:
            raise NotAuthorizedException("the admin API needs the bearer token", headers={"WWW-Authenticate": "Bearer"})
        method = str(connection.scope.get("method", ""))
        if method not in ("GET", "HEAD") and not holder.may_change:
            log.warning("a viewer tried to change", token=holder.name, method=method, path=connection.url.path)
            raise PermissionDeniedException(f"{holder.name} is a viewer: a change needs an operator's token")
        connection.state.holder = holder

    return guard


def _expected(request: Request[Any, Any, Any]) -> int:
    """The version in If-Match. A change without one would overwrite what it has not seen."""
    given = request.headers.get("if-match", "")
    match = re.fullmatch(r'(?:W/)?"?(\d{1,15})"?', given.strip())
    if match is None:
        raise HTTPException("If-Match must carry the version that the change is made for", status_code=428)
    return int(match[1])


def _actor(request: Request[Any, Any, Any]) -> str:
    actor = request.headers.get("banyan-actor", "").strip()
    if not actor or len(actor) > 200:
        raise HTTPException("Banyan-Actor must say who makes the change", status_code=400)
    return actor


def _why(given: str) -> str:
    """Nobody can look into it later without."""
    if not given.strip() or len(given) > 2000:
        raise HTTPException("Banyan-Reason, or `reason`, must say why the change is made", status_code=400)
    return given.strip()


def _durable(request: Request[Any, Any, Any]) -> bool:
    """`Prefer: respond-async` (RFC 7240): who holds clients up meanwhile does not wait for the disk as well."""
    return "respond-async" not in request.headers.get("prefer", "")


def _source(request: Request[Any, Any, Any]) -> Source:
    """Where a change comes from. The client's correlation is kept, so that its own log can be found."""
    given = request.headers.get("x-request-id", "")
    client = request.client
    return Source(
        token=request.state.holder.name,
        call=f"{request.method} {request.url.path}",
        request_id=given if re.fullmatch(r"[!-~]{1,128}", given) else uuid4().hex,
        traceparent=request.headers.get("traceparent", "")[:100],
        address=client.host if client is not None else "",
    )


def _told(applied: Applied) -> Response[dict[str, Any]]:
    workers = {"applied": applied.applied, "total": applied.total}
    body = {"version": applied.version, "workers": workers, "ms": applied.ms}
    return Response(body, headers={"ETag": f'"{applied.version}"'})


def _tabled(table: RouteTable, content: Any) -> Response[Any]:
    return Response(content, headers={"ETag": f'"{table.version}"'}, media_type=MediaType.JSON)


@get("/v1/whoami", sync_to_thread=False)
def read_holder(request: Request[Any, Any, Any]) -> dict[str, str]:
    holder: Holder = request.state.holder
    return {"name": holder.name, "role": holder.role}


@get("/v1/table", sync_to_thread=False)
def read_table(node: Node) -> Response[Any]:
    return _tabled(node.keeper.table, msgspec.to_builtins(node.keeper.table))


@put("/v1/table")
async def put_table(request: Request[Any, Any, Any], node: Node) -> Response[dict[str, Any]]:
    actor, expected = _actor(request), _expected(request)
    table = decode_table(await request.body())
    reason = _why(request.headers.get("banyan-reason", ""))
    source, durable = _source(request), _durable(request)
    return _told(await node.keeper.change(expected, lambda _: table, actor, reason, source, durable=durable))


@get("/v1/domains", sync_to_thread=False)
def read_domains(node: Node) -> Response[Any]:
    return _tabled(node.keeper.table, msgspec.to_builtins(node.keeper.table.domains))


@get("/v1/domains/{domain:str}", sync_to_thread=False)
def read_domain(domain: str, node: Node) -> Response[Any]:
    return _tabled(node.keeper.table, msgspec.to_builtins(_known(node, domain)))


def _known(node: Node, domain: str) -> Any:
    found = node.keeper.table.domains.get(domain)
    if found is None:
        raise NotFoundException(
            f"unknown domain {domain!r}: there are {', '.join(node.keeper.table.domains) or 'none'}"
        )
    return found


@patch("/v1/domains/{domain:str}")
async def patch_domain(domain: str, request: Request[Any, Any, Any], node: Node) -> Response[dict[str, Any]]:
    actor, expected = _actor(request), _expected(request)
    _known(node, domain)
    try:
        change = msgspec.json.decode(await request.body(), type=DomainChange)
    except msgspec.DecodeError as error:
        raise TableRefused([str(error)]) from error
    reason, source, durable = _why(change.reason), _source(request), _durable(request)
    made = lambda table: change.apply(table, domain)  # noqa: E731
    return _told(await node.keeper.change(expected, made, actor, reason, source, durable=durable))


@get("/v1/status")
async def read_status(node: Node) -> dict[str, Any]:
    await node.look()
    return status(node.keeper.table, node.figures, node.workers)


@get("/v1/figures")
async def read_figures(node: Node) -> dict[str, Any]:
    await node.look()
    return counted(node.name, node.keeper.table, node.figures, node.workers)


@get("/v1/shadow/mismatches")
async def read_mismatches(node: Node) -> dict[str, Any]:
    return {"mismatches": await node.samples()}


@get("/v1/shadow/{domain:str}")
async def read_shadow(domain: str, node: Node) -> dict[str, Any]:
    found = _known(node, domain)
    await node.look()
    return {**scores(domain, found, node.figures.totals()), "samples": await node.samples(domain)}


@get("/v1/audit", sync_to_thread=False)
def read_audit(node: Node, limit: Annotated[int, Parameter(ge=1, le=1000)] = 100) -> dict[str, Any]:
    return {"entries": node.keeper.audit.newest(limit)}


@get("/v1/tail")
async def read_tail(request: Request[Any, Any, Any], node: Node) -> Stream:
    """Lines until the client leaves: the requests that fit, as in the access log, and events."""
    try:
        chosen = wanted(dict(request.query_params))
        if chosen.domain not in (None, DEFAULT_DOMAIN):
            _known(node, str(chosen.domain))
        lines = node.tails.tail(chosen)
    except BadFilter as error:
        raise HTTPException(str(error), status_code=400) from error
    except TooManyTails as error:
        raise HTTPException(str(error), status_code=503, headers={"Retry-After": "5"}) from error
    return Stream(lines, media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})


@get("/metrics", media_type=MediaType.TEXT)
async def read_metrics(node: Node) -> Response[bytes]:
    await node.look()
    content = metrics(node.keeper.table, node.figures, node.applied, node.workers)
    return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")


@get("/livez", sync_to_thread=False)
def livez() -> dict[str, str]:
    return {"status": "ok"}


@get("/readyz")
async def readyz(node: Node) -> Response[dict[str, Any]]:
    await node.look()
    ready = node.applied == node.workers
    body = {"status": "ready" if ready else "starting", "workers": {"applied": node.applied, "total": node.workers}}
    return Response(body, status_code=200 if ready else 503)


def make_app(node: Node, tokens: Tokens) -> Litestar:
    guarded = (
        read_holder, read_table, put_table, read_domains, read_domain, patch_domain, read_status, read_figures,
        read_mismatches, read_shadow, read_audit, read_tail,
    )  # fmt: skip
    return Litestar(
        [Router("/", route_handlers=guarded, guards=[needs_token(tokens)]), read_metrics, livez, readyz],
        dependencies={"node": Provide(lambda: node, sync_to_thread=False)},
        exception_handlers={
            VersionConflict: _conflict,
            TableRefused: _refused,
            GatewayError: _failed,
            HTTPException: _http,
            OSError: _failed,
        },
        openapi_config=None,
        request_max_body_size=4 * 1024 * 1024,
    )
