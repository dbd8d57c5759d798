"""One request and its response: joins the two sides and carries out what routing and policies decide.

An exchange goes through `decide → (hold) → connect → send → relay → finish`; a failed attempt or a 421 leads back to
`decide` as long as nothing of a response has gone to the client. `over` is the end: after it every callback is ignored.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.http1.chunked import LAST_CHUNK, encode_chunk
from gateway.http1.forward import client_head, upstream_head, usable_request_id
from gateway.http1.head import IDEMPOTENT, Malformed, Request, Response, all_values
from gateway.http1.problem import problem
from gateway.http1.upstream import UpstreamConnection
from gateway.policies.breaker import Breaker
from gateway.policies.retry import Attempt, Cause, Step, next_step
from gateway.routing.decision import Decision, Slot, decide
from gateway.shadow.fetch import MOST_BODY

if TYPE_CHECKING:
    from gateway.core import Gateway
    from gateway.http1.downstream import Downstream

MOST_REROUTES = 2
SYNC_SECONDS = 0.05  # between two looks whether legacy has the client's last write
RETRY_AFTER = b"Retry-After: 1\r\n"


class Ticket:
    """A place in the queue for a connection. Given back, nobody is called: the exchange may queue elsewhere by then."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Exchange | None = exchange

    @property
    def gone(self) -> bool:
        return self._exchange is None

    def give_back(self) -> None:
        self._exchange = None

    def on_connection(self, connection: UpstreamConnection) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None, "who is gone is not called"
        exchange.on_connection(connection)

    def on_no_connection(self, cause: Cause) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.on_no_connection(cause)


class Exchange:
    # Defaults live in the class: most exchanges never change them, and making one is on the fast path.
    connection: UpstreamConnection | None = None
    ticket: Ticket | None = None  # waits for a connection
    body_size = 0
    head = b""  # what goes to the upstream, made at the first attempt
    status = 0  # of the response that went to the client; 0: nothing has
    chunked_out = False
    capture: list[bytes] | None = None  # the response's payload, for the shadow comparison
    captured = 0
    forced: str | None = None  # the side that a 421 named as the owner
    key: str | None = None
    reroutes = 0
    waited = 0  # times in the hold room
    troubled = 0.0  # when it first had to wait, or an attempt failed; 0: never
    held = False
    unheld = False  # sent although its wave has a hold: that one is too old
    cause = Cause.HELD  # why it is in the hold room
    written: float | None = None  # the newest write that a fallback to legacy has to wait for
    fresh = False  # the next attempt must not use a kept-alive connection
    over = False
    gone = False  # the client has left
    tunnel = False
    decision: Decision
    slot: Slot
    breaker: Breaker

    def __init__(self, gateway: Gateway, client: Downstream, request: Request) -> None:
        self.started = perf_counter()
        self.gateway = gateway
        self.client = client
        self.request = request
        self.request_id = usable_request_id(request.given_id) or gateway.new_request_id()
        self.body: list[bytes] | None = []  # what came of the request's payload; None once too big to keep
        self.body_done = not (request.chunked or request.length)
        self.touched = gateway.now
        self.router = router = gateway.router
        self.route, self.values = router.match(request.method, request.path)
        is_read = self.route.is_read
        self.read = request.method in (b"GET", b"HEAD", b"OPTIONS") if is_read is None else is_read
        self._choose()

    # decide

    def _choose(self) -> None:
        """Fill in slot and decision by the table of now."""
        gateway, route = self.gateway, self.route
        if route.uniform is not None and not route.pinnable:
            slot = route.uniform
        else:
            self.key = route.key_of(self.request, self.values)
            slot = route.slot_for(self.key)
        self.slot = slot
        if self.forced is not None:
            self.decision = slot.rerouted[self.forced]
        elif self.read:
            pinned = slot.pinned is not slot.read and gateway.is_pinned(self)
            usable = slot.read.side == "legacy" or gateway.usable(route.domain, slot.read.upstream)
            self.decision = decide(slot, is_read=True, pinned=pinned, service_usable=usable)
        else:
            self.decision = slot.write

    def start(self) -> None:
        gateway = self.gateway
        gateway.active.add(self)
        gateway.budget.deposit()
        self._go()

    def _again(self) -> None:
        """Decide anew, by the newest table."""
        if self.over:
            return
        router = self.gateway.router
        if router is not self.router:
            self.router = router
            self.forced = None
            self.route, self.values = router.match(self.request.method, self.request.path)
        self._choose()
        self._go()

    def _go(self) -> None:
        if self.read:
            if self.decision is self.slot.detour and self._is_ahead_of_legacy:
                self._await_sync()
            else:
                self._attempt()
        elif self.slot.write.hold and (left := self._hold_left()) > 0:
            self._hold(left)
        elif self.request.special and self._is_rehearsal_at_legacy:
            self._give_up(Cause.REHEARSAL)
        else:
            self._attempt()

    @property
    def _is_rehearsal_at_legacy(self) -> bool:
        """The monolith does not know the header, and would keep what was only to be tried."""
        request = self.request
        return self.decision.side == "legacy" and b"1" in all_values(request.head, request.low, b"banyan-dry-run")

    # hold

    def _hold_left(self) -> float:
        """Seconds for which the table's hold is still honoured; after them the guard of the database decides alone."""
        left = self.gateway.holds.left(self.route.domain)
        if left <= 0 and not self.unheld:
            self.unheld = True
            self.gateway.meter.count(self.route.domain, "hold_expired")
        return left

    def _hold(self, ask_after: float) -> None:
        """Wait for a new table, or at most `ask_after` seconds."""
        gateway = self.gateway
        self.cause = Cause.HELD
        if not self.held:
            self.held = True
            gateway.meter.count(self.route.domain, "held")
        if not gateway.room.enter(self, self._deadline(), self._size(), ask_after):
            self.refuse()

    @property
    def _is_ahead_of_legacy(self) -> bool:
        """This client wrote at the service a moment ago, and the way back has not brought it to legacy yet.

        Only writes of before this read first asked count: later ones must not make it wait for ever.
        """
        if self.slot.owner != "service":
            return False
        if self.written is None:
            self.written = self.gateway.last_write(self)
        return self.gateway.board.is_ahead(self.route.domain, "service", self.written)

    def _await_sync(self) -> None:
        """Rather a little later than a read that does not see the client's own write."""
        self.cause = Cause.BEHIND
        if not self.gateway.room.enter(self, self._deadline(), self._size(), SYNC_SECONDS):
            self._give_up(Cause.BEHIND)

    def _size(self) -> int:
        """Bytes that this request may come to occupy while it waits."""
        request = self.request
        coming = self.body_size if self.body_done else max(self.body_size, self.gateway.replay_bytes)
        return len(request.head) + (min(coming, request.length) if request.length else coming)

    def _deadline(self) -> float:
        """Until when it may wait. Patience begins where the trouble does: a write that worked for seconds before its
        wave moved has as much of it as a new one.
        """
        if not self.troubled:
            self.troubled = perf_counter()
        gateway = self.gateway
        return min(self.troubled + gateway.patience, self.started + gateway.settings.total_timeout)

    def release(self) -> None:
        self._again()

    def refuse(self) -> None:
        """The time in the hold room is up, or there was no place."""
        if self.cause is Cause.HELD:
            self.gateway.meter.count(self.route.domain, "held_refused")
        self._give_up(self.cause)

    # attempt

    def _attempt(self) -> None:
        gateway, decision = self.gateway, self.decision
        breaker = self.breaker = gateway.breaker(decision.domain, decision.side)
        # An open breaker turns away what another side can answer. The rest has nowhere to go, and is tried.
        if not (breaker.closed or breaker.admit()) and self._has_fallback:
            self._failed(Cause.OPEN)
            return
        self.touched = gateway.now
        if not self.head:
            self.head = upstream_head(
                self.request, self.client.lines, self.request_id, gateway.authority(decision.upstream)
            )
        endpoint = gateway.pools[decision.upstream].pick()
        connection = None if self.fresh else endpoint.take(repeatable=self.read or self.idempotent)
        if connection is None:
            self.ticket = Ticket(self)
            endpoint.wait(self.ticket)
        else:
            self.on_connection(connection)

    @property
    def _has_fallback(self) -> bool:
        return self.read and self.decision.side == "service" and self.slot.fallback is not None

    @property
    def idempotent(self) -> bool:
        request, declared = self.request, self.route.idempotent
        if request.method in IDEMPOTENT or declared is True:
            return True
        # A server that does not know the header would do the work twice: the plan names those that do.
        return declared == "key" and bool(request.header(b"idempotency-key"))

    def on_connection(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self.ticket = None
        self.touched = self.gateway.now
        if self.body_size:
            assert self.body is not None, "nothing was sent yet, so everything was kept"
            payload = b"".join(self.body)
            data = self.head + (encode_chunk(payload) if self.request.chunked else payload)
            if self.body_size > self.gateway.replay_bytes:
                self.body = None
        else:
            data = self.head
        if self.body_done and self.request.chunked:
            data += LAST_CHUNK
        connection.send(self, self.request.method, data, more=not self.body_done)
        if not self.body_done:
            self.client.resume()

    def on_no_connection(self, cause: Cause) -> None:
        self.ticket = None
        self._failed(cause)

    # the request's body, from the client

    def on_request_body(self, data: bytes) -> None:
        if self.over:
            return
        if self.tunnel:
            assert self.connection is not None
            self.touched = self.gateway.now
            self.connection.write(data)
            return
        self.body_size += len(data)
        if self.body_size > self.gateway.max_body:
            self._drop_connection()
            self.client.fail(Malformed(413, f"the body is longer than {self.gateway.max_body} bytes"))
            return
        if self.body is not None:
            self.body.append(data)
        if self.connection is not None:
            self.connection.write(encode_chunk(data) if self.request.chunked else data)
            if self.body_size > self.gateway.replay_bytes:
                self.body = None
        elif self.body_size > self.gateway.replay_bytes:
            self.client.pause()

    def on_request_end(self) -> None:
        self.body_done = True
        if self.connection is not None:
            self.connection.write_end(LAST_CHUNK if self.request.chunked else b"")

    def on_upstream_full(self, full: bool) -> None:
        if full:
            self.client.pause()
        else:
            self.client.resume()

    # the response, from the upstream

    def on_response(self, response: Response, body: bytes, done: bool) -> None:
        self.touched = self.gateway.now
        status = response.status
        if done:
            self.connection = None
        if status >= 500 and self._has_fallback:
            # Only calls that another side can answer are judged by their 5xx: the error of one page of the monolith
            # must not close the monolith.
            self.breaker.failure()
            self._drop_connection()
            self._fall_back()
            return
        self.breaker.success()
        if status == 421 and self._misdirected(response):
            return
        self._relay(response, body, done)

    def _relay(self, response: Response, body: bytes, done: bool) -> None:
        client, request = self.client, self.request
        self.status = response.status
        extra = self.decision.banner + b"X-Request-Id: " + self.request_id + b"\r\n"
        if response.length is None and not response.bodiless:
            if request.v11:
                self.chunked_out = True
                extra += b"Transfer-Encoding: chunked\r\n"
            else:
                client.keep_alive = False
        if not (client.keep_alive and self.body_done) or self.gateway.draining:
            client.keep_alive = False
            extra += b"Connection: close\r\n"
        if (
            self.decision.shadow is not None
            and request.method == b"GET"
            and self.gateway.shadow.wants(self.route.domain)
        ):
            self.capture = []
        data = client_head(response, extra)
        if body:
            if self.capture is not None:
                self._keep(body)
            data += encode_chunk(body) if self.chunked_out else body
        client.write(data)
        if done:
            self._finish()

    def on_body(self, data: bytes) -> None:
        self.touched = self.gateway.now
        if self.capture is not None:
            self._keep(data)
        self.client.write(encode_chunk(data) if self.chunked_out else data)

    def _keep(self, data: bytes) -> None:
        """For the comparison with the other side; what is too long is not compared."""
        assert self.capture is not None
        self.capture.append(data)
        self.captured += len(data)
        if self.captured > MOST_BODY:
            self.capture = None
            self.gateway.meter.count(self.route.domain, "shadow_dropped")

    def on_end(self) -> None:
        self.connection = None
        if self.chunked_out:
            self.client.write(LAST_CHUNK)
        self._finish()

    def on_lost(self, cause: Cause) -> None:
        self.connection = None
        if self.over:
            return
        if self.status:
            self._truncate()
        else:
            self._failed(cause)

    def on_switched(self, response: Response, rest: bytes) -> None:
        """101 Switching Protocols: from here on bytes are bytes."""
        if not self.request.upgrade:
            self._drop_connection()
            self._failed(Cause.BROKEN)
            return
        self.status = 101
        self.tunnel = True
        upgrade = response.header(b"upgrade") or b""
        extra = self.decision.banner + b"Connection: upgrade\r\nUpgrade: " + upgrade + b"\r\n"
        self.client.keep_alive = False
        self.client.open_tunnel(client_head(response, extra) + rest)

    # what to do when it did not go well

    def _misdirected(self, response: Response) -> bool:
        """RFC 9110 §15.5.20, by the guard: nothing was done, and the header says who would do it. False: pass it on."""
        owner = (response.header(b"banyan-owner") or b"").decode("latin-1")
        if self.route.is_read is None or (owner != "moving" and owner not in self.slot.rerouted):
            return False
        self._drop_connection()
        if self.body is None:  # streamed and not kept: the client has to send it again
            self._give_up(Cause.HELD)
            return True
        if owner != "moving":
            self.forced = owner
        if owner not in ("moving", self.decision.side) and self.reroutes < MOST_REROUTES:
            self.reroutes += 1
            self.gateway.meter.count(self.route.domain, "rerouted")
            self._again()
        else:
            self.waited += 1
            self._hold(min(0.02 * self.waited, 0.1))
        return True

    def timed_out(self) -> None:
        """Nothing was heard of the upstream for too long."""
        self._drop_connection()
        self.gateway.room.leave(self)
        if self.tunnel or self.status:
            self._truncate()
        else:
            self._failed(Cause.TIMEOUT)

    def _failed(self, cause: Cause) -> None:
        gateway = self.gateway
        if cause not in (Cause.OPEN, Cause.STALE, Cause.OVERFLOW):
            self.breaker.failure()
        attempt = Attempt(
            cause=cause,
            is_read=self.read,
            idempotent=self.idempotent,
            replayable=self.body is not None,
            has_fallback=self._has_fallback,
            time_left=perf_counter() < self._deadline(),
            fresh_tried=self.fresh,
        )
        step = next_step(attempt)
        if step is Step.WAIT and not cause.unsent and not gateway.budget.take():
            step = Step.REFUSE
        if step is Step.FALLBACK:
            self._fall_back()
        elif step is Step.AGAIN:
            self.fresh = True
            gateway.meter.count(self.route.domain, "retried")
            self._attempt()
        elif step is Step.WAIT:
            self.waited += 1
            self.cause = cause
            gateway.meter.count(self.route.domain, "retried")
            if not gateway.room.enter(self, self._deadline(), self._size(), min(0.02 * self.waited, 0.1)):
                self._give_up(cause)
        else:
            self._give_up(cause)

    def _fall_back(self) -> None:
        assert self.slot.fallback is not None
        if self._is_ahead_of_legacy:
            self._await_sync()
            return
        self.decision = self.slot.fallback
        self._attempt()

    def _give_up(self, cause: Cause) -> None:
        client = self.client
        self.status = cause.status
        if not self.body_done:
            client.keep_alive = False
        extra = self.decision.banner + b"X-Request-Id: " + self.request_id + b"\r\n"
        if cause.status == 503:
            extra += RETRY_AFTER
        bodiless = self.request.method == b"HEAD"
        client.write(problem(cause.status, cause.detail, extra=extra, close=not client.keep_alive, bodiless=bodiless))
        self._finish()

    def _truncate(self) -> None:
        """The client has got a part: the only honest sign left is to break the connection."""
        self.client.abort()
        self._finish()

    def _drop_connection(self) -> None:
        if self.ticket is not None:
            self.ticket.give_back()
            self.ticket = None
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()

    # the end

    def cancel(self) -> None:
        """The client has left."""
        if self.over:
            return
        self.gone = True
        if self.tunnel and self.connection is not None:
            self.connection.transport.close()
        else:
            self._drop_connection()
        self.gateway.room.leave(self)
        if self.head:  # an attempt was made
            self.breaker.abandoned()
        self._finish()

    def _finish(self) -> None:
        self.over = True
        gateway, decision, route = self.gateway, self.decision, self.route
        gateway.active.discard(self)
        seconds = perf_counter() - self.started
        status = self.status
        gateway.meter.cell(route.domain, decision.side, route.id).observe(status, seconds)
        if decision is self.slot.fallback or decision is self.slot.detour:
            gateway.meter.count(route.domain, "fallback")  # after a failure, or at once because the breaker was open
        if gateway.log is not None:
            request = self.request
            gateway.log.add(
                request.method,
                request.path,
                status,
                seconds,
                route.domain,
                decision.side,
                decision.reason,
                self.request_id,
            )
        if not self.read and 200 <= status < 400:
            gateway.pin(self)
        if self.capture is not None:
            gateway.compare(self)
        if not self.gone:
            self.client.exchange_done()
