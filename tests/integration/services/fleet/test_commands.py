"""Commands: asynchronous, followed by a correlation id, superseded, expired, dead and replayed, fenced by the epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cdc.guard.install import install, uninstall
from cdc.guard.ownership import fence, read_ownership, set_owner
from cdc.guard.waves import WHOLE
from cdc.mapping.load import load
from tests.integration.services.conftest import Client
from tests.integration.services.fleet.batteries import DAY, Battery
from tests.integration.services.processes import BACK_OFFICE, ROOT

EPOCH = "Banyan-Assignment-Epoch"


async def command(battery: Battery, correlation_id: str) -> dict[str, Any]:
    got = await battery.client.get(f"/v2/commands/{correlation_id}", headers=BACK_OFFICE)
    assert got.status_code == 200, got.text
    return dict(got.json())


async def sweep(client: Client, after: timedelta) -> int:
    return int(await client.app.state.sweeping.sweep(datetime.now(UTC) + after))


async def test_a_command_is_accepted_given_delivered_and_done(battery: Battery) -> None:
    made = await battery.command()
    assert (made.status_code, made.json()["state"]) == (202, "queued"), made.text
    id_ = made.json()["correlation_id"]
    assert made.headers["Location"] == f"/v2/commands/{id_}"
    (given,) = (await battery.document()).json()["commands"]
    assert (given["ref"], given["correlation_id"], given["power_w"]) == (made.json()["ref"], id_, 100)
    await battery.client.app.state.given.note()  # type: ignore[union-attr]
    assert (await command(battery, id_))["state"] == "sent"
    for state in ("delivered", "succeeded"):
        await battery.ack(given["ref"], state)
        assert (await command(battery, id_))["state"] == state
    history = (await command(battery, id_))["history"]
    assert [step["state"] for step in history] == ["queued", "sent", "delivered", "succeeded"]
    assert history[-1]["observed_at"] == "2024-07-01T10:00:00Z"


async def test_reports_in_any_order_end_in_the_same_way(battery: Battery) -> None:
    made = (await battery.command()).json()
    first = await battery.ack(made["ref"], "succeeded", "delivered")
    assert first.json() == {"accepted": 2, "duplicates": 0, "stale": 0}
    again = await battery.ack(made["ref"], "delivered", "succeeded")
    assert again.json() == {"accepted": 0, "duplicates": 2, "stale": 0}
    assert (await command(battery, made["correlation_id"]))["state"] == "succeeded"


async def test_a_newer_command_supersedes_the_open_one(battery: Battery) -> None:
    old = (await battery.command(power_w=100)).json()
    new = (await battery.command(power_w=200)).json()
    assert [c["ref"] for c in (await battery.document()).json()["commands"]] == [new["ref"]]
    assert (await command(battery, old["correlation_id"]))["state"] == "superseded"
    assert (await command(battery, new["correlation_id"]))["supersedes"] == old["ref"]
    await battery.ack(old["ref"], "succeeded")
    assert (await command(battery, old["correlation_id"]))["state"] == "superseded"


async def test_a_command_is_taken_back(battery: Battery) -> None:
    made = (await battery.command()).json()
    etag = (await battery.document()).headers["ETag"]
    path = f"/v2/commands/{made['correlation_id']}"
    gone = await battery.client.delete(path, headers=BACK_OFFICE)
    assert (gone.status_code, gone.json()["state"], gone.json()["note"]) == (202, "superseded", "cancelled")
    got = await battery.document(**{"If-None-Match": etag})
    assert (got.status_code, got.json()["commands"]) == (200, [])


async def test_the_same_key_is_the_same_command(battery: Battery) -> None:
    first, second = [await battery.command(idempotency_key="k") for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["ref"] == second.json()["ref"]


async def test_a_refusal_is_known_here_and_a_failure_to_the_monolith(battery: Battery) -> None:
    made = (await battery.command()).json()
    await battery.ack(made["ref"], "rejected")
    assert (await command(battery, made["correlation_id"]))["state"] == "rejected"
    listed = await battery.client.get(f"/api/devices/{battery.id}/acks", headers=BACK_OFFICE)
    assert [ack["state"] for ack in listed.json()["acks"]] == ["F"]


async def test_time_ends_what_nobody_answers(client: Client, battery: Battery) -> None:
    unsent = (await battery.command()).json()
    assert await sweep(client, timedelta(seconds=599)) == 0
    assert await sweep(client, timedelta(seconds=601)) == 1
    assert (await command(battery, unsent["correlation_id"]))["state"] == "expired"
    sent = (await battery.command()).json()
    await battery.document()
    await client.app.state.given.note()
    assert await sweep(client, timedelta(seconds=601)) == 0
    assert await sweep(client, timedelta(seconds=661)) == 1
    assert (await command(battery, sent["correlation_id"]))["state"] == "timed_out"
    await battery.ack(sent["ref"], "succeeded")
    assert (await command(battery, sent["correlation_id"]))["state"] == "succeeded", "a late word is better than none"


async def test_dead_letters_are_seen_and_replayed_once(client: Client, battery: Battery) -> None:
    dead = []
    for state in ("failed", "rejected"):
        made = (await battery.command(power_w=300)).json()
        await battery.ack(made["ref"], state)
        dead.append(made["correlation_id"])
    page = (await client.get("/v2/dead-letters?limit=1", headers=BACK_OFFICE)).json()
    rest = (await client.get(f"/v2/dead-letters?cursor={page['next_cursor']}", headers=BACK_OFFICE)).json()
    assert [item["correlation_id"] for item in (*page["items"], *rest["items"])] == dead[::-1]
    path = f"/v2/dead-letters/{dead[0]}/replay"
    again = await client.post(path, json={}, headers=BACK_OFFICE)
    twice = await client.post(path, json={}, headers=BACK_OFFICE)
    assert (again.status_code, twice.status_code) == (202, 200)
    assert again.json() == twice.json()
    shown = await command(battery, again.json()["correlation_id"])
    assert (shown["replay_of"], shown["mode"], shown["power_w"]) == (dead[0], "charge", 300)
    live = await client.post(f"/v2/dead-letters/{again.json()['correlation_id']}/replay", json={}, headers=BACK_OFFICE)
    assert live.status_code == 409


async def test_a_devices_commands_are_listed_newest_first(battery: Battery) -> None:
    made = [(await battery.command()).json()["ref"] for _ in range(3)]
    first = (await battery.office("GET", "/commands?limit=2")).json()
    rest = (await battery.office("GET", f"/commands?limit=2&cursor={first['next_cursor']}")).json()
    assert [item["ref"] for item in (*first["items"], *rest["items"])] == made[::-1]
    only = (await battery.office("GET", "/commands?state=queued")).json()["items"]
    assert [item["ref"] for item in only] == made[-1:]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"mode": "hold", "power_w": 1}, 422), ({"mode": "charge", "power_w": 0}, 422),
        ({"mode": "charge", "power_w": 5001}, 422), ({"mode": "sell"}, 400), ({"duration_s": 0}, 400),
        ({"idempotency_key": ""}, 400), ({"more": 1}, 400),
    ],
)  # fmt: skip
async def test_a_bad_command_is_refused(battery: Battery, body: dict[str, Any], status: int) -> None:
    answer = await battery.command(**body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (await battery.document()).json()["commands"] == []


class Guard:
    """The real one, in this database."""

    def __init__(self, rows: psycopg.Connection[Any]) -> None:
        self._rows = rows
        install(rows, load(ROOT / "migration_plan" / "mappings" / "devices.yaml"), "service", WHOLE)

    @property
    def epoch(self) -> int:
        return read_ownership(self._rows, "devices")[0].epoch

    def give(self, owner: str) -> None:
        fence(self._rows, "devices", 0, self.epoch, 500) if owner == "legacy" else None
        set_owner(self._rows, "devices", 0, owner, self.epoch, self.epoch + 1)


async def test_a_command_of_an_older_epoch_is_not_sent_and_does_not_follow_its_reports(
    battery: Battery, rows: psycopg.Connection[Any]
) -> None:
    guard = Guard(rows)
    guard.give("service")
    old = (await battery.command()).json()
    assert old["assignment_epoch"] == guard.epoch
    document = await battery.document()
    assert document.headers[EPOCH] == str(guard.epoch) == str(document.json()["assignment_epoch"])
    guard.give("legacy")
    assert (await battery.command()).status_code == 421
    guard.give("service")
    got = await battery.document(**{"If-None-Match": document.headers["ETag"]})
    assert (got.status_code, got.json()["commands"], got.json()["assignment_epoch"]) == (200, [], guard.epoch)
    late = await battery.ack(old["ref"], "succeeded")
    assert late.json() == {"accepted": 1, "duplicates": 0, "stale": 1}
    assert (await command(battery, old["correlation_id"]))["state"] != "succeeded"


async def test_a_device_that_knows_a_newer_epoch_is_commanded_by_others(
    battery: Battery, rows: psycopg.Connection[Any]
) -> None:
    guard = Guard(rows)
    guard.give("service")
    await battery.publish(DAY)
    ahead = {EPOCH: str(guard.epoch + 1)}
    for answer in (await battery.document(**ahead), await battery.ack("x", "succeeded", **ahead)):
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:banyan:stale-assignment")
        assert answer.json()["epoch"] == guard.epoch
    etag = (await battery.document()).headers["ETag"]
    behind = {EPOCH: str(guard.epoch - 1), "If-None-Match": etag}
    assert (await battery.document(**behind)).status_code == 200
    assert (await battery.document(**{EPOCH: str(guard.epoch), "If-None-Match": etag})).status_code == 304


async def test_no_epoch_falls_when_the_guard_goes_for_good(
    client: Client, battery: Battery, rows: psycopg.Connection[Any]
) -> None:
    guard = Guard(rows)
    guard.give("service")
    epoch = guard.epoch
    await client.app.state.presence.remember_epochs()
    uninstall(rows, load(ROOT / "migration_plan" / "mappings" / "devices.yaml"), "service")
    assert (await battery.document()).json()["assignment_epoch"] == epoch
    assert (await battery.command()).json()["assignment_epoch"] == epoch


async def test_the_role_that_serves_may_see_the_epoch(dsn: str, rows: psycopg.Connection[Any]) -> None:
    rows.execute("DROP ROLE IF EXISTS devices_sees")
    rows.execute("CREATE ROLE devices_sees")
    rows.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO devices_sees")
    try:
        before = rows.execute("SELECT count(*) FROM assignments()").fetchone()
        Guard(rows)
        rows.execute("SET ROLE devices_sees")
        after = rows.execute("SELECT count(*) FROM assignments()").fetchone()
    finally:
        rows.execute("RESET ROLE")
        rows.execute("DROP OWNED BY devices_sees; DROP ROLE devices_sees")
    assert (before, after) == ((0,), (1,))
