"""One client of notifications: a customer of its own who is sent notices, reads them and changes their preferences."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from load import calls
from load.caller import Caller, Check
from load.connection import Response
from load.facts import Fact, FactMemory

WRITES = 0.35  # of the requests that are not checks of an earlier write
CHECKS = 0.5  # of the writes are read back


@dataclass(slots=True)
class Household:
    """Sends one request at a time, so that it knows the order of its writes."""

    name: str  # new in every run: e-mail addresses and subjects begin with it
    caller: Caller
    random: Random
    memory: FactMemory
    _id: int = 0  # 0: no customer yet
    _numbers: int = 0
    _check: Callable[[], Check] | None = None

    async def begin(self) -> None:
        """Make the customer, in the monolith: customers belong to no domain that moves."""
        number = self._next()
        answer = await self.caller.call(calls.create_customer(f"{self.name}-{number}@example.net", self.name))
        if answer is not None:
            self._id = json.loads(answer.body)["id"]
            self.memory.own(self._id)
            self.memory.writes["customers"] += 1

    async def step(self) -> None:
        """One request: the check of an earlier write, a write, or a read."""
        if not self._id:
            await self.begin()
        elif self._check is not None:
            check, self._check = self._check(), None
            await self.caller.read(check)
        elif self.random.random() < WRITES:
            await (self._notify() if self.random.random() < 0.6 else self._prefer())
        else:
            call = calls.get_preferences if self.random.random() < 0.5 else _newest_notices
            await self.caller.read(Check(call(self._id)))

    async def _notify(self) -> None:
        number = self._next()
        subject, body = f"{self.name} {number}", f"Your meter says {self.random.randrange(100_000)} kWh."
        answer = await self.caller.call(calls.send_notice(self._id, subject, body))
        self.memory.note(Fact("notices", self._id, subject), body, certain=answer is not None)
        if answer is not None:
            notice = json.loads(answer.body)["id"]
            self._maybe_check(lambda: self._check_notice(notice, subject))

    async def _prefer(self) -> None:
        fact = Fact("preferences", self._id)
        if self.memory.of(fact).uncertain:
            return  # that write may land late, and must not be overtaken
        sms, push = self.random.choice("YN"), self.random.choice("YN")
        quiet = self.random.choice((None, ("22:00", "06:30"), ("12:15", "13:00")))
        answer = await self.caller.call(calls.put_preferences(self._id, sms, push, quiet))
        value = preferences("Y", sms, push, *(quiet or (None, None)))
        self.memory.note(fact, value, certain=answer is not None)
        self._maybe_check(self._check_preferences)

    def _maybe_check(self, check: Callable[[], Check]) -> None:
        if self.random.random() < CHECKS:
            self._check = check

    def _check_notice(self, number: int, subject: str) -> Check:
        def fresh(response: Response) -> bool:
            return [notice["subject"] for notice in json.loads(response.body)["notifications"]] == [subject]

        return Check(calls.list_notices(self._id, number - 1), fresh)

    def _check_preferences(self) -> Check:
        history = self.memory.of(Fact("preferences", self._id))

        def fresh(response: Response) -> bool:
            shown = json.loads(response.body)
            names = ("email", "sms", "push", "quiet_from", "quiet_to")
            return history.accepted is None or preferences(*(shown[name] for name in names)) in history.allowed

        return Check(calls.get_preferences(self._id), fresh)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


def preferences(email: str, sms: str, push: str, quiet_from: str | None, quiet_to: str | None) -> str:
    """As one text, so that it can be compared: letters, and quiet hours as HH:MM."""
    return f"{email}{sms}{push} {quiet_from or '-'} {quiet_to or '-'}"


def _newest_notices(customer_id: int) -> calls.Call:
    return calls.list_notices(customer_id, 0, 20)
