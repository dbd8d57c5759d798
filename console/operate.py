"""Logging in, and the operator's verbs over HTTP: a look first, then the step, told live. docs/console.md says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.exceptions import ClientException, HTTPException, NotAuthorizedException, NotFoundException
from litestar.exceptions import PermissionDeniedException as Denied
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Stream

from console import acts, pages
from console.acts import OFFERS, Ask
from console.hub import encode
from console.jobs import JobRunning, Jobs
from console.sessions import COOKIE, LASTS_S, Session, Sessions, is_ours
from gateway.control.client import AdminClient
from gateway.errors import AdminError, AdminUnauthorized
from migration_plan.context import SIDES, Context
from migration_plan.errors import PlanError
from migration_plan.journey import Stand
from migration_plan.plan import Plan

MOST_BODY = 16 * 1024
MOST_REASON = 500
TIMEOUT_S = 3.0
AnyRequest = Request[Any, Any, Any]


class Operator:
    """What the routes need. `plan` None: this console only looks, and `why` says why."""

    def __init__(self, env: Mapping[str, str], admin_url: str) -> None:
        self.env, self.admin_url = env, admin_url
        self.sessions, self.jobs = Sessions(), Jobs()
        self.plan, self.why = _plan(env, admin_url)

    def session(self, request: AnyRequest) -> Session | None:
        return self.sessions.find(request.cookies.get(COOKIE))

    def context(self, session: Session) -> Context:
        """In the name, and with the token, of who is logged in."""
        return Context.from_env({**self.env, "GATEWAY_ADMIN_TOKEN": session.token}, session.name)

    def holder(self, token: str) -> dict[str, str]:
        """Raises: AdminError."""
        admin = AdminClient(self.admin_url, token, timeout=TIMEOUT_S)
        try:
            return admin.whoami()
        finally:
            admin.close()


def _plan(env: Mapping[str, str], admin_url: str) -> tuple[Plan | None, str]:
    """The plan, if this process has what the verbs need."""
    if not admin_url or not env.get("BANYAN_LEDGER_DSN"):
        return None, "it was not told where gateway and ledger are"
    try:
        plan = Context.from_env(env, "console").plan
    except (PlanError, OSError) as error:
        return None, f"its plan cannot be read: {error}"
    needed = {plan.database_of(domain, side).control for domain in plan.domains for side in SIDES}
    missing = sorted(name for name in needed if not env.get(name))
    return (None, f"{', '.join(missing)} not set") if missing else (plan, "")


def handlers(operator: Operator) -> list[HTTPRouteHandler]:
    @get("/login", media_type="text/html")
    async def login_page() -> str:
        return pages.login(why=operator.why)

    @post("/login", media_type="text/html", request_max_body_size=MOST_BODY, status_code=200)
    async def login(request: AnyRequest) -> Response[Any]:
        _require_same_origin(request)
        if operator.plan is None:
            raise Denied(f"this console only looks: {operator.why}")
        if not operator.sessions.may_try():
            raise HTTPException("too many logins have failed: try again in a minute", status_code=429)
        token = str((await request.form()).get("token", "")).strip()
        try:
            found = await asyncio.to_thread(operator.holder, token)
        except AdminUnauthorized:
            operator.sessions.failed()
            return Response(pages.login(problem="the gateway does not know this token"), status_code=401)
        except AdminError as error:
            return Response(pages.login(problem=str(error)), status_code=503)
        _, value = operator.sessions.open(found["name"], found["role"], token)
        cookie = Cookie(
            COOKIE, value=value, path="/", max_age=LASTS_S, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return Redirect("/", status_code=303, cookies=[cookie])

    @post("/logout", request_max_body_size=MOST_BODY, status_code=200)
    async def logout(request: AnyRequest) -> Redirect:
        session, _ = await _come_in(operator, request)
        operator.sessions.close(session)
        return Redirect("/", status_code=303, cookies=[Cookie(COOKIE, value="", path="/", max_age=0)])

    @post("/verbs/{domain:str}/{verb:str}/look", media_type="text/html", request_max_body_size=MOST_BODY)
    async def look(domain: str, verb: str, request: AnyRequest) -> Response[str]:
        session, form = await _operate(operator, request)
        ask = _ask(operator, domain, verb, form)
        found = await asyncio.to_thread(_look, operator, session, ask)
        return Response(pages.look(ask, found), status_code=200, media_type="text/html")

    @post("/verbs/{domain:str}/{verb:str}", media_type="text/html", request_max_body_size=MOST_BODY)
    async def take(domain: str, verb: str, request: AnyRequest) -> Response[str]:
        session, form = await _operate(operator, request)
        ask = _ask(operator, domain, verb, form)
        _require_confirmed(ask, form)
        try:
            job = operator.jobs.start(ask, session.name, lambda tell: _act(operator, session, ask, tell))
        except JobRunning as error:
            raise ClientException(str(error), status_code=409) from error
        return Response(pages.job(job), status_code=202, media_type="text/html")

    @get("/jobs/{id_:str}/events")
    async def job_events(id_: str, request: AnyRequest) -> Stream:
        session = operator.session(request)
        if session is None or not session.may_act:
            raise NotAuthorizedException("log in as an operator")
        job = operator.jobs.find(id_)
        if job is None:
            raise NotFoundException("this step is not known (any more): the ledger has it")

        async def messages() -> AsyncIterator[bytes]:
            async for changed in job.watch():
                yield b": nothing new\n\n" if changed is None else encode({"progress": pages.progress(changed)})
            yield encode({"end": "ended"})

        return Stream(messages(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return [login_page, login, logout, look, take, job_events]


def _look(operator: Operator, session: Session, ask: Ask) -> acts.Look:
    with operator.context(session) as context:
        return acts.look(context, ask)


def _act(operator: Operator, session: Session, ask: Ask, tell: Any) -> str:
    with operator.context(session) as context:
        return acts.act(context, ask, tell).message


async def _come_in(operator: Operator, request: AnyRequest) -> tuple[Session, Mapping[str, Any]]:
    """Logged in, and from a page of ours."""
    _require_same_origin(request)
    session = operator.session(request)
    if session is None:
        raise NotAuthorizedException("log in first")
    form = await request.form()
    given = request.headers.get("x-csrf-token") or str(form.get("csrf", ""))
    if not is_ours(session, given):
        raise Denied("the form did not come from this console's page (no valid CSRF token): load it anew")
    return session, form


async def _operate(operator: Operator, request: AnyRequest) -> tuple[Session, Mapping[str, Any]]:
    """An operator by the gateway's word of now: a token that was taken out does nothing more."""
    session, form = await _come_in(operator, request)
    try:
        found = await asyncio.to_thread(operator.holder, session.token)
    except AdminUnauthorized as error:
        operator.sessions.close(session)
        raise NotAuthorizedException("the gateway does not know your token any more: log in again") from error
    except AdminError:
        found = {"role": session.role}  # a gateway that is away must not keep anybody from stepping back
    if found["role"] != "operator":
        raise Denied(f"{session.name} is a viewer: a step needs an operator's token")
    return session, form


def _require_same_origin(request: AnyRequest) -> None:
    """A browser says where a form comes from; what says nothing is no browser."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc != host
    ):
        raise Denied("the request comes from another site")


def _ask(operator: Operator, domain: str, verb: str, form: Mapping[str, Any]) -> Ask:
    plan = operator.plan
    if plan is None or domain not in plan.domains:
        raise NotFoundException(f"no domain {domain!r} in the plan")
    if verb not in OFFERS:
        raise NotFoundException(f"no verb {verb!r}; there are: {', '.join(OFFERS)}")
    waves = len(plan.domain(domain).waves)
    wave = _number(form, "wave", 0, waves - 1) if waves > 1 and verb not in ("freeze", "unfreeze", "complete") else None
    percent = _number(form, "percent", 1, 100) if verb == "canary" else None
    reason = " ".join(str(form.get("reason", "")).split())
    if len(reason) > MOST_REASON:
        raise _unfit(f"the reason is longer than {MOST_REASON} characters")
    stand = str(form.get("stand", ""))
    try:
        _ = stand and Stand.parse(stand)
    except ValueError as error:
        raise _unfit(f"`stand`: {error}") from error
    return Ask(verb, domain, wave, percent, reason, stand)


def _number(form: Mapping[str, Any], name: str, low: int, high: int) -> int:
    given = str(form.get(name, ""))
    if not given.isascii() or not given.isdigit() or len(given) > 4 or not low <= int(given) <= high:
        raise _unfit(f"`{name}` is a number from {low} to {high}")
    return int(given)


def _require_confirmed(ask: Ask, form: Mapping[str, Any]) -> None:
    if not ask.offer.changes:
        raise _unfit(f"{ask.verb} changes nothing: look")
    if not ask.reason:
        raise _unfit("say why: the reason is kept in the ledger (nothing was changed)")
    if ask.offer.grave and str(form.get("name", "")).strip() != ask.domain:
        raise _unfit(f"type the domain's name, {ask.domain}, to {ask.verb} it (nothing was changed)")


def _unfit(detail: str) -> HTTPException:
    return ClientException(detail, status_code=422)
