"""One percent of the devices moves to its service and back, and who has another device does not notice."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

import httpx
import pytest

from gateway.routing.bucket import bucket
from tests.e2e.conftest import Stack
from tests.e2e.journey import clients

FIRST = range(10)  # the buckets of the plan's first wave
SLOTS = "0000-0500 C{power}"


def register(client: httpx.Client, customer: int) -> int:
    fields = {"customer_id": customer, "model": "wave", "capacity_wh": 10_000, "max_power_w": 5_000}
    answer = client.post("/api/devices", json={**fields, "serial": f"wave-{uuid.uuid4().hex[:20]}"})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


class Owners(threading.Thread):
    """Write and read schedules of devices without pause, and remember how long that took, and what was not well."""

    def __init__(self, stack: Stack, devices: list[int]) -> None:
        super().__init__(daemon=True)
        self._stack, self._devices = stack, devices
        self._halt = threading.Event()
        self.seen: list[tuple[float, float]] = []  # when, seconds
        self.failed: list[str] = []

    def run(self) -> None:
        with self._stack.client() as client:
            number = 0
            while not self._halt.wait(0.02):
                number += 1
                device, slots = self._devices[number % len(self._devices)], SLOTS.format(power=1 + number % 4_000)
                began = time.monotonic()
                put = client.put(f"/api/devices/{device}/schedule", json={"slots": slots})
                got = client.get(f"/get-schedule/{device}")
                self.seen.append((began, time.monotonic() - began))
                if (put.status_code, got.status_code) != (200, 200) or got.json()["slots"] != slots:
                    self.failed.append(f"{device}: {put.status_code}, {got.status_code} {got.text[:200]}")

    def end(self) -> None:
        self._halt.set()
        self.join(20)

    def p99(self, since: float, until: float) -> float:
        times = sorted(seconds for at, seconds in self.seen if since <= at < until)
        assert len(times) > 20, "too few calls to say anything"
        return times[int(len(times) * 0.99)]


def waves(stack: Stack) -> list[dict[str, Any]]:
    found = json.loads(stack.banyan("status", "--json").stdout)["domains"]
    waves: list[dict[str, Any]] = next(domain for domain in found if domain["domain"] == "devices")["waves"]
    return waves


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_wave_of_one_percent_of_devices_switches_and_rolls_back_and_the_others_do_not_notice(stack: Stack) -> None:
    step = ("--wave", "0", "--yes", "--reason", "test")
    with stack.client() as client:
        customer = client.get("/api/customers?limit=1").json()["customers"][0]["id"]
        fleet = [register(client, customer) for _ in range(30)]
        others = [device for device in fleet if bucket(str(device)) not in FIRST]
        owners = Owners(stack, others)
        owners.start()
        try:
            with clients(stack, "devices"):  # nothing of these fails or is lost either; some have a device of the wave
                quiet = time.monotonic()
                stack.banyan("advance", "devices", *step)
                for _ in range(2):
                    stack.banyan("advance", "devices", *step, "--force-gate", "shadow")  # that is not the matter here
                moving = time.monotonic()
                stack.banyan("switch", "devices", *step, "--force-gate", "pause", timeout=180)
                assert [wave["owner"] for wave in waves(stack)] == ["service", "legacy", "legacy", "legacy"]
                new = [register(client, customer) for _ in range(10)]
                assert not [device for device in new if bucket(str(device)) in FIRST], "legacy owns the others"
                stack.banyan("rollback", "devices", *step, "--force-gate", "pause", timeout=180)
                over = time.monotonic()
        finally:
            owners.end()
            while (wave := waves(stack)[0])["phase"] != "legacy" or wave["owner"] != "legacy":
                stack.banyan("rollback", "devices", "--wave", "0", "--yes", "--reason", "test", timeout=180)
    assert owners.failed == []
    before, during = owners.p99(quiet, moving), owners.p99(moving, over)
    assert during < 3 * before + 0.1, f"p99 {before * 1000:.0f} ms before, {during * 1000:.0f} ms meanwhile"
