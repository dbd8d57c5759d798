"""One attempt at one side: gets a connection, sends the request, judges the answer and hands it on to the client.

A call goes through `wait → send → answer → end`. It ends with `exchange.finish` or, while nothing of the answer has
gone to the client, with the recovery. A call that is dropped hears nothing more: its exchange may be in another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.facade.links import Gathering, is_rewritten, rewritten
from gateway.http1.body import NO_BODY
from gateway.http1.endpoint import Endpoint
from gateway.http1.head import Response
from gateway.http1.recovery import misdirected, recover, turned_away
from gateway.http1.relay import Relay, begin, inform, open_tunnel
from gateway.http1.upstream import UpstreamConnection
from gateway.http1.withhold import Withheld, withhold
from gateway.policies.breaker import Breaker
from gateway.policies.retry import Cause

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange


GATEWAY_ERRORS = (502, 503, 504)


class Call:
    """Waits for a connection, then is the sink of what comes over it."""

    __slots__ = ("_exchange", "_relay", "breaker", "connection", "endpoint", "gone")
    _relay: Relay | Withheld | Gathering  # once the answer has begun

    def __init__(self, exchange: Exchange, breaker: Breaker, endpoint: Endpoint) -> None:
        self._exchange = exchange
        self.breaker = breaker
        self.connection: UpstreamConnection | None = None
        self.endpoint = endpoint
        self.gone = False  # dropped

    # waits for a connection

    def on_connection(self, connection: UpstreamConnection) -> None:
        exchange = self._exchange
        self.connection = connection
        exchange.touched = exchange.gateway.now
        body = exchange.body
        data = exchange.head if body is NO_BODY else body.after(exchange.head)
        connection.send(self, exchange.request.method, data, more=not body.done)
        if not body.done:
            exchange.client.resume()

    def on_no_connection(self, cause: Cause) -> None:
        if not self.gone:
            self._failed(cause)

    # the request's body

    def send_more(self, data: bytes) -> None:
        if self.connection is not None:
            self.connection.write(self._exchange.body.more(data))

    def send_end(self) -> None:
        if self.connection is not None:
            self.connection.write_end(self._exchange.body.end)

    def send_raw(self, data: bytes) -> None:
        """Through a tunnel."""
        if self.connection is not None:
            self.connection.write(data)

    def send_eof(self) -> bool:
        """Pass on the end of the client's half of a tunnel. False: this transport (TLS) has no halves."""
        if self.connection is None or not self.connection.transport.can_write_eof():
            return False
        self.connection.transport.write_eof()
        return True

    def on_upstream_full(self, full: bool) -> None:
        self._exchange.touched = self._exchange.gateway.now
        if full:
            self._exchange.client.pause()
        else:
            self._exchange.client.resume()

    # the answer

    def on_response(self, response: Response, body: bytes, done: bool) -> None:
        exchange = self._exchange
        exchange.touched = exchange.gateway.now
        status = response.status
        if done:
            self.connection = None
        if exchange.stay is not None:
            exchange.stay.answered(exchange.route.id)
        if status >= 500 and self._is_bad(response):
            return
        breaker = self.breaker
        if done and breaker.calm:  # nearly always
            breaker.calls += 1
        elif done or not breaker.closed:  # of a long answer the end counts, but a probe cannot wait for it
            breaker.success(exchange)
        if self.endpoint.judge is not None and status not in GATEWAY_ERRORS:
            self.endpoint.judge.succeeded()
        if status == 421 and misdirected(exchange, response):
            return
        if exchange.gateway.front.link_types and is_rewritten(exchange, response):
            if done:
                response, body = rewritten(exchange, response, body)
            else:
                self._relay = gathering = Gathering(exchange, self, response)
                gathering.write(body)
                return
        self.pass_on(response, body, done)

    def pass_on(self, response: Response, body: bytes, done: bool) -> None:
        """To the client, as soon as it may know of it."""
        exchange = self._exchange
        if not exchange.read and (withheld := withhold(exchange, self, response, body, done)) is not None:
            self._relay = withheld
            withheld.start()
            return
        chunked = begin(exchange, response, body)
        if done:
            exchange.finish()
        else:
            self._relay = Relay(exchange, chunked)

    def _is_bad(self, response: Response) -> bool:
        """A 5xx that is not passed on."""
        exchange, judge = self._exchange, self.endpoint.judge
        if exchange.trace is not None:
            exchange.trace.answered(response.status)
        gateway_error = response.status in GATEWAY_ERRORS
        if gateway_error and judge is not None:
            judge.failed()
            exchange.avoid = self.endpoint
        # Only calls that another side can answer are judged by their 5xx: the error of one page of the monolith
        # must not close the monolith.
        if exchange.has_fallback:
            self.breaker.failure(exchange)
            exchange.drop_call()
            recover(exchange, Cause.ERROR)
            return True
        return gateway_error and turned_away(exchange, response)

    def go_on(self, relay: Relay) -> None:
        """The answer is no longer withheld."""
        self._relay = relay
        self._exchange.touched = self._exchange.gateway.now
        if self.connection is not None:
            self.connection.transport.resume_reading()

    def on_informational(self, response: Response) -> None:
        self._exchange.touched = self._exchange.gateway.now
        inform(self._exchange, response)

    def on_switched(self, response: Response, rest: bytes) -> None:
        """101 Switching Protocols: from here on bytes are bytes."""
        exchange = self._exchange
        if exchange.request.upgrade:
            if not self.breaker.closed:
                self.breaker.success(exchange)
            exchange.step_out()  # it may stay for hours, and is no longer a request that the side works on
            self._relay = Relay(exchange, chunked=False)
            open_tunnel(exchange, response, rest)
        else:
            exchange.drop_call()
            self._failed(Cause.BROKEN)

    def on_body(self, data: bytes) -> None:
        exchange = self._exchange
        if not exchange.over:
            exchange.touched = exchange.gateway.now
            self._relay.write(data)

    def on_client_full(self, full: bool) -> None:
        if self.connection is None:
            return
        if full:
            self.connection.transport.pause_reading()
        else:
            self._exchange.touched = self._exchange.gateway.now
            self.connection.transport.resume_reading()

    def on_end(self, trailers: Sequence[bytes] = ()) -> None:
        self.connection = None
        if not self._exchange.over:
            self.breaker.success(self._exchange)
            if self._relay.end(trailers):
                self._exchange.finish()

    def on_lost(self, cause: Cause) -> None:
        exchange = self._exchange
        self.connection = None
        if exchange.over:
            return
        if exchange.status:
            self.fail(cause)
            exchange.truncate(cause)
        else:
            self._failed(cause)

    # the end

    def _failed(self, cause: Cause) -> None:
        exchange = self._exchange
        exchange.call = None
        exchange.step_out()
        self.fail(cause)
        recover(exchange, cause)

    def fail(self, cause: Cause) -> None:
        """Hold it against the side, and against this server of it."""
        if cause.blames:
            self.breaker.failure(self._exchange, costly=cause in (Cause.TIMEOUT, Cause.SLOW))
            self._blame(cause)
        else:
            self.breaker.abandoned(self._exchange)

    def _blame(self, cause: Cause) -> None:
        exchange, judge = self._exchange, self.endpoint.judge
        if judge is not None and cause.blames:
            judge.failed()
            exchange.avoid = self.endpoint

    def drop(self) -> None:
        """The answer is no longer wanted, and neither is a connection."""
        self.gone = True
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()

    def hang_up(self) -> None:
        """The other end of a tunnel has left; what it said last still goes out."""
        if self.connection is not None:
            gateway, transport = self._exchange.gateway, self.connection.transport
            transport.close()
            if transport.get_write_buffer_size():  # it may not read any more
                gateway.loop.call_later(gateway.settings.write_timeout, transport.abort)
