"""The fleet: independent clients of a domain that keep a steady rate and remember every write that was accepted."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from random import Random
from typing import Literal, Protocol, get_args

from load.battery import Battery
from load.caller import Caller
from load.client import WRITES, Client, Identity
from load.connection import Address, Connection, ConnectionFailed
from load.facts import FactMemory, Facts
from load.household import Household
from load.memory import Accepted, Memory
from load.stats import Heard, Recorder, Stats

__all__ = ["DOMAINS", "Accepted", "Domain", "Fleet", "FleetError", "Stats"]

Domain = Literal["pricing", "devices", "notifications"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)

_CATCH_UP_S = 5.0  # a client that was held up makes good at most this much, so that a pause does not lower the rate


class FleetError(Exception):
    """The clients cannot start; says why and what to do."""


class Visitor(Protocol):
    """One client: makes what it needs, then one request a step."""

    caller: Caller

    async def begin(self) -> None: ...

    async def step(self) -> None: ...


class Fleet:
    """`clients` clients of `domain` that together send `rate` requests a second to the gateway at `base_url`.

    `seed` fixes what they choose; keys of their writes are new in every run. With `shelf`, a name of at most 4
    characters, its tariffs and areas are the same in every run, so that they do not pile up; two fleets at a time must
    not have one shelf. `writes`: share of the requests of pricing that are writes, checks of earlier ones not counted.
    `heard` is told of every request when it ends. `run` belongs to one event loop; `stats` and `accepted` may be called
    from any thread.

    Raises: ValueError for arguments that make no fleet.
    """

    def __init__(
        self,
        base_url: str,
        backoffice_key: str,
        *,
        clients: int = 24,
        rate: float = 260,
        seed: int = 1,
        domain: Domain = "pricing",
        patience_s: float = 30.0,
        attempt_s: float = 10.0,
        shelf: str | None = None,
        writes: float = WRITES,
        heard: Heard | None = None,
    ) -> None:
        if not 1 <= clients <= 999 or rate <= 0:
            raise ValueError("a fleet has 1 to 999 clients and a rate above 0")
        if shelf is not None and not 1 <= len(shelf) <= 4:
            raise ValueError("a shelf's name has 1 to 4 characters")
        self._address = Address.of(base_url)
        self._key = backoffice_key
        self.clients, self.rate, self._seed = clients, rate, seed
        self._patience_s, self._attempt_s = patience_s, attempt_s
        self._run = secrets.token_hex(3)
        self.domain, self.shelf, self._writes = domain, shelf, writes
        self._recorder, self._memory, self._facts = Recorder(heard), Memory(f"L{self._run}-"), FactMemory(domain)
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`; calls in flight then finish. Raises: FleetError when there is nobody to write for."""
        customers = await self._customers()
        interval = self.clients / self.rate
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                client = self._client(number, customers[number % len(customers)])
                offset = interval * number / self.clients
                self._tasks.append(group.create_task(_keep_pace(client, stop, interval, offset)))

    async def settle(self) -> None:
        """Until every call in flight has finished."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stats(self) -> Stats:
        return self._recorder.stats()

    def accepted(self) -> Accepted | Facts:
        """What the audit looks up: `Accepted` of pricing, `Facts` of the other domains."""
        return self._memory.copy() if self.domain == "pricing" else self._facts.copy()

    def _client(self, number: int, customer_id: int) -> Visitor:
        name = f"C{number:03d}"
        random = Random(f"{self._seed}/{number}")
        caller = Caller(
            name, self._key, Connection(self._address), self._recorder, random, self._patience_s, self._attempt_s
        )
        own = f"L{self._run}-{number:03d}"
        match self.domain:
            case "pricing":
                area = f"{self.shelf or self._run[:5]}{number:03d}"  # at most eight characters
                tariff = f"LOAD-{self.shelf}-{number:03d}" if self.shelf else own
                identity = Identity(area, tariff, customer_id, own)
                return Client(identity, caller, random, self._memory, self._writes)
            case "devices":
                return Battery(own, customer_id, caller, random, self._facts)
            case "notifications":
                return Household(own, caller, random, self._facts)

    async def _customers(self) -> list[int]:
        connection = Connection(self._address)
        try:
            response = await connection.request("GET", "/api/customers?limit=100", {"X-Api-Key": self._key})
        except ConnectionFailed as error:
            raise FleetError(f"the gateway does not answer ({error}): is the stack up? (`banyan up`)") from error
        finally:
            connection.close()
        if response.status != 200:
            raise FleetError(f"GET /api/customers was answered {response.status}: check LEGACY_BACKOFFICE_KEY")
        found = [customer["id"] for customer in json.loads(response.body)["customers"]]
        if not found:
            raise FleetError("the monolith has no customers: seed it first (`python -m legacy_monolith seed`)")
        return found


async def _keep_pace(client: Visitor, stop: asyncio.Event, interval: float, offset: float) -> None:
    try:
        await client.begin()
        due = time.monotonic() + offset
        while not stop.is_set():
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(min(wait, 0.25))
                continue
            due = max(due + interval, time.monotonic() - _CATCH_UP_S)
            await client.step()
    finally:
        client.caller.close()
