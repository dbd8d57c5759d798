"""Devices that wait for their schedule, by the thousand: what each costs the service, and how soon all have a new one.

    .venv/bin/python -m load.waiters --devices 10000

Starts a PostgreSQL and the devices service of its own. The waiters are bare sockets in this process, not agents: it
measures the service and says nothing of what a device does with its schedule.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psycopg

from banyan.servers import Postgres
from banyan.servers.ports import free_port
from services.chassis.auth import token_sha1
from services.chassis.migrate import migrate

_ROOT = Path(__file__).parents[1]
_KEY = "the-key-of-the-bench"
_HOLD = [{"from": "00:00", "to": "24:00", "mode": "hold", "power_w": 0}]
_WAIT_S = 60


def _token(n: int) -> str:
    return f"token-{n}"


def _fill(dsn: str, devices: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO devices (id, serial, customer_id, model, capacity_wh, max_power_w, state, token_sha1)"
            " SELECT n, 's' || n, 1, 'P', 10000, 5000, 'active', token"
            " FROM unnest(%s::text[]) WITH ORDINALITY AS i (token, n)",
            ([token_sha1(_token(n)) for n in range(1, devices + 1)],),
        )


def _rss_mib(pid: int) -> float:
    """Of the process and its children, MiB."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            if int(path.parent.name) == pid or int(fields[1]) == pid:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            continue
    return total / 2**20


class _Waiter:
    """One connection that asks and waits; when it has its answer it notes when."""

    def __init__(self, n: int, port: int, gate: asyncio.Semaphore) -> None:
        self.n, self._port, self._gate = n, port, gate
        self.at = 0.0
        self.body = b""

    async def begin(self) -> None:
        async with self._gate:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writer.write(
                (
                    f"GET /v2/devices/{self.n}/schedule HTTP/1.1\r\nHost: bench\r\n"
                    f"Authorization: Bearer {_token(self.n)}\r\n"
                    f'If-None-Match: "0"\r\nPrefer: wait={_WAIT_S}\r\n\r\n'
                ).encode()
            )
            await self._writer.drain()

    async def end(self) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.at = time.perf_counter()
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        self.body = await self._reader.readexactly(length)
        self._writer.close()


async def _measure(url: str, port: int, pid: int, devices: int) -> dict[str, object]:
    office = {"X-Api-Key": _KEY}
    async with httpx.AsyncClient(base_url=url, headers=office, timeout=60) as client:

        async def waiting() -> int:
            text = (await client.get("/metrics")).text
            lines = (line for line in text.splitlines() if line.startswith("banyan_devices_waiting "))
            return int(float(next(lines).split()[1]))

        before = _rss_mib(pid)
        gate = asyncio.Semaphore(200)
        waiters = [_Waiter(n, port, gate) for n in range(1, devices + 1)]
        began = time.perf_counter()
        await asyncio.gather(*(waiter.begin() for waiter in waiters))
        while await waiting() < devices:
            if time.perf_counter() - began > _WAIT_S:
                raise SystemExit(f"only {await waiting()} of {devices} wait")
            await asyncio.sleep(0.05)
        arrived = time.perf_counter() - began
        after = _rss_mib(pid)
        one = await _one(client, waiters[0])
        body = {"device_ids": list(range(2, devices + 1)), "slots": _HOLD}
        tasks = [asyncio.create_task(waiter.end()) for waiter in waiters[1:]]
        asked = time.perf_counter()
        published = await client.put("/v2/schedules", json=body)
        said = time.perf_counter()
        published.raise_for_status()
        await asyncio.gather(*tasks)
    took = sorted(waiter.at - asked for waiter in waiters[1:])
    assert all(b'"version":1' in waiter.body for waiter in waiters)
    return {
        "devices": devices,
        "all_wait_after_s": round(arrived, 2),
        "rss_before_mib": round(before, 1),
        "rss_waiting_mib": round(after, 1),
        "mib_per_1000_waiters": round((after - before) / devices * 1000, 2),
        "one_woken_ms": round(one * 1000, 1),
        "publish_answered_s": round(said - asked, 2),
        "p50_s": round(took[len(took) // 2], 2),
        "p99_s": round(took[int(len(took) * 0.99)], 2),
        "all_s": round(took[-1], 2),
    }


async def _one(client: httpx.AsyncClient, waiter: _Waiter) -> float:
    """Seconds from the answer of a publication to one device until the device has it."""
    task = asyncio.create_task(waiter.end())
    await client.put(f"/v2/devices/{waiter.n}/schedule", json={"slots": _HOLD})
    said = time.perf_counter()
    await task
    return max(0.0, waiter.at - said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    devices = parser.parse_args().devices
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(data=Path(folder) / "data", log=Path(folder) / "log").start()
        try:
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE devices")
            dsn = server.dsn("devices")
            migrate("devices", _ROOT / "services/devices/migrations", {"DEVICES_OWNER_DATABASE_URL": dsn})
            _fill(dsn, devices)
            port = free_port()
            env = {"DEVICES_DATABASE_URL": dsn, "LEGACY_SECRET_KEY": "s", "LEGACY_BACKOFFICE_KEY": _KEY}
            with (Path(folder) / "service.log").open("wb") as log:
                command = ["--interface", "asgi", "--port", str(port), "--backlog", "4096", "--backpressure", "25000"]
                child = subprocess.Popen(
                    [sys.executable, "-m", "granian", *command, "services.devices.app:app"],
                    cwd=_ROOT,
                    env={**os.environ, **env},
                    stdout=log,
                    stderr=log,
                )
            try:
                url = f"http://127.0.0.1:{port}"
                _ready(url)
                print(json.dumps(asyncio.run(_measure(url, port, child.pid, devices)), indent=1))
            finally:
                child.terminate()
                child.wait(30)
        finally:
            server.stop()


def _ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise SystemExit("the service did not come up")


if __name__ == "__main__":
    main()
