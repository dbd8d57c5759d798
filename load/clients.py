"""The fleet: independent clients of pricing that keep a steady rate and remember every write that was accepted."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from random import Random

from load.caller import Caller
from load.client import Client, Identity
from load.connection import Address, Connection, ConnectionFailed
from load.memory import Accepted, Memory
from load.stats import Recorder, Stats

__all__ = ["Accepted", "Fleet", "FleetError", "Stats"]

_CATCH_UP_S = 5.0  # a client that was held up makes good at most this much, so that a pause does not lower the rate


class FleetError(Exception):
    """The clients cannot start; says why and what to do."""


class Fleet:
    """`clients` clients that together send `rate` requests a second to the gateway at `base_url`.

    `seed` fixes what they choose; keys of their writes are new in every run. `run` belongs to one event loop;
    `stats` and `accepted` may be called from any thread. Raises: ValueError for arguments that make no fleet.
    """

    def __init__(
        self,
        base_url: str,
        backoffice_key: str,
        *,
        clients: int = 24,
        rate: float = 260,
        seed: int = 1,
        patience_s: float = 30.0,
        attempt_s: float = 10.0,
    ) -> None:
        if not 1 <= clients <= 999 or rate <= 0:
            raise ValueError("a fleet has 1 to 999 clients and a rate above 0")
        self._address = Address.of(base_url)
        self._key = backoffice_key
        self._count, self._rate, self._seed = clients, rate, seed
        self._patience_s, self._attempt_s = patience_s, attempt_s
        self._run = secrets.token_hex(3)
        self._recorder, self._memory = Recorder(), Memory()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`; calls in flight then finish. Raises: FleetError when there is nobody to write for."""
        customers = await self._customers()
        interval = self._count / self._rate
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                client = self._client(number, customers[number % len(customers)])
                offset = interval * number / self._count
                self._tasks.append(group.create_task(_keep_pace(client, stop, interval, offset)))

    async def settle(self) -> None:
        """Until every call in flight has finished."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stats(self) -> Stats:
        return self._recorder.stats()

    def accepted(self) -> Accepted:
        return self._memory.copy()

    def _client(self, number: int, customer_id: int) -> Client:
        name = f"C{number:03d}"
        random = Random(f"{self._seed}/{number}")
        caller = Caller(
            name, self._key, Connection(self._address), self._recorder, random, self._patience_s, self._attempt_s
        )
        return Client(Identity(name, f"L{self._run}-{number:03d}", customer_id), caller, random, self._memory)

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


async def _keep_pace(client: Client, stop: asyncio.Event, interval: float, offset: float) -> None:
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
