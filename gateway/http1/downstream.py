"""The client's side of the pair: reads requests one after the other and writes their responses in that order."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from gateway.http1.date import date_line
from gateway.http1.early import refusal_of_part, too_long
from gateway.http1.exchange import Exchange
from gateway.http1.head import MAX_HEAD, METHODS, Malformed, Request, parse_request
from gateway.http1.hops import Hops
from gateway.http1.intake import Intake
from gateway.http1.problem import problem

if TYPE_CHECKING:
    from gateway.core import Gateway

_HEAD, _BODY, _BUSY, _TUNNEL, _LINGER, _CLOSING = range(6)
MOST_PIPELINED = 64 * 1024  # bytes kept of requests that came before the response to the current one
LINGER_SECONDS = 1.0  # without a byte from the client
LONGEST_LINGER = 30.0  # seconds
CONTINUE_SECONDS = 1.0  # an upstream that has not said 100 by then may not know the word: we say it
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST
START_BYTES = 64 * 1024  # of a body that have come when a busy server is asked, if it is longer
MOST_CLIENTS = 10_000  # connections of one worker


class Downstream(asyncio.Protocol):
    __slots__ = (
        "_buffer", "_eof", "_exchange", "_full", "_gateway", "_intake", "_linger_until", "_mode", "_paused",
        "_transport", "_unread", "hops", "keep_alive", "since",
    )  # fmt: skip
    _transport: asyncio.Transport  # these two: since the connection was made
    hops: Hops

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._buffer = b""
        self._eof = False  # the client sends no more
        self._full = False  # the client does not read as fast as we write
        self._exchange: Exchange | None = None
        self._intake: Intake | None = None  # while a body is coming
        self._mode = _HEAD
        self._paused = False
        self._unread = 0  # bytes that the client did not take up to the last look at it
        self._linger_until = 0.0
        self.keep_alive = True
        self.since = gateway.now  # when the present mode began, or the client last made enough progress in it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        scheme = b"http" if transport.get_extra_info("ssl_object") is None else b"https"
        trusted = self._gateway.settings.trusted_hops
        self.hops = Hops(peer[0].encode() if isinstance(peer, tuple) else b"unknown", scheme, trusted)
        self._gateway.clients.add(self)
        if len(self._gateway.clients) > MOST_CLIENTS:
            self.fail(Malformed(503, "too many connections"))

    def connection_lost(self, error: Exception | None) -> None:
        self._gateway.clients.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()

    def eof_received(self) -> bool:
        """A client may close its sending half and still wait for the response, or for the other end of a tunnel."""
        if self._mode == _TUNNEL and self._exchange is not None:
            return self._exchange.on_client_eof()
        if self._mode in (_TUNNEL, _BODY):
            return False
        if not self._transport.can_write_eof():  # TLS has no half-closed connections here
            return False
        self._eof = True
        if self._exchange is None and self._buffer:  # perhaps a whole request, whose turn is about to come
            self._next()
            return not self._transport.is_closing()
        return self._exchange is not None

    def data_received(self, data: bytes) -> None:
        mode = self._mode
        if mode == _HEAD:
            self._on_head(data)
        elif mode == _BODY:
            self._on_payload(data)
        elif mode == _BUSY:
            self._buffer += data
            if len(self._buffer) > MOST_PIPELINED:
                self.pause()
        elif mode == _TUNNEL and self._exchange is not None:
            self._exchange.on_request_body(data)
        elif mode == _LINGER:
            self.since = self._gateway.now

    def _on_head(self, data: bytes) -> None:
        if self._buffer:
            if b"\n" not in data and len(self._buffer) + len(data) <= MAX_HEAD:  # nothing new can be told from it
                self._buffer += data
                return
            data = self._buffer + data
            self._buffer = b""
        elif data[:2] != b"\r\n":  # empty lines are no sign of life
            self.since = self._gateway.now
        while data[:2] == b"\r\n":  # RFC 9112 §2.2: empty lines before a request are forgiven
            data = data[2:]
        end = data.find(b"\r\n\r\n") + 4
        if end == 3:
            self._on_part(data)
            return
        try:
            if end > MAX_HEAD:
                raise too_long(data)
            request = parse_request(data[:end])
            if request.length > self._gateway.max_body:
                raise Malformed(413, f"the body is longer than {self._gateway.max_body} bytes")
        except Malformed as refusal:
            self.fail(refusal)
            return
        self.keep_alive = request.keep_alive and not self._gateway.draining
        exchange = self._exchange = Exchange(self._gateway, self, request)
        rest = data[end:] if len(data) > end else b""
        if request.special and request.max_forwards == 0:
            self._answer_options(request, rest)
            return
        if request.special and request.has_body:
            self._begin_body(request, rest)
            if self._eof and self._mode == _BODY and not self._has_more:  # the rest will never come
                self._transport.close()
            else:
                self._start_when_due(exchange)
            return
        self._mode = _BUSY
        self._buffer = rest
        exchange.start()

    def _answer_options(self, request: Request, rest: bytes) -> None:
        """Max-Forwards says that it ends here (RFC 9110 §7.6.2); a body, if any, is not waited for."""
        self._mode = _BUSY
        self._buffer = rest
        self.keep_alive = self.keep_alive and not request.has_body
        allow = b", ".join(sorted(METHODS))
        close = b"" if self.keep_alive else b"Connection: close\r\n"
        self.write(b"HTTP/1.1 204 No Content\r\n%bAllow: %b\r\n%b\r\n" % (date_line(), allow, close))
        self.exchange_done()

    def _on_part(self, data: bytes) -> None:
        """The head is not complete yet; what can already be refused is refused at once."""
        refusal = refusal_of_part(data)
        if refusal is not None:
            self.fail(refusal)
            return
        self._buffer = data
        if self._eof:
            self._transport.close()

    def _begin_body(self, request: Request, data: bytes) -> None:
        """`data`: what of it came with the head."""
        self.since = self._gateway.now
        self._mode = _BODY
        intake = self._intake = Intake(request.length, request.chunked)
        if data:
            request.expects = False  # it did not wait
            self._on_payload(data)
        else:
            intake.awaited = request.expects

    def _on_payload(self, data: bytes) -> None:
        exchange, intake = self._exchange, self._intake
        if exchange is None or intake is None:
            return
        try:
            payload = intake.feed(data)
        except Malformed as refusal:
            exchange.cancel()
            self.fail(refusal)
            return
        if payload:
            exchange.on_request_body(payload)
        if intake.done and self._exchange is exchange and self._mode == _BODY:
            if trailers := intake.trailers:
                bridge = self._gateway.bridge
                lines = trailers if bridge is None else bridge.trailers(trailers)
                exchange.body.trailers = b"".join([line + b"\r\n" for line in lines])
            self._mode = _BUSY
            self._buffer = intake.rest
            self._intake = None
            exchange.on_request_end()
        elif intake.more:
            self._transport.pause_reading()
            self._gateway.loop.call_soon(self._go_on)
        self._start_when_due(exchange)

    def _go_on(self) -> None:
        """With a body of which more was read than is taken at once; others have had their turn."""
        if self._paused or self._transport.is_closing():
            return
        if self._has_more:
            self._on_payload(b"")
        if self._has_more:
            return
        if self._eof and self._mode == _BODY:
            self._transport.close()  # the rest will never come
        elif not self._paused:
            self._transport.resume_reading()

    @property
    def _has_more(self) -> bool:
        return self._mode == _BODY and self._intake is not None and self._intake.more

    def _start_when_due(self, exchange: Exchange) -> None:
        """Most bodies come with their head: then one write carries both. Bodies that drip may occupy half of the
        connections to a server; the others wait here until all of them has come, or a good part.
        """
        if exchange.begun or exchange.over or self._exchange is not exchange:
            return
        body, gateway = exchange.body, self._gateway
        enough = body.done or body.size >= min(START_BYTES, gateway.replay_bytes)
        if enough or exchange.request.expects or gateway.pools[exchange.decision.upstream].roomy:
            exchange.start()

    # for the exchange

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            if self._exchange is not None and self._intake is not None:
                self._begin_window(self._exchange, self._intake)
            if self._has_more:
                self._gateway.loop.call_soon(self._go_on)
            else:
                self._transport.resume_reading()

    @property
    def is_paused(self) -> bool:
        return self._paused

    @property
    def is_full(self) -> bool:
        return self._full

    def pause_writing(self) -> None:
        self._full = True
        self._unread = self._transport.get_write_buffer_size()
        if self._mode == _HEAD:  # who does not read answers may not ask for more of them
            self.pause()
        if self._exchange is not None:
            self._exchange.on_client_full(True)

    def resume_writing(self) -> None:
        self._full = False
        if self._mode == _HEAD:
            self.since = self._gateway.now
            if self._buffer:
                self._next()
            else:
                self.resume()
        if self._exchange is not None:
            self._exchange.on_client_full(False)

    def open_tunnel(self, data: bytes) -> None:
        self._mode = _TUNNEL
        self.write(data)
        self.resume()  # it may have said more than may wait
        early, self._buffer = self._buffer, b""
        if early and self._exchange is not None:
            self._exchange.on_request_body(early)

    def abort(self, *, reset: bool = False) -> None:
        """`reset`: so that the client cannot take it for an orderly end."""
        self._exchange = None
        if reset and (sock := self._transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def exchange_done(self) -> None:
        """The response is complete."""
        exchange, self._exchange = self._exchange, None
        if self._transport.is_closing():
            return
        if not self.keep_alive:
            self._linger(unread=exchange is not None and not exchange.body.done)
            return
        self._mode = _HEAD
        self.since = self._gateway.now
        if self._full:
            self.pause()
        if self._buffer:
            self._gateway.loop.call_soon(self._next)
        elif self._eof:
            self._close()
        elif not self._full:
            self.resume()

    def _next(self) -> None:
        if self._mode == _HEAD and self._buffer and not self._full and not self._transport.is_closing():
            data, self._buffer = self._buffer, b""
            self.resume()
            self._on_head(data)

    def fail(self, refusal: Malformed) -> None:
        """Answer a request that cannot be understood; what follows it cannot be either, so this connection ends."""
        self._gateway.meter.refuse(refusal.status)
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.over:
            exchange.cancel()
        if exchange is not None and exchange.status:
            self._transport.abort()  # the response has begun: breaking off is the only sign left
            return
        if not self._transport.is_closing():
            self._transport.write(problem(refusal.status, refusal.detail, close=True))
        self._linger(unread=True)

    def _linger(self, *, unread: bool) -> None:
        """Closing with unread bytes makes the kernel send RST, which may take the response from the client again."""
        self.keep_alive = False
        if not unread or not self._transport.can_write_eof():  # the end of TLS reads on by itself
            self._close()
            return
        self._mode = _LINGER
        self.since = self._gateway.now
        self._linger_until = self.since + LONGEST_LINGER
        self._transport.write_eof()
        self.resume()

    def _close(self) -> None:
        """When all that was written has gone out; `check` ends it when the client does not read."""
        self._mode = _CLOSING
        self.since = self._gateway.now
        self._unread = self._transport.get_write_buffer_size()
        self._transport.close()

    # time

    def check(self, now: float, idle: float, slow: float) -> bool:
        """Called a few times a second. True: that was the end of this connection, or of its last request."""
        if self._unread:
            self._look_at_reading(now)
        age, mode = now - self.since, self._mode
        if mode == _HEAD:
            if self._buffer and not self._full:
                if age > slow:
                    self.fail(Malformed(408, "the request's head did not come in time"))
            elif age > idle:
                self._close()
        elif mode == _BODY:
            if self._exchange is not None and self._intake is not None:
                self._check_body(self._exchange, self._intake, age, slow)
        elif mode == _LINGER:
            if age > LINGER_SECONDS or now > self._linger_until:
                self._transport.abort()
                return True
        elif mode == _CLOSING and age > self._gateway.settings.write_timeout:
            self.abort(reset=True)
            return True
        return self._mode != mode

    def _check_body(self, exchange: Exchange, intake: Intake, age: float, slow: float) -> None:
        if intake.awaited and age > CONTINUE_SECONDS:
            intake.awaited = False
            if exchange.request.expects and not exchange.status:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if age > slow and not self._paused:
            if exchange.body.size - intake.window <= self._gateway.settings.slow_rate * age:
                self.fail(Malformed(408, "the request's body did not come in time"))
            else:
                self._begin_window(exchange, intake)

    def _begin_window(self, exchange: Exchange, intake: Intake) -> None:
        self.since = self._gateway.now
        intake.window = exchange.body.size

    def _look_at_reading(self, now: float) -> None:
        """A client that takes anything of what waits for it is alive, however slow."""
        size = self._transport.get_write_buffer_size()
        if size < self._unread:
            if self._mode == _CLOSING:
                self.since = now
            elif self._exchange is not None and self._full:
                self._exchange.touched = now
        self._unread = size
