"""A process of a simulated fleet: `python -m load.fleet.worker`, orders and answers a line of JSON each, in and out.

The first line is a `Fleet`. Then `figures` or `stop`; the end of its input stops it too.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any

import msgspec
import uvloop

from load.fleet.device import Device, Tally
from load.fleet.faults import Faults, Weather
from pi_agent.config import Timing

#: Devices are switched on so many a second: a storm of first polls is another test.
START_PER_S = 120


class Fleet(msgspec.Struct):
    """Devices `first` … `first + count - 1`; the token of one is `token_prefix` and its id. `timing`: overrides."""

    first: int
    count: int
    addresses: dict[str, str]
    token_prefix: str = "fleet-"  # noqa: S105  of a fleet that does not exist
    timing: dict[str, float] = {}
    faults: Faults = Faults()
    start_per_s: float = START_PER_S
    #: Agents that passed their trial of v2 in an earlier life.
    on_v2: bool = False
    #: What their journals hold of that life: the document that was last answered, and its ETag.
    document: dict[str, Any] | None = None
    etag: str | None = None


async def _main() -> None:
    # Thousands of connections each: the soft limit of many systems is 1,024.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    fleet = msgspec.json.decode(await orders.readline(), type=Fleet)
    tally = Tally()
    timing = msgspec.convert({**_plain(Timing()), **fleet.timing}, Timing)
    devices = [
        Device(i, f"{fleet.token_prefix}{i}", fleet.addresses, timing, Weather.of(i, fleet.faults), tally, fleet.on_v2)
        for i in range(fleet.first, fleet.first + fleet.count)
    ]
    if fleet.document is not None:
        for device in devices:
            device.remember(fleet.document, fleet.etag)
    starting = asyncio.create_task(_start(devices, fleet.start_per_s))
    while order := await orders.readline():
        word = json.loads(order)
        if word == "stop":
            break
        print(json.dumps(_figures(devices, tally, word["version"])), flush=True)
    starting.cancel()
    for device in devices:
        device.stop()


def _plain(timing: Timing) -> dict[str, Any]:
    return msgspec.to_builtins(timing)


async def _start(devices: list[Device], per_s: float) -> None:
    begun = asyncio.get_running_loop().time()
    for number, device in enumerate(devices):
        device.start()
        ahead = begun + (number + 1) / per_s - asyncio.get_running_loop().time()
        if ahead > 0.01:
            await asyncio.sleep(ahead)


def _figures(devices: list[Device], tally: Tally, version: int) -> dict[str, Any]:
    """What was counted since the last question, and since when who has a version (the machine's monotonic clock)."""
    phases: dict[str, int] = {}
    for device in devices:
        phases[device.phase] = phases.get(device.phase, 0) + 1
    latencies, tally.latencies = tally.latencies, []
    return {
        "devices": len(devices),
        "have": sum(device.version >= version for device in devices),
        "arrived": sorted(tally.arrived.get(version, {}).values()),
        "phases": phases,
        "waiting_acks": sum(device.waiting_acks for device in devices),
        "latencies": latencies,
        "statuses": tally.statuses,
        "unreachable": tally.unreachable,
        "reboots": tally.reboots,
    }


if __name__ == "__main__":
    uvloop.run(_main())
