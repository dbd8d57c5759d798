"""Both backends of a fleet and its flag in one small server: who owns a device commands it, the other one must not.

It keeps count of everything that is said to it, so that a test can ask what was lost, doubled, or done for two.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
STATES = {"D": "delivered", "S": "succeeded", "F": "failed", "X": "expired"}


@dataclass
class Order:
    """A command, by the side that owned its device then."""

    ref: str
    device: int
    side: str
    issued: datetime
    expires: datetime


@dataclass
class Sides:
    """`owner` of each device; `broken`: device → how its v2 fails (500, wrong, slow)."""

    devices: range
    owner: dict[int, str] = field(default_factory=dict)
    epoch: dict[int, int] = field(default_factory=dict)
    version: int = 1
    of: dict[int, list[Order]] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
    down: bool = False
    acks: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    polls: Counter[tuple[int, str]] = field(default_factory=Counter)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.owner = dict.fromkeys(self.devices, "legacy")
        self.of = {device: [] for device in self.devices}
        self.epoch = dict.fromkeys(self.devices, 1)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    @property
    def orders(self) -> list[Order]:
        return [order for orders in self.of.values() for order in orders]

    async def move(self, devices: range, side: str) -> None:
        for device in devices:
            self.owner[device] = side
            self.epoch[device] += 1
        await self.wake()

    async def command(self, number: int, seconds: float = 60) -> None:
        """One for each device, by its owner."""
        now = datetime.now(UTC)
        for device in self.devices:
            ends = now + timedelta(seconds=seconds)
            self.of[device].append(Order(f"cmd-{number}-{device}", device, self.owner[device], now, ends))
        await self.wake()

    async def wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if self.down:
                    break
                status, answer, more = await self._answer(method, path, headers, json.loads(body) if body else None)
                content = b"" if answer is None else json.dumps(answer).encode()
                lines = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", *more]
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
                await writer.drain()
        writer.close()

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any, list[str]]:
        if path.startswith("/ofrep"):
            device = int(body["context"]["targetingKey"])
            value = "v2" if self.owner[device] == "v2" else "legacy"
            return 200, {"flags": [{"key": "device-backend", "value": value}]}, []
        side = "v2" if path.startswith("/v2/") else "legacy"
        device = int(path.split("/")[3] if path.split("/")[1] in ("v2", "api") else path.split("/")[2])
        fault = self.broken.get(device) if side == "v2" else None
        if fault == "500":
            return 500, {}, []
        if fault == "slow":
            await asyncio.sleep(30)
        if method == "POST":
            acks = body["acks"] if side == "v2" else [body]
            for ack in acks:
                self.acks[device, ack["ref"], STATES.get(ack["state"], ack["state"])] += 1
            return 200, {"accepted": len(acks)}, []
        if method == "PUT":
            return 200, {"kept": True, "clock_skew_ms": 0}, []
        self.polls[device, side] += 1
        if side == "legacy":
            return 200, self._legacy(device), []
        known, wait = headers.get("if-none-match"), headers.get("prefer", "").removeprefix("wait=")
        if known is not None and wait:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(wait)), self._changed:
                    await self._changed.wait_for(lambda: self._etag(device) != known)
        applied = [f"preference-applied: wait={wait}"] if wait else []
        tags = [f"etag: {self._etag(device)}", f"banyan-assignment-epoch: {self.epoch[device]}", *applied]
        if known == self._etag(device):
            return 304, None, tags
        return 200, self._v2(device, fault == "wrong"), tags

    def _open(self, device: int) -> list[Order]:
        now = datetime.now(UTC)
        return [o for o in self.of[device][-5:] if o.expires > now]

    def _etag(self, device: int) -> str:
        return f'"{self.version}-{self.epoch[device]}-{len(self.of[device])}"'

    def _legacy(self, device: int) -> dict[str, Any]:
        """Commands are common to both sides, as change data capture makes them."""
        commands = [
            {
                "ref": o.ref, "mode": "D", "power_w": 100,
                "issued": f"{o.issued.astimezone(AMSTERDAM):%Y-%m-%dT%H:%M:%S}",
                "expires": f"{o.expires.astimezone(AMSTERDAM):%Y-%m-%dT%H:%M:%S}",
            }
            for o in self._open(device)
        ]  # fmt: skip
        return {"device_id": device, "version": self.version, "slots": "0000-2400 C1000", "commands": commands}

    def _v2(self, device: int, wrong: bool) -> dict[str, Any]:
        commands = [
            {
                "ref": o.ref, "mode": "discharge", "power_w": 100, "supersedes": None,
                "issued_at": o.issued.isoformat(), "expires_at": o.expires.isoformat(),
            }
            for o in self._open(device)
        ]  # fmt: skip
        slots = [{"from": "00:00", "to": "24:00", "mode": "charge", "power_w": 1 if wrong else 1000}]
        document = {"device_id": device, "version": self.version, "assignment_epoch": self.epoch[device]}
        return document | {"slots": slots, "commands": commands}
