"""Schedules of the fleet: versions, conflicts that are all told at once, fallbacks, one for many."""

from __future__ import annotations

import pytest

from tests.integration.services.conftest import Client
from tests.integration.services.fleet.batteries import DAY, Battery, register
from tests.integration.services.processes import BACK_OFFICE

HOLD = [{"from": "00:00", "to": "24:00", "mode": "hold", "power_w": 0}]


async def test_a_schedule_gets_a_version_with_each_change_and_keeps_the_former_ones(battery: Battery) -> None:
    for slots, version in ((DAY, 1), (DAY, 1), (HOLD, 2), (DAY, 3)):
        put = await battery.publish(slots)
        assert (put.status_code, put.json()["version"]) == (200, version), put.text
    got = await battery.document()
    assert (got.json()["version"], got.json()["slots"]) == (3, DAY)
    first = (await battery.office("GET", "/schedule/versions?limit=2")).json()
    assert [(item["version"], item["slots"]) for item in first["items"]] == [(3, DAY), (2, HOLD)]
    rest = (await battery.office("GET", f"/schedule/versions?limit=2&cursor={first['next_cursor']}")).json()
    assert ([item["version"] for item in rest["items"]], rest["next_cursor"]) == ([1], None)


async def test_all_conflicts_are_told_at_once_and_nothing_is_changed(battery: Battery) -> None:
    await battery.publish(DAY)
    wrong = [
        {"from": "00:00", "to": "05:00", "mode": "charge", "power_w": 9000},
        {"from": "04:00", "to": "06:00", "mode": "hold", "power_w": 0},
        {"from": "23:00", "to": "25:00", "mode": "hold", "power_w": 0},
    ]
    answer = await battery.publish(wrong, fallback=[wrong[0]])
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:banyan:schedule-conflicts")
    found = [(c["of"], c["slot"], c["kind"]) for c in answer.json()["conflicts"]]
    assert found == [("slots", 0, "power"), ("slots", 1, "overlap"), ("slots", 2, "time"), ("fallback", 0, "power")]
    got = (await battery.document()).json()
    assert (got["version"], got["fallback"]["version"]) == (1, 0)


async def test_more_energy_than_the_battery_holds_must_be_meant(battery: Battery) -> None:
    much = [{"from": "00:00", "to": "05:00", "mode": "charge", "power_w": 2500}]
    refused = await battery.publish(much)
    assert [c["kind"] for c in refused.json()["conflicts"]] == ["soc"]
    meant = await battery.publish(much, accept=["soc"])
    assert meant.status_code == 200
    assert {c["kind"] for c in meant.json()["warnings"]} == {"soc", "dst"}


async def test_a_fallback_has_a_version_of_its_own_and_stays_when_it_is_left_out(battery: Battery) -> None:
    first = await battery.publish(DAY, fallback=HOLD, fallback_after_s=3600)
    etag = (await battery.document()).headers["ETag"]
    again = await battery.publish(DAY)
    assert (first.json()["fallback_version"], again.json()["fallback_version"]) == (1, 1)
    assert (await battery.document(**{"If-None-Match": etag})).status_code == 304
    changed = await battery.publish(DAY, fallback=HOLD, fallback_after_s=7200)
    assert (changed.json()["version"], changed.json()["fallback_version"]) == (1, 2)
    got = await battery.document(**{"If-None-Match": etag})
    assert got.json()["fallback"] == {"version": 2, "after_s": 7200, "slots": HOLD}


async def test_who_has_seen_an_older_document_does_not_overwrite_a_newer_one(battery: Battery) -> None:
    await battery.publish(DAY)
    etag = (await battery.document()).headers["ETag"]
    ours = await battery.client.put(
        f"/v2/devices/{battery.id}/schedule", json={"slots": HOLD}, headers={**BACK_OFFICE, "If-Match": etag}
    )
    theirs = await battery.client.put(
        f"/v2/devices/{battery.id}/schedule", json={"slots": DAY}, headers={**BACK_OFFICE, "If-Match": etag}
    )
    assert (ours.status_code, theirs.status_code) == (200, 412)


async def test_one_schedule_for_many_is_for_all_or_none(client: Client) -> None:
    fleet = [await register(client, f"B{n}") for n in range(3)]
    await fleet[0].publish(DAY)
    ids = [battery.id for battery in fleet]
    refused = await client.put("/v2/schedules", json={"device_ids": [*ids, 999], "slots": DAY}, headers=BACK_OFFICE)
    assert refused.status_code == 422
    assert (await fleet[1].document()).json()["version"] == 0
    done = await client.put("/v2/schedules", json={"device_ids": [*ids, ids[0]], "slots": DAY}, headers=BACK_OFFICE)
    assert done.json() == {"changed": 2, "unchanged": 1}
    assert [(await battery.document()).json()["slots"] for battery in fleet] == [DAY] * 3


async def test_the_monoliths_way_of_putting_a_schedule_makes_versions_too(battery: Battery) -> None:
    path = f"/api/devices/{battery.id}/schedule"
    await battery.client.put(path, json={"slots": "0000-2400 H0"}, headers=BACK_OFFICE)
    assert [v["version"] for v in (await battery.office("GET", "/schedule/versions")).json()["items"]] == [1]


async def test_only_the_back_office_publishes(battery: Battery) -> None:
    assert (await battery.ask("PUT", "/schedule", json={"slots": DAY})).status_code == 403
    body = {"device_ids": [battery.id], "slots": DAY}
    assert (await battery.client.put("/v2/schedules", json=body, headers=battery.bearer)).status_code == 403


@pytest.mark.parametrize(
    "body",
    [{}, {"slots": [{"from": "00:00", "to": "01:00", "mode": "sell", "power_w": 1}]}, {"slots": DAY * 97},
     {"slots": DAY, "accept": ["power"]}, {"slots": DAY, "more": 1}],
)  # fmt: skip
async def test_a_body_that_cannot_be_read_is_refused(battery: Battery, body: dict[str, object]) -> None:
    answer = await battery.office("PUT", "/schedule", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
