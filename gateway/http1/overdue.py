"""Whose turn it is in an exchange, and whether that one has had its time.

| phase | who is waited for | limit |
|---|---|---|
| in a bulkhead's queue, or for a connection | room at the side | GATEWAY_QUEUE_TIMEOUT, at most the answer's |
| the request's body is coming | the client | GATEWAY_SLOW_TIMEOUT (`downstream`) |
| the server does not take the body | the server | as for its answer |
| the answer's head, then between its bytes | the server | the operation's `timeout`, or GATEWAY_READ_TIMEOUT |
| the head of one try that may be repeated while it goes on | the server | the operation's `try_timeout`, if any |
| the head, from the request's last byte, over all tries | the server | GATEWAY_TOTAL_TIMEOUT, or `timeout` if longer |
| the client does not read | the client | GATEWAY_WRITE_TIMEOUT without progress |
| a tunnel | either | `tunnel_timeout` without a byte |
| a tunnel whose client sends no more | the server | GATEWAY_READ_TIMEOUT without a byte |

Only what the server is late with is held against it.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.policies.retry import Cause

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange


def overdue(exchange: Exchange, now: float) -> Cause | None:
    """What to end this exchange's attempt for; None: nothing is late. Called ten times a second."""
    settings, call, quiet = exchange.gateway.settings, exchange.call, now - exchange.touched
    if exchange.tunnel:
        limit = settings.read_timeout if exchange.half_closed else settings.tunnel_timeout
        return Cause.TIMEOUT if quiet > limit else None
    timeout = exchange.route.timeout or settings.read_timeout
    if exchange.queue is not None:
        return Cause.FULL if quiet > min(settings.queue_timeout, timeout) else None
    if call is not None and call.connection is None:
        return Cause.OVERFLOW if quiet > min(settings.queue_timeout, timeout) else None
    if exchange.status:
        if exchange.client.is_full:
            return Cause.UNREAD if quiet > settings.write_timeout else None
        its_turn = exchange.body.done or exchange.client.is_paused
        return Cause.TIMEOUT if call is not None and its_turn and quiet > timeout else None
    if not exchange.body.done:
        return Cause.TIMEOUT if call is not None and exchange.client.is_paused and quiet > timeout else None
    if perf_counter() - (exchange.complete or exchange.started) > max(
        settings.total_timeout, exchange.route.timeout or 0
    ):
        return Cause.TIMEOUT
    if call is None:  # in the hold room, which has its own clock
        return None
    if quiet > timeout:
        return Cause.TIMEOUT
    short = exchange.route.try_timeout
    return Cause.SLOW if short and quiet > short and exchange.has_another_try else None
