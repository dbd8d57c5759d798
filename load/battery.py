"""One client of devices: its own battery polls a schedule and reports, and the back office plans it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random

from load import calls
from load.caller import Caller, Check
from load.connection import Response
from load.databases import ZONE
from load.facts import Fact, FactMemory

WRITES = 0.35  # of the requests that are not checks of an earlier write
CHECKS = 0.5  # of the writes are read back


@dataclass(slots=True)
class Battery:
    """Sends one request at a time, so that it knows the order of its writes."""

    name: str  # new in every run: serial numbers begin with it
    customer_id: int
    caller: Caller
    random: Random
    memory: FactMemory
    _id: int = 0  # 0: not registered yet
    _token: str = ""
    _numbers: int = 0
    _check: Callable[[], Check] | None = None

    async def begin(self) -> None:
        """Register the battery. Its token is said only once, so an answer that is lost costs a serial number."""
        serial = f"{self.name}-{self._next()}"
        answer = await self.caller.call(calls.register_device(serial, self.customer_id))
        if answer is None:
            return
        body = json.loads(answer.body)
        self._id, self._token = body["id"], body["token"]
        self.memory.own(self._id)
        self.memory.note(Fact("devices", self._id), f"{serial} of {self.customer_id}", certain=True)

    async def step(self) -> None:
        """One request: the check of an earlier write, a write, or a read."""
        if not self._id:
            await self.begin()
        elif self._check is not None:
            check, self._check = self._check(), None
            await self.caller.read(check)
        elif self.random.random() < WRITES:
            await (self._acknowledge() if self.random.random() < 0.6 else self._plan())
        else:
            await self._look()

    async def _look(self) -> None:
        choice = self.random.random()
        if choice < 0.7:
            await self.caller.read(Check(calls.get_schedule(self._id, self._token)))
        elif choice < 0.85:
            await self.caller.read(Check(calls.get_device(self._id)))
        else:
            await self.caller.read(Check(calls.list_acks(self._id, 0, self._token)))

    async def _acknowledge(self) -> None:
        ref, state = f"load-{self._next()}", self.random.choice("DSF")
        observed = datetime.now(ZONE).replace(tzinfo=None, microsecond=0).isoformat()
        answer = await self.caller.call(calls.create_ack(self._id, ref, state, observed, self._token))
        self.memory.note(Fact("acks", self._id, ref), f"{state} {observed}", certain=answer is not None)
        if answer is not None:
            number = json.loads(answer.body)["id"]
            self._maybe_check(lambda: self._check_ack(number, ref))

    async def _plan(self) -> None:
        fact = Fact("schedules", self._id)
        if self.memory.of(fact).uncertain:
            return  # that write may land late, and must not be overtaken
        cut, power = self.random.randrange(1, 24), self.random.randrange(1, calls.MAX_POWER_W + 1)
        slots = f"0000-{cut:02d}00 C{power};{cut:02d}00-2400 {self.random.choice(('H0', f'D{power}'))}"
        answer = await self.caller.call(calls.put_schedule(self._id, slots))
        self.memory.note(fact, slots, certain=answer is not None)
        self._maybe_check(self._check_schedule)

    def _maybe_check(self, check: Callable[[], Check]) -> None:
        if self.random.random() < CHECKS:
            self._check = check

    def _check_ack(self, number: int, ref: str) -> Check:
        def fresh(response: Response) -> bool:
            return [ack["ref"] for ack in json.loads(response.body)["acks"]] == [ref]

        return Check(calls.list_acks(self._id, number - 1, self._token), fresh)

    def _check_schedule(self) -> Check:
        history = self.memory.of(Fact("schedules", self._id))

        def fresh(response: Response) -> bool:
            return history.accepted is None or json.loads(response.body)["slots"] in history.allowed

        return Check(calls.get_schedule(self._id, self._token), fresh)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers
