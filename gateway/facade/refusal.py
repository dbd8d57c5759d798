"""An answer of the gateway's own to a request that goes to no side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.http1.problem import problem

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange


def refuse(exchange: Exchange, status: int, detail: str, extra: bytes = b"") -> None:
    """`extra`: header lines, each with its CRLF. Nothing must have gone to the client yet; the exchange is over."""
    client = exchange.client
    exchange.status = status
    if not exchange.body.done:
        client.keep_alive = False
    extra += exchange.decision.banner + b"X-Request-Id: " + exchange.request_id + b"\r\n"
    bodiless = exchange.request.method == b"HEAD"
    client.write(problem(status, detail, extra=extra, close=not client.keep_alive, bodiless=bodiless))
    exchange.finish()
