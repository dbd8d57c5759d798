"""One simulated device: the agent's own core, on callbacks instead of tasks, with a battery and a journal in memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from load.connection import Address
from load.fleet.faults import Weather
from load.fleet.wire import Wire
from pi_agent.activity import NEVER, Activity
from pi_agent.assignment import Assignment, to_disk
from pi_agent.backends import ServiceBackend
from pi_agent.config import Battery, Config, Timing
from pi_agent.core import Core
from pi_agent.drivers.simulated import SimulatedBattery
from pi_agent.errors import Unreachable
from pi_agent.exchange import Exchange, Request, Response, play
from pi_agent.flags import V2
from pi_agent.memory import MemoryJournal

#: A lost packet is noticed after the time-out; waiting that out would only make the simulation long.
LOST_S = 1.0


class SkewedClock:
    def __init__(self, skew_s: float) -> None:
        self._skew = timedelta(seconds=skew_s)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._skew

    def monotonic(self) -> float:
        return time.monotonic()


class Tally:
    """What all devices of a process saw: latencies of requests that nobody kept waiting, answers, errors, arrivals."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.unreachable = 0
        self.reboots = 0
        self.arrived: dict[int, dict[int, float]] = {}

    def answered(self, status: int, seconds: float | None) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if seconds is not None:
            self.latencies.append(seconds)


class Device:
    """`start`, and it lives by itself; `stop` leaves the battery safe and nothing open."""

    def __init__(
        self,
        device_id: int,
        token: str,
        addresses: Mapping[str, str],
        timing: Timing,
        weather: Weather,
        tally: Tally,
        on_v2: bool = False,
    ) -> None:
        self._clock = SkewedClock(weather.skew_s)
        self._config = Config(
            device_id=device_id,
            token=token,
            gateway_url=addresses["gateway"],
            service_url=addresses.get("service"),
            flags_url=addresses.get("flags"),
            state_dir=Path(),
            timing=timing,
        )
        self._targets = {name: Address.of(url) for name, url in self._config.addresses.items()}
        self._journal = MemoryJournal()
        if on_v2:
            self._journal.set("flag", {"value": V2, "etag": None})
            self._journal.set("assignment", to_disk(Assignment(primary=V2, wanted=V2)))
        self._battery = SimulatedBattery(Battery(), None, self._clock, 3 * timing.control_s)
        self._weather, self._tally = weather, tally
        self._wires: dict[str, Wire] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._running: dict[str, Exchange[None]] = {}
        self._version = 0
        self.core = self._boot()

    def _boot(self) -> Core:
        dice = self._weather.dice
        return Core(self._config, self._journal, self._battery, self._clock, dice.uniform, lambda step: None)

    def remember(self, document: dict[str, Any], etag: str | None) -> None:
        """The journal of an agent that was told this in an earlier life, and has said so."""
        device_id = self._config.device_id
        answer = Response(200, {"etag": etag or ""}, json.dumps(document | {"device_id": device_id}).encode())
        fetched = play(ServiceBackend(device_id, "").fetch(None), lambda request: answer)
        if fetched.document is not None:
            self._journal.receive(fetched.document, self._clock.now(), V2)
            self._journal.accepted([p.seq for p in self._journal.pending(9)])
            self._journal.set("etag", {"backend": V2, "etag": etag})
        self.core = self._boot()

    def start(self) -> None:
        self.core.start()
        for activity in self.core.activities:
            activity.wake = self._waker(activity)
            self._plan(activity)
        loop = asyncio.get_running_loop()
        period = self._config.timing.control_s
        self._timers["control"] = loop.call_later(self._weather.dice.uniform(0, period), self._control)
        if (after := self._weather.next_reboot_s()) is not None:
            self._timers["reboot"] = loop.call_later(after, self._reboot)

    def _control(self) -> None:
        self.core.control()
        period = self._config.timing.control_s
        self._timers["control"] = asyncio.get_running_loop().call_later(period, self._control)

    def _reboot(self) -> None:
        """The power goes and comes back: what was on its way is lost, the journal and the battery stay."""
        self.stop(safe=False)
        self._tally.reboots += 1
        self.core = self._boot()
        self.start()

    def stop(self, safe: bool = True) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for exchange in self._running.values():
            exchange.close()
        self._running.clear()
        for wire in self._wires.values():
            wire.give_up()
        self._wires.clear()
        if safe:
            self.core.controller.make_safe()

    # Activities

    def _waker(self, activity: Activity) -> Callable[[], None]:
        def wake() -> None:
            if activity.name in self._running:
                if activity.yields and activity.due != NEVER:
                    self._cut_off(activity)
                return
            self._plan(activity)

        return wake

    def _cut_off(self, activity: Activity) -> None:
        """What it waits for is not wanted any more. Later, not now: its own exchange may be what hastens it."""
        exchange = self._running[activity.name]

        def cut() -> None:
            if self._running.get(activity.name) is exchange:
                del self._running[activity.name]
                exchange.close()
                self._wires.pop(activity.name).give_up()
                self._plan(activity)

        asyncio.get_running_loop().call_soon(cut)

    def _plan(self, activity: Activity) -> None:
        if (timer := self._timers.pop(activity.name, None)) is not None:
            timer.cancel()
        if activity.due != NEVER:
            delay = max(activity.due - self._clock.monotonic(), 0.0)
            self._timers[activity.name] = asyncio.get_running_loop().call_later(delay, self._begin, activity)

    def _begin(self, activity: Activity) -> None:
        exchange = self.core.run(activity)
        self._running[activity.name] = exchange
        self._advance(activity, exchange, lambda: next(exchange))

    def _advance(self, activity: Activity, exchange: Exchange[None], step: Callable[[], Request]) -> None:
        if self._running.get(activity.name) is not exchange:
            return
        try:
            request = step()
        except StopIteration:
            if self._running.pop(activity.name, None) is exchange:
                self._note_version()
                self._plan(activity)
            return
        self._send(activity, exchange, request)

    def _note_version(self) -> None:
        version = self.core.controller.schedule_version
        if version != self._version:
            self._version = version
            self._tally.arrived.setdefault(version, {})[self._config.device_id] = time.monotonic()

    def _send(self, activity: Activity, exchange: Exchange[None], request: Request) -> None:
        loop, lost = asyncio.get_running_loop(), self._weather.lost()
        if lost == "there":
            loop.call_later(LOST_S, self._advance, activity, exchange, lambda: exchange.throw(Unreachable("lost")))
            return
        sent = time.monotonic()

        def answered(outcome: Response | Unreachable) -> None:
            if isinstance(outcome, Unreachable) or lost == "back":
                self._tally.unreachable += 1
                error = outcome if isinstance(outcome, Unreachable) else Unreachable("lost")
                self._advance(activity, exchange, lambda: exchange.throw(error))
                return
            self._tally.answered(outcome.status, None if request.wait_s else time.monotonic() - sent)
            self._advance(activity, exchange, lambda: exchange.send(outcome))

        timeout_s = self._config.timing.request_timeout_s + request.wait_s
        self._wire(activity, request).send(self._message(request), timeout_s, answered)

    def _wire(self, activity: Activity, request: Request) -> Wire:
        """Polls keep their connection; others come seldom, and close theirs."""
        target = self._targets[request.to]
        wire = self._wires.get(activity.name)
        if wire is None or wire.address != target:
            if wire is not None:
                wire.give_up()
            wire = self._wires[activity.name] = Wire(target, self._clock, keep=activity.yields)
        return wire

    def _message(self, request: Request) -> bytes:
        body = b"" if request.body is None else json.dumps(request.body).encode()
        target = self._targets[request.to]
        lines = [f"{request.method} {request.path} HTTP/1.1", f"host: {target.host}:{target.port}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        if request.body is not None:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    # For whoever looks

    @property
    def phase(self) -> str:
        return self.core.assignment.phase

    @property
    def version(self) -> int:
        return self._version

    @property
    def waiting_acks(self) -> int:
        return self._journal.counts().pending
