"""What an exchange does when an attempt did not go well, as long as nothing of an answer has gone to the client.

`policies.retry` decides, this carries it out: legacy instead, once more, a moment later, or an answer of our own.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.http1.head import Response
from gateway.http1.problem import problem
from gateway.policies.retry import Attempt, Cause, Step, next_step

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange

MOST_REROUTES = 2
RETRY_AFTER = b"Retry-After: 1\r\n"


def recover(exchange: Exchange, cause: Cause) -> None:
    """An attempt has failed; its call is gone."""
    gateway = exchange.gateway
    failed = Attempt(
        cause=cause,
        is_read=exchange.read,
        idempotent=exchange.idempotent,
        replayable=exchange.body.kept is not None,
        has_fallback=exchange.has_fallback,
        time_left=perf_counter() < exchange.patience.deadline(),
        fresh_tried=exchange.fresh,
    )
    step = next_step(failed)
    if step is Step.WAIT and not cause.unsent and not gateway.budget.take():
        step = Step.REFUSE
    if step is Step.FALLBACK:
        fall_back(exchange)
    elif step is Step.AGAIN:
        exchange.fresh = True
        gateway.meter.count(exchange.route.domain, "retried")
        exchange.attempt()
    elif step is Step.WAIT:
        gateway.meter.count(exchange.route.domain, "retried")
        exchange.patience.wait_before_retry(cause)
    else:
        give_up(exchange, cause)


def fall_back(exchange: Exchange) -> None:
    """Let legacy answer this read."""
    assert exchange.slot.fallback is not None
    if exchange.patience.is_ahead_of_legacy():
        exchange.patience.await_sync()
        return
    exchange.decision = exchange.slot.fallback
    exchange.attempt()


def misdirected(exchange: Exchange, response: Response) -> bool:
    """RFC 9110 §15.5.20, by the guard: nothing was done, and the header says who would do it. False: pass it on."""
    owner = (response.header(b"banyan-owner") or b"").decode("latin-1")
    if exchange.route.is_read is None or (owner != "moving" and owner not in exchange.slot.rerouted):
        return False
    exchange.drop_call()
    if exchange.body.kept is None:  # streamed and not kept: the client has to send it again
        give_up(exchange, Cause.HELD)
        return True
    if owner != "moving":
        exchange.forced = owner
    if owner not in ("moving", exchange.decision.side) and exchange.reroutes < MOST_REROUTES:
        exchange.reroutes += 1
        exchange.gateway.meter.count(exchange.route.domain, "rerouted")
        exchange.again()
    else:
        exchange.patience.hold_before_retry()
    return True


def give_up(exchange: Exchange, cause: Cause) -> None:
    """Nobody will answer: we do."""
    client, status = exchange.client, cause.status
    exchange.status = status
    if not exchange.body.done:
        client.keep_alive = False
    extra = exchange.decision.banner + b"X-Request-Id: " + exchange.request_id + b"\r\n"
    if status == 503:
        extra += RETRY_AFTER
    bodiless = exchange.request.method == b"HEAD"
    client.write(problem(status, cause.detail, extra=extra, close=not client.keep_alive, bodiless=bodiless))
    exchange.finish()
