"""The clients of `banyan bench switch`: a process of their own, so that they and the controller never wait for another.

`python -m load.bench.switch_clients RATE CLIENTS SECONDS` sends until its standard input ends, or for SECONDS. It says
`{"ready": …}` when every client has its tariff, and last one object: what was sent, the audit, and every write as
`[when it was sent, milliseconds until it was accepted]`, by the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from array import array
from typing import Any

import msgspec
import uvloop

from load.audit import audit
from load.clients import Fleet
from load.stats import Kind

SHARE = 0.4  # of what is no check of an earlier write; half of the writes are checked, so one request in three writes
_KINDS: tuple[Kind, Kind] = ("read", "write")
MOST_WRITES = 2_000_000  # that are remembered with their times: 32 MB


class Waits:
    """When each write was sent, and how long it took. Milliseconds and monotonic seconds."""

    def __init__(self) -> None:
        self.sent, self.took = array("d"), array("d")

    def heard(self, kind: Kind, ms: float) -> None:
        if kind == "write" and len(self.sent) < MOST_WRITES:
            self.sent.append(time.monotonic() - ms / 1000)
            self.took.append(ms)


async def _run(rate: float, clients: int, seconds: float) -> dict[str, Any]:
    waits = Waits()
    fleet = Fleet(
        os.environ["BANYAN_GATEWAY_URL"], os.environ["LEGACY_BACKOFFICE_KEY"], clients=clients, rate=rate, writes=SHARE,
        heard=waits.heard, shelf="bnch",
    )  # fmt: skip
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else stop.set())
    sending = asyncio.create_task(fleet.run(stop))
    while not sending.done() and fleet.stats().requests < 2 * clients:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0.05)
    print('{"ready": true}', flush=True)
    if seconds:
        loop.call_later(seconds, stop.set)
    began, before = time.monotonic(), fleet.stats()
    await stop.wait()
    lasted = time.monotonic() - began
    await sending
    stats = fleet.stats()
    reads, writes = (stats.latency(since=before, kind=kind) for kind in _KINDS)
    return {
        "seconds": lasted, "reads": reads.count, "writes": writes.count, "read_p99_ms": reads.p99_ms,
        "write_p50_ms": writes.p50_ms, "write_p99_ms": writes.p99_ms, "failed": stats.failed,
        "retried": stats.retried, "stale_reads": stats.stale_reads, "samples": stats.samples[:5],
        "waits": list(zip(waits.sent, waits.took, strict=True)), "accepted": fleet.accepted(),
    }  # fmt: skip


def main() -> None:
    rate, clients, seconds = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    found = uvloop.run(_run(rate, clients, seconds))
    audited = audit(found.pop("accepted"), os.environ["BANYAN_LEGACY_DSN"], os.environ["BANYAN_PRICING_DSN"])
    found |= {
        "checked": audited.checked, "lost": audited.lost, "doubled": audited.doubled,
        "findings": [str(finding) for finding in audited.samples],
    }  # fmt: skip
    print(msgspec.json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    main()
