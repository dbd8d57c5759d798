"""What an exchange does when an attempt did not go well, as long as nothing of an answer has gone to the client.

`policies.retry` decides, this carries it out: legacy instead, once more, a moment later, or an answer of our own.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.http1.head import Response
from gateway.http1.problem import problem
from gateway.policies.retry import MOST_ELSEWHERE, Attempt, Cause, Step, next_step
from gateway.telemetry.trace import note

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange
    from gateway.routing.decision import Side

MOST_REROUTES = 2
RETRY_AFTER = b"Retry-After: 1\r\n"


def recover(exchange: Exchange, cause: Cause) -> None:
    """An attempt has failed; its call is gone."""
    gateway = exchange.gateway
    if exchange.trace is not None:
        exchange.trace.failed(exchange, cause)
    if not cause.unsent:
        exchange.doubtful = cause
    failed = Attempt(
        cause=cause,
        is_read=exchange.read,
        idempotent=exchange.idempotent,
        replayable=exchange.body.kept is not None,
        has_fallback=exchange.has_fallback,
        time_left=perf_counter() < exchange.patience.deadline(),
        fresh_tried=exchange.fresh,
        others=exchange.avoid is not None,
        elsewhere=exchange.elsewhere,
    )
    step = next_step(failed)
    if step in (Step.WAIT, Step.ELSEWHERE) and not cause.unsent and not _may_retry(exchange):
        step = Step.FALLBACK if exchange.has_fallback else Step.REFUSE
    if step is Step.FALLBACK:
        fall_back(exchange)
    elif step is Step.AGAIN:
        exchange.fresh = True
        gateway.meter.count(exchange.route.domain, "retried")
        _try_again(exchange)
    elif step is Step.ELSEWHERE:
        exchange.elsewhere += 1
        gateway.meter.count(exchange.route.domain, "retried")
        _try_again(exchange)
    elif step is Step.WAIT:
        gateway.meter.count(exchange.route.domain, "retried")
        exchange.patience.wait_before_retry(cause)
    else:
        give_up(exchange, cause)


def _try_again(exchange: Exchange) -> None:
    """Where it was, unless there is a newer table: that one may have another owner, or not know the upstream at all."""
    if exchange.router is exchange.gateway.router:
        exchange.attempt()
    else:
        exchange.again()


def _may_retry(exchange: Exchange) -> bool:
    decision = exchange.decision
    return exchange.gateway.breaker(decision.domain, decision.side, exchange.read).may_retry()


def turned_away(exchange: Exchange, response: Response) -> bool:
    """A 502, 503 or 504 that nobody else can answer: may the request be tried once more? The answer is then dropped.

    A server that says Retry-After means the client, and gets no second try from us.
    """
    repeatable = exchange.idempotent and exchange.body.kept is not None and exchange.body.done
    if not repeatable or exchange.elsewhere or response.header(b"retry-after") is not None:
        return False
    if not _may_retry(exchange):
        return False
    exchange.drop_call()
    exchange.doubtful = Cause.ERROR
    exchange.elsewhere = MOST_ELSEWHERE
    exchange.gateway.meter.count(exchange.route.domain, "retried")
    _try_again(exchange)
    return True


def fall_back(exchange: Exchange) -> None:
    """Let legacy answer this read."""
    fallback = exchange.slot.fallback
    assert fallback is not None
    # Who was sent to the owner behind a hold must not see less at legacy.
    behind = fallback.behind or exchange.decision is exchange.slot.rerouted.get("service")
    if behind and exchange.patience.is_ahead_of(fallback.side):
        exchange.patience.await_sync()
        return
    note(exchange, "fallback")
    exchange.decision = fallback
    exchange.avoid = None
    exchange.attempt()


def misdirected(exchange: Exchange, response: Response) -> bool:
    """RFC 9110 §15.5.20, by the guard: nothing was done, and the header says who would do it. False: pass it on."""
    owner = (response.header(b"banyan-owner") or b"").decode("latin-1")
    if exchange.route.is_read is None or (owner != "moving" and owner not in exchange.slot.rerouted):
        return False
    exchange.drop_call()
    if exchange.trace is not None:
        exchange.trace.answered(421)
        exchange.trace.end_attempt(exchange)
    if exchange.body.kept is None:  # streamed and not kept: the client has to send it again
        give_up(exchange, Cause.HELD)
        return True
    if owner in ("legacy", "service"):
        exchange.forced = owner
        _learn(exchange, response, "service" if owner == "service" else "legacy")
    if owner not in ("moving", exchange.decision.side) and exchange.reroutes < MOST_REROUTES:
        exchange.reroutes += 1
        note(exchange, "rerouted")
        exchange.gateway.meter.count(exchange.route.domain, "rerouted")
        exchange.again()
    else:
        exchange.patience.hold_before_retry()
    return True


def _learn(exchange: Exchange, response: Response, owner: Side) -> None:
    """Before the write is sent on: see policies/owners.py. A guard of another domain's table says nothing of ours."""
    slot, domain = exchange.slot, exchange.route.domain
    wave = (response.header(b"banyan-wave") or b"").decode("latin-1")
    epoch = response.header(b"banyan-epoch") or b""
    if slot.wave is not None and wave == f"{domain}/{slot.wave}" and epoch.isdigit() and len(epoch) < 19:
        exchange.gateway.owners.learn(domain, slot.wave, owner, int(epoch))


def give_up(exchange: Exchange, cause: Cause) -> None:
    """Nobody will answer: we do. A write that may have been carried out is not said to be undone because its next try
    was turned away.
    """
    if cause.denies and exchange.doubtful is not None and not exchange.read:
        cause = exchange.doubtful
    client, status = exchange.client, cause.status
    exchange.status = status
    exchange.trouble = cause
    if not exchange.body.done:
        client.keep_alive = False
    extra = exchange.decision.banner + b"X-Request-Id: " + exchange.request_id + b"\r\n"
    if status == 503:
        extra += RETRY_AFTER
    bodiless = exchange.request.method == b"HEAD"
    data = problem(status, cause.detail, extra=extra, close=not client.keep_alive, bodiless=bodiless)
    exchange.sent = len(data)
    client.write(data)
    exchange.finish()
