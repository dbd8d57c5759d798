"""Batteries as the back office and the devices know them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from legacy_monolith.tests.shapes import answers, formatted, refused
from legacy_monolith.tests.world import World, eventually, unique

LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
DAY = "0000-0500 C2500;0500-1600 H0;1600-2000 D3000"
UNKNOWN = 2**62


@pytest.fixture
def device(world: World) -> dict[str, Any]:
    return world.device(world.known_customer().id)


def token_of(device: dict[str, Any]) -> dict[str, str]:
    return {"X-Device-Token": device["token"]}


def without_token(device: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in device.items() if name != "token"}


class TestRegistration:
    def test_a_device_is_answered_in_full_and_its_token_only_once(self, backoffice: httpx.Client, world: World) -> None:
        customer = world.customer()
        wanted = {
            "serial": unique("BAT"), "customer_id": customer.id, "model": "Powerbox 5",
            "capacity_wh": 10_000, "max_power_w": 5_000,
        }  # fmt: skip
        made = formatted(eventually(lambda: backoffice.post("/api/devices", json=wanted), 201), 201)
        assert made == {
            **wanted, "id": made["id"], "status": "N", "registered": made["registered"], "token": made["token"]
        }  # fmt: skip
        assert LOCAL_TIME.fullmatch(made["registered"])
        assert len(made["token"]) >= 32
        answers(backoffice.get(f"/api/devices/{made['id']}"), 200, without_token(made))

    def test_a_serial_is_registered_once(self, backoffice: httpx.Client, device: dict[str, Any]) -> None:
        answers(backoffice.post("/api/devices", json=without_token(device)), 409, {"error": "serial exists"})

    def test_devices_come_in_pages(self, backoffice: httpx.Client, world: World) -> None:
        customer = world.known_customer()
        made = [without_token(world.device(customer.id)) for _ in range(3)]
        first = made[0]["id"] - 1
        page = formatted(backoffice.get("/api/devices", params={"after": first, "limit": 2}))
        assert [d["id"] for d in page["devices"]] == sorted(d["id"] for d in page["devices"])
        assert page["devices"][0] == made[0]
        assert page["next"] == page["devices"][-1]["id"]
        rest = formatted(backoffice.get("/api/devices", params={"after": page["next"], "limit": 1000}))
        assert made[2] in rest["devices"]

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"serial": None}, 400),
            ({"serial": ["x"]}, 400),
            ({"serial": "x" * 41}, 422),
            ({"model": ""}, 422),
            ({"capacity_wh": "10000"}, 400),
            ({"capacity_wh": 0}, 422),
            ({"max_power_w": 2.5}, 400),
            ({"max_power_w": 2**40}, 422),
            ({"customer_id": "one"}, 400),
        ],
        ids=str,
    )
    def test_a_bad_device_is_refused(self, backoffice: httpx.Client, change: dict[str, object], status: int) -> None:
        good = {"serial": unique(), "customer_id": 1, "model": "m", "capacity_wh": 1, "max_power_w": 1}
        refused(backoffice.post("/api/devices", json={**good, **change}), status)

    def test_an_unknown_customer_is_not_found(self, backoffice: httpx.Client) -> None:
        wanted = {"serial": unique(), "customer_id": UNKNOWN, "model": "m", "capacity_wh": 1, "max_power_w": 1}
        answers(backoffice.post("/api/devices", json=wanted), 404, {"error": "customer not found"})

    def test_an_unknown_device_is_not_found(self, backoffice: httpx.Client) -> None:
        for method, path in (
            ("GET", f"/api/devices/{UNKNOWN}"),
            ("GET", f"/get-schedule/{UNKNOWN}"),
            ("GET", f"/api/devices/{UNKNOWN}/acks"),
        ):
            answers(backoffice.request(method, path), 404, {"error": "device not found"})
        put = backoffice.put(f"/api/devices/{UNKNOWN}/schedule", json={"slots": DAY})
        answers(put, 404, {"error": "device not found"})

    def test_only_the_back_office_manages_devices(
        self, anyone: httpx.Client, world: World, device: dict[str, Any]
    ) -> None:
        customer = world.known_customer()
        for method, path in (
            ("POST", "/api/devices"),
            ("GET", "/api/devices"),
            ("GET", f"/api/devices/{device['id']}"),
            ("PUT", f"/api/devices/{device['id']}/schedule"),
        ):
            answers(anyone.request(method, path), 401, {"error": "authentication required"})
            answers(customer.client.request(method, path), 403, {"error": "forbidden"})
            answers(anyone.request(method, path, headers=token_of(device)), 403, {"error": "forbidden"})


class TestSchedule:
    def test_a_new_device_has_an_empty_schedule(self, anyone: httpx.Client, device: dict[str, Any]) -> None:
        got = anyone.get(f"/get-schedule/{device['id']}", headers=token_of(device))
        empty = {"device_id": device["id"], "version": 0, "slots": "", "updated": None, "commands": []}
        answers(got, 200, empty)

    def test_a_schedule_reaches_its_device_and_grows_by_version(
        self, backoffice: httpx.Client, anyone: httpx.Client, device: dict[str, Any]
    ) -> None:
        path = f"/api/devices/{device['id']}/schedule"
        first = formatted(backoffice.put(path, json={"slots": DAY}))
        assert first == {"device_id": device["id"], "version": 1, "slots": DAY, "updated": first["updated"]}
        assert LOCAL_TIME.fullmatch(first["updated"])
        answers(backoffice.put(path, json={"slots": DAY}), 200, first)
        second = formatted(backoffice.put(path, json={"slots": "0000-2400 H0"}))
        assert (second["version"], second["slots"]) == (2, "0000-2400 H0")
        for client, headers in ((anyone, token_of(device)), (backoffice, {})):
            got = client.get(f"/get-schedule/{device['id']}", headers=headers)
            answers(got, 200, {**second, "commands": []})

    def test_a_schedule_may_be_emptied(self, backoffice: httpx.Client, device: dict[str, Any]) -> None:
        path = f"/api/devices/{device['id']}/schedule"
        backoffice.put(path, json={"slots": DAY})
        assert backoffice.put(path, json={"slots": ""}).json()["slots"] == ""

    @pytest.mark.parametrize(
        "slots",
        [
            "0000-0500 C5001",
            "0000-0500 C0",
            "0000-0500 H1",
            "0000-0500 X100",
            "0000-0500 C0100",
            "0000-0500  C100",
            "0000-0500 C100;",
            "0000-0500 C100;0459-0600 D100",
            "0600-0700 C100;0500-0600 D100",
            "0500-0500 C100",
            "0500-0400 C100",
            "0060-0500 C100",
            "0000-2401 C100",
            "every night",
            ";".join(f"{h:02d}{m:02d}-{h:02d}{m + 1:02d} H0" for h in range(24) for m in range(5)),
        ],
    )
    def test_slots_that_the_device_cannot_follow_are_refused_and_the_old_ones_stay(
        self, backoffice: httpx.Client, device: dict[str, Any], slots: str
    ) -> None:
        path = f"/api/devices/{device['id']}/schedule"
        before = backoffice.put(path, json={"slots": DAY}).json()
        refused(backoffice.put(path, json={"slots": slots}), 422)
        answers(backoffice.get(f"/get-schedule/{device['id']}"), 200, {**before, "commands": []})

    @pytest.mark.parametrize("body", [{}, {"slots": None}, {"slots": 5}, {"slots": []}], ids=str)
    def test_slots_that_are_no_text_are_refused(
        self, backoffice: httpx.Client, device: dict[str, Any], body: dict[str, Any]
    ) -> None:
        refused(backoffice.put(f"/api/devices/{device['id']}/schedule", json=body), 400)

    def test_a_device_sees_its_own_schedule_only(
        self, anyone: httpx.Client, world: World, device: dict[str, Any]
    ) -> None:
        other = world.device(device["customer_id"])
        path = f"/get-schedule/{other['id']}"
        answers(anyone.get(path, headers=token_of(device)), 403, {"error": "forbidden"})
        answers(anyone.get(path, headers={"X-Device-Token": "stolen"}), 401, {"error": "invalid device token"})
        answers(anyone.get(path), 401, {"error": "authentication required"})
        answers(world.known_customer().client.get(path), 403, {"error": "forbidden"})


class TestAcks:
    REPORT = {"ref": "schedule-1", "state": "S", "observed": "2024-05-02T12:00:00", "note": "ok"}

    def test_a_report_is_kept_once_and_activates_the_device(
        self, anyone: httpx.Client, backoffice: httpx.Client, device: dict[str, Any]
    ) -> None:
        path = f"/api/devices/{device['id']}/acks"
        first = formatted(anyone.post(path, json=self.REPORT, headers=token_of(device)), 201)
        expected = {**self.REPORT, "id": first["id"], "device_id": device["id"], "received": first["received"]}
        assert first == expected
        assert LOCAL_TIME.fullmatch(first["received"])
        again = anyone.post(path, json={**self.REPORT, "note": "again"}, headers=token_of(device))
        answers(again, 200, first)
        answers(backoffice.get(path), 200, {"acks": [first], "next": None})
        active = {**without_token(device), "status": "A"}
        answers(backoffice.get(f"/api/devices/{device['id']}"), 200, active)

    def test_the_same_report_many_times_at_once_is_one(self, anyone: httpx.Client, device: dict[str, Any]) -> None:
        path = f"/api/devices/{device['id']}/acks"
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: anyone.post(path, json=self.REPORT, headers=token_of(device)), range(16)))
        assert sorted(r.status_code for r in got) == [200] * 15 + [201]
        assert len({r.content for r in got}) == 1

    def test_reports_come_in_pages_for_the_device_and_the_back_office(
        self, anyone: httpx.Client, backoffice: httpx.Client, device: dict[str, Any]
    ) -> None:
        path = f"/api/devices/{device['id']}/acks"
        made = [
            anyone.post(path, json={**self.REPORT, "state": state}, headers=token_of(device)).json()
            for state in ("D", "S", "F", "X")
        ]
        page = anyone.get(path, params={"limit": 3}, headers=token_of(device))
        answers(page, 200, {"acks": made[:3], "next": made[2]["id"]})
        answers(backoffice.get(path, params={"after": made[2]["id"]}), 200, {"acks": made[3:], "next": None})

    def test_a_note_may_be_left_out(self, anyone: httpx.Client, device: dict[str, Any]) -> None:
        report = {name: value for name, value in self.REPORT.items() if name != "note"}
        made = anyone.post(f"/api/devices/{device['id']}/acks", json=report, headers=token_of(device))
        assert made.json()["note"] == ""

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"ref": None}, 400),
            ({"ref": 1}, 400),
            ({"ref": "x" * 65}, 422),
            ({"state": "Q"}, 422),
            ({"state": 1}, 400),
            ({"observed": "now"}, 400),
            ({"observed": "2024-05-02T12:00:00Z"}, 400),
            ({"observed": "2024-03-31T02:30:00"}, 422),
            ({"note": "x" * 201}, 422),
        ],
        ids=str,
    )
    def test_a_bad_report_is_refused_and_not_kept(
        self,
        anyone: httpx.Client,
        backoffice: httpx.Client,
        device: dict[str, Any],
        change: dict[str, object],
        status: int,
    ) -> None:
        path = f"/api/devices/{device['id']}/acks"
        refused(anyone.post(path, json={**self.REPORT, **change}, headers=token_of(device)), status)
        answers(backoffice.get(path), 200, {"acks": [], "next": None})

    def test_only_the_device_itself_reports(
        self, anyone: httpx.Client, backoffice: httpx.Client, world: World, device: dict[str, Any]
    ) -> None:
        path = f"/api/devices/{device['id']}/acks"
        other = world.device(device["customer_id"])
        answers(anyone.post(path, json=self.REPORT), 401, {"error": "authentication required"})
        answers(backoffice.post(path, json=self.REPORT), 403, {"error": "forbidden"})
        answers(anyone.post(path, json=self.REPORT, headers=token_of(other)), 403, {"error": "forbidden"})
        answers(anyone.get(path, headers=token_of(other)), 403, {"error": "forbidden"})
        wrong = anyone.post(path, json=self.REPORT, headers={"X-Device-Token": "x"})
        answers(wrong, 401, {"error": "invalid device token"})
