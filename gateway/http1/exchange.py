"""One request and its response: joins the two sides and carries out what routing and policies decide.

An exchange goes through `decide → (wait) → attempt → relay → finish`; what goes wrong before the relay leads back to
`decide`. Each part has its module: `patience` waits, `call` is one attempt, `recovery` says what follows a bad one,
`relay` passes the answer on. `over` is the end: after it every callback is ignored.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.auth.identity import Doubt, Identity
from gateway.http1.body import NO_BODY, Body
from gateway.http1.call import Call
from gateway.http1.forward import upstream_head, usable_request_id
from gateway.http1.head import IDEMPOTENT, Malformed, Request, all_values
from gateway.http1.overriding import overridden
from gateway.http1.patience import Patience
from gateway.http1.recovery import fall_back, give_up, recover
from gateway.http1.withhold import pin_and_tell
from gateway.policies.retry import MOST_ELSEWHERE, Cause
from gateway.routing.decision import Decision, Side, Slot, decide

if TYPE_CHECKING:
    from gateway.core import Gateway
    from gateway.http1.admission import Stay
    from gateway.http1.downstream import Downstream
    from gateway.http1.endpoint import Endpoint
    from gateway.policies.bulkhead import Compartment
    from gateway.shadow.capture import Capture
    from gateway.telemetry.trace import Event, Trace


class Exchange:
    # Defaults live in the class: most exchanges never change them, and making one is on the fast path.
    body = NO_BODY
    call: Call | None = None  # the attempt under way
    head = b""  # what goes to the upstream, made at the first attempt
    complete = 0.0  # when the last of the request's body came; 0: it has none, or not yet
    bare = b""  # the same before it was made fit for one side (auth.bridge)
    notes = b""  # header lines of ours that go out with the answer
    identity: Identity | None = None  # who calls, as far as somebody had to know
    doubt = Doubt.NOBODY  # or why that is not known
    status = 0  # of the response that went to the client; 0: nothing has
    capture: Capture | None = None  # the response, for the shadow comparison
    trouble: Cause | None = None  # why it ended badly
    doubtful: Cause | None = None  # how an attempt ended that may have done its work
    sent = 0  # bytes of the response
    answered = 0.0  # when its head went out; perf_counter, 0: not yet
    attempts = 1
    endpoint: Endpoint | None = None  # the server of the newest attempt
    key: str | None = None  # the partition key, where it decided something
    waited = 0.0  # seconds
    forced: str | None = None  # the side that a 421 named as the owner
    reroutes = 0
    fresh = False  # the next attempt must not use a kept-alive connection
    avoid: Endpoint | None = None  # the server, among several, that failed it last
    elsewhere = 0  # tries on other servers
    queue: Compartment[Exchange] | None = None  # where it waits for a place
    stay: Stay | None = None  # behind a door, while the attempt lasts
    over = False
    gone = False  # the client has left
    tunnel = False
    begun = False  # what goes before it has a limit of its own
    half_closed = False  # the client's half of it
    trace: Trace | None = None  # of a sampled request, since its first attempt
    events: tuple[Event, ...] = ()  # for it
    decision: Decision
    slot: Slot
    _patience: Patience | None = None

    def __init__(self, gateway: Gateway, client: Downstream, request: Request) -> None:
        self.started = perf_counter()
        self.gateway = gateway
        self.client = client
        self.request = request
        self.request_id = (request.given_id and usable_request_id(request.given_id)) or gateway.new_request_id()
        if request.chunked or request.length:
            self.body = Body(request.chunked, gateway.replay_bytes)
        self.touched = gateway.now
        self.router = router = gateway.router
        if gateway.bridge is not None:
            gateway.bridge.read(request)
        self.route, self.values = router.match(request.method, request.path, request)
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
            key = self.key = route.key_of(self.request, self.values)
            slot = route.slot_for(key)
        self.slot = slot
        if self.forced is not None:
            self.decision = slot.rerouted[self.forced]
        elif self.read:
            pinned = slot.pinned is not slot.read and gateway.is_pinned(self)
            usable = slot.read.side == "legacy" or gateway.usable(route.domain, slot.read.upstream)
            self.decision = decide(slot, is_read=True, pinned=pinned, service_usable=usable)
            if self.request.special and gateway.override_key is not None:
                self.decision = overridden(self, gateway.override_key)
        else:
            self.decision = slot.write
            if slot.write.hold and (owner := self._known_owner()) is not None:  # for when the hold has no force
                self.decision = slot.rerouted.get(owner, slot.write)

    def _known_owner(self) -> Side | None:
        """Who is known to own a held wave, whatever its table says; None: not for certain."""
        return self.gateway.owners.newest(self.route.domain, self.slot.wave, self.slot.epoch)

    def start(self) -> None:
        self.begun = True
        gateway = self.gateway
        gateway.active.add(self)
        if self.route.limits is not None and gateway.limiter.refuses(self, self.route.limits):
            return
        self._go()

    def again(self) -> None:
        """Decide anew, by the newest table."""
        if self.over:
            return
        router = self.gateway.router
        if router is not self.router:
            self.router = router
            self.forced = None
            self.route, self.values = router.match(self.request.method, self.request.path, self.request)
        self._choose()
        self._go()

    def _go(self) -> None:
        if self.read:
            if self.decision.behind and self.patience.is_ahead_of(self.decision.side):
                self.patience.await_sync()
            elif self.slot.write.hold and self.patience.wrote_since_the_hold():
                self._read_at_the_owner()
            else:
                self.attempt()
        elif self.slot.write.hold and (left := self.patience.hold_left()) > 0:
            # Who may not write takes no room from those who may.
            bridge = self.gateway.bridge
            if bridge is None or not bridge.waits(self):
                self.patience.hold(left)
        elif self.request.special and self._is_rehearsal_at_legacy:
            give_up(self, Cause.REHEARSAL)
        else:
            self.attempt()

    def _read_at_the_owner(self) -> None:
        """Behind a hold, for a client that has written since: who has its writes for certain, or nobody yet."""
        owner = self._known_owner()
        if owner is None:
            self.patience.await_sync()
            return
        self.decision = self.slot.rerouted[owner]
        self.attempt()

    @property
    def patience(self) -> Patience:
        if self._patience is None:
            self._patience = Patience(self)
        return self._patience

    @property
    def _is_rehearsal_at_legacy(self) -> bool:
        """The monolith does not know the header, and would keep what was only to be tried."""
        request = self.request
        return self.decision.side == "legacy" and b"1" in all_values(request.head, request.low, b"banyan-dry-run")

    # attempt

    def attempt(self) -> None:
        """Send the request where the decision says."""
        gateway, decision, bridge = self.gateway, self.decision, self.gateway.bridge
        if bridge is not None and bridge.waits(self):
            return
        breaker = gateway.breaker(decision.domain, decision.side, self.read)
        # An open breaker turns away what another side can answer. The rest has nowhere to go, and is tried, unless a
        # try means to wait for a time-out.
        if not (breaker.closed or breaker.admit(self)) and (breaker.costly or self.has_fallback):
            recover(self, Cause.OPEN)
            return
        if breaker.door is not None and not breaker.door.enter(self):
            breaker.abandoned(self)
            return
        self.touched = gateway.now
        if not self.head:
            authority = gateway.authority(decision.upstream)
            self.head = upstream_head(self.request, self.client.hops.lines(self.request), self.request_id, authority)
            if gateway.tracer is not None:
                gateway.tracer.begin(self)
        else:
            self.attempts += 1
            if self.trace is not None:
                self.trace.begin_attempt(self)
        if bridge is not None:
            bridge.dress(self)
        endpoint = self.endpoint = gateway.pools[decision.upstream].pick(self.avoid)
        call = self.call = Call(self, breaker, endpoint)
        connection = None if self.fresh else endpoint.take(repeatable=self.read or self.idempotent)
        if connection is None:
            endpoint.wait(call)
        else:
            call.on_connection(connection)

    @property
    def has_fallback(self) -> bool:
        return self.read and self.decision.side == "service" and self.slot.fallback is not None

    @property
    def idempotent(self) -> bool:
        return self.request.method in IDEMPOTENT or self._is_declared_idempotent

    @property
    def _is_declared_idempotent(self) -> bool:
        # A server that does not know the header would do the work twice: the plan names those that do.
        declared = self.route.idempotent
        return declared is True or (declared == "key" and bool(self.request.header(b"idempotency-key")))

    @property
    def has_another_try(self) -> bool:
        """What to do if this try takes too long.

        The server still works on it, and may carry it out after the next try and after the client's next write: a PUT
        or DELETE that nobody declared to bear that would undo what came later.
        """
        if self.body.kept is None:
            return False
        bears_it = self.read or self._is_declared_idempotent
        return self.has_fallback or (bears_it and self.elsewhere < MOST_ELSEWHERE)

    @property
    def has_waited(self) -> bool:
        """In a hold: it was promised an answer."""
        return self._patience is not None and self._patience.has_held

    # at a door

    def on_place(self) -> None:
        self.queue = None
        if self.read and self.decision is self.slot.fallback and self.router is self.gateway.router:
            fall_back(self)  # the service has failed it already: to decide anew would lose the turn and ask it again
        else:
            self.again()

    def step_out(self) -> None:
        """The attempt is over: somebody else may have its place."""
        stay, self.stay = self.stay, None
        if stay is not None:
            stay.leave()

    # the client's side

    def on_request_body(self, data: bytes) -> None:
        if self.over:
            return
        call, body = self.call, self.body
        if self.tunnel and call is not None:
            self.touched = self.gateway.now
            call.send_raw(data)
            return
        body.add(data)
        if body.size > self.gateway.max_body:
            self.drop_call()
            self.client.fail(Malformed(413, f"the body is longer than {self.gateway.max_body} bytes"))
        elif call is not None and call.connection is not None:
            call.send_more(data)
        elif body.size > self.gateway.replay_bytes:
            self.client.pause()

    def on_request_end(self) -> None:
        self.body.done = True
        self.touched = self.gateway.now
        self.complete = perf_counter()
        if self.call is not None:
            self.call.send_end()

    def on_client_eof(self) -> bool:
        """The client of a tunnel sends no more; whether it may still be sent to."""
        self.half_closed = True
        self.touched = self.gateway.now
        return self.call is not None and self.call.send_eof()

    def on_client_full(self, full: bool) -> None:
        if self.call is not None:
            self.call.on_client_full(full)

    def cancel(self) -> None:
        """The client has left."""
        if self.over:
            return
        self.gone = True
        self.capture = None
        self._stop_waiting()
        if self.call is not None:
            if self.call.connection is not None:
                self.doubtful = Cause.LOST
            if self.tunnel:
                self.call.hang_up()
            else:
                self.drop_call()
        self.finish()

    # the end

    def timed_out(self, cause: Cause) -> None:
        """It has waited too long (`overdue` says for what)."""
        self._stop_waiting()
        call, stay = self.call, self.stay
        if call is not None and not self.tunnel:  # a tunnel may be silent
            call.fail(cause)
        self.drop_call()
        if stay is not None and cause.blames:
            stay.timed_out()
        if cause is Cause.UNREAD:
            self.gateway.meter.count(self.route.domain, "client_stalled")
        if self.status:
            self.truncate(cause)
        else:
            recover(self, cause)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.leave()
        if self.queue is not None:
            self.queue.forget(self)
            self.queue = None

    def drop_call(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            call.drop()
            call.breaker.abandoned(self)  # unless there was a verdict
            self.step_out()

    def truncate(self, cause: Cause) -> None:
        """The client has got a part: the only honest sign left is to break the connection."""
        self.capture = None
        # An HTTP/1.0 client may take the end of its connection for the end of the answer.
        self.trouble = cause
        # What a client does not read would stay in the kernel long after an orderly close.
        self.client.abort(reset=not self.request.v11 or self.client.is_full)
        self.finish()

    def finish(self) -> None:
        self.over = True
        if self.stay is not None:
            self.step_out()
        self.call = self._patience = None  # they know us: nobody is left to be found by the garbage collector
        gateway, decision, route = self.gateway, self.decision, self.route
        gateway.active.discard(self)
        seconds = perf_counter() - self.started
        status = self.status
        gateway.meter.cell(route.domain, decision.side, route.id).observe(status, seconds)
        if decision is self.slot.fallback or decision is self.slot.detour:
            gateway.meter.count(route.domain, "fallback")  # after a failure, or at once because the breaker was open
        if gateway.observers:
            for observer in gateway.observers:
                observer.finished(self, seconds)
        if gateway.log is not None:
            gateway.log.add(self, seconds)
        if self.doubtful is not None and not self.read:
            pin_and_tell(self)  # it may have been carried out all the same
        if self.capture is not None:
            gateway.shadow.offer(self, self.capture)
        if not self.gone:
            self.client.exchange_done()
