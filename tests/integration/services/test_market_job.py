"""The market's job over a real source, database and guard: prices in, commands out, only where the service owns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
from litestar.testing import AsyncTestClient
from sqlalchemy.ext.asyncio import AsyncEngine

from banyan.servers import Postgres
from cdc.guard.install import install
from cdc.guard.ownership import fence, read_ownership, set_owner
from cdc.guard.waves import WHOLE, Wave
from cdc.mapping.load import load
from services.chassis.auth import token_sha1
from services.chassis.database import create_engine
from services.chassis.metrics import Metrics
from services.devices.market.job import Job
from services.devices.market.metrics import MarketMetrics
from services.devices.market.source import Source
from services.devices.service import devices
from tests.integration.services.conftest import settings
from tests.integration.services.market_source import MarketSource, serving
from tests.integration.services.processes import BACK_OFFICE, ROOT, migrated

NOW = datetime(2024, 5, 2, 12, 0, 5, tzinfo=UTC)
MINUTE = NOW.replace(second=0)
FLEET = 40
Rows = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def source() -> Iterator[MarketSource]:
    with serving() as made:
        yield made


@pytest.fixture
def dsn(service_postgres: Postgres) -> str:
    """Forty active batteries, one that is new and one that is retired."""
    made = migrated(service_postgres, "devices")
    with psycopg.connect(made) as connection:
        connection.execute(
            "INSERT INTO devices (id, serial, customer_id, model, capacity_wh, max_power_w, state, token_sha1)"
            " SELECT n, 's' || n, 1, 'P', 10000, 5000,"
            " CASE n WHEN 41 THEN 'new' WHEN 42 THEN 'retired' ELSE 'active' END, n FROM generate_series(1, 42) n"
        )
    return made


@pytest.fixture
def rows(dsn: str) -> Iterator[Rows]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda query, *values: connection.execute(query, values or None).fetchall()


@pytest.fixture
async def engine(dsn: str) -> AsyncIterator[AsyncEngine]:
    made = create_engine(settings("devices", dsn))
    yield made
    await made.dispose()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class World:
    """A job whose clock the test moves, and what it counted."""

    def __init__(self, engine: AsyncEngine, source: MarketSource) -> None:
        self.clock, self.metrics = Clock(), Metrics("devices")
        where = Source(source.url, "elia", "NL")
        self.job = Job(engine, self.metrics, MarketMetrics(self.metrics.registry), where, now=self.clock, pause=0.001)

    async def minute(self) -> bool:
        """Ask, tell, deliver; whether there was a price to tell."""
        async with httpx.AsyncClient() as client:
            told = await self.job.once(client)
        await self.job.deliver()
        return told

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"banyan_devices_{name}", labels) or 0.0


@pytest.fixture
def world(engine: AsyncEngine, source: MarketSource) -> World:
    return World(engine, source)


def results(world: World) -> dict[str, float]:
    names = ("written", "idle", "repeated", "foreign")
    return {name: n for name in names if (n := world.counted("market_commands_total", result=name))}


async def test_a_price_below_zero_charges_every_active_battery_for_two_minutes(
    world: World, source: MarketSource, rows: Rows
) -> None:
    source.tell(MINUTE, -20)
    assert await world.minute()
    made = rows("SELECT device_id, ref, mode, power_w, state, issued_at, expires_at FROM commands ORDER BY device_id")
    assert [row[0] for row in made] == list(range(1, FLEET + 1))
    assert made[6][1:] == (
        "imb-202405021200-7", "charge", 5000, "queued", NOW, NOW + timedelta(minutes=2),
    )  # fmt: skip
    assert results(world) == {"written": FLEET}


async def test_the_same_minute_again_from_several_processes_writes_nothing_more(
    world: World, engine: AsyncEngine, source: MarketSource, rows: Rows
) -> None:
    source.tell(MINUTE, -20)
    others = [World(engine, source) for _ in range(2)]
    told = await asyncio.gather(*(each.minute() for each in (world, *others)))
    assert sum(told) == 1
    assert rows("SELECT count(*) FROM commands") == [(FLEET,)]
    assert not await world.minute()
    assert rows("SELECT count(*), count(DISTINCT message_id) FROM outbox WHERE topic = 'imbalance.tick'") == [(1, 1)]


async def test_a_price_that_is_not_telling_leaves_batteries_to_their_schedule(
    world: World, source: MarketSource, rows: Rows
) -> None:
    source.tell(MINUTE, 80)
    assert await world.minute()
    assert rows("SELECT count(*) FROM commands") == [(0,)]


async def test_a_price_that_is_old_is_not_acted_on(world: World, source: MarketSource, rows: Rows) -> None:
    source.tell(MINUTE - timedelta(minutes=16), -400)
    assert not await world.minute()
    assert rows("SELECT count(*) FROM commands") == [(0,)]


async def test_a_correction_is_a_new_revision_and_the_same_again_is_none(
    world: World, source: MarketSource, rows: Rows
) -> None:
    source.tell(MINUTE, -20)
    await world.minute()
    await world.minute()
    source.tell(MINUTE, -25)
    await world.minute()
    source.tell(MINUTE, -25, "Validated")
    await world.minute()
    source.tell(MINUTE, 99)  # a provisional price that comes after the validated one
    await world.minute()
    assert rows("SELECT revision, price::text, quality FROM imbalance_prices ORDER BY revision") == [
        (1, "-20.00", "provisional"), (2, "-25.00", "provisional"), (3, "-25.00", "validated"),
    ]  # fmt: skip
    assert world.counted("imbalance_revisions_total") == 3


async def test_a_source_that_stumbles_is_asked_again(world: World, source: MarketSource) -> None:
    source.failures = [503, 429, 500]
    source.tell(MINUTE, -20)
    assert await world.minute()
    assert source.asked == 4


@pytest.mark.parametrize(
    ("failures", "raw", "asked", "result"),
    [([500] * 9, None, 4, "SourceAway"), ([404], None, 1, "BadData"), ([], b"<html>", 1, "BadData")],
)
async def test_a_source_that_is_away_or_talks_nonsense_changes_nothing_and_is_counted(
    world: World, source: MarketSource, rows: Rows, failures: list[int], raw: bytes | None, asked: int, result: str
) -> None:
    source.failures, source.raw = failures, raw
    assert not await world.minute()
    assert (source.asked, world.counted("imbalance_runs_total", result=result)) == (asked, 1)
    assert rows("SELECT count(*) FROM imbalance_prices") == [(0,)]


async def test_the_last_price_counts_while_the_source_is_away_until_it_is_old(
    world: World, source: MarketSource, rows: Rows
) -> None:
    source.tell(MINUTE, -20)
    await world.minute()
    source.failures = [500] * 9
    world.clock.now += timedelta(minutes=5)
    assert await world.minute()
    assert rows("SELECT count(*) FROM commands") == [(2 * FLEET,)]
    source.failures = [500] * 9
    world.clock.now += timedelta(minutes=11)
    assert not await world.minute()


async def test_missing_minutes_are_counted_as_gaps(world: World, source: MarketSource) -> None:
    for ago in (0, 1, 3, 7):
        source.tell(MINUTE - timedelta(minutes=ago), 80)
    await world.minute()
    assert world.counted("imbalance_gaps") == 4
    assert world.counted("imbalance_price_timestamp_seconds") == MINUTE.timestamp()


async def test_a_message_that_comes_too_late_dies(world: World, source: MarketSource, rows: Rows) -> None:
    source.tell(MINUTE, -20)
    async with httpx.AsyncClient() as client:
        assert await world.job.once(client)
    world.clock.now += timedelta(seconds=61)
    await world.job.deliver()
    assert rows("SELECT count(*) FROM commands") == [(0,)]
    assert rows("SELECT count(*) FROM outbox WHERE done_at IS NULL") == [(0,)]
    assert world.counted("market_stale_total", topic="imbalance.tick") == 1


async def test_a_full_battery_is_not_charged_and_one_that_has_just_begun_goes_on(
    world: World, source: MarketSource, rows: Rows
) -> None:
    rows("INSERT INTO battery_states (device_id, soc, soc_at) VALUES (1, 0.97, %s), (2, 0.5, %s) RETURNING 1", NOW, NOW)
    history = [(MINUTE - timedelta(minutes=n), 80) for n in range(1, 100)]
    for at, price in [*history, (MINUTE, -300)]:
        source.tell(at, price)
    await world.minute()
    assert rows("SELECT mode FROM commands WHERE device_id IN (1, 2)") == [("charge",)]
    assert rows("SELECT device_id, mode, since FROM battery_states WHERE device_id IN (1, 2) ORDER BY 1") == [
        (1, "idle", None), (2, "charge", MINUTE),
    ]  # fmt: skip
    world.clock.now += timedelta(minutes=1)
    source.tell(MINUTE + timedelta(minutes=1), 80)
    await world.minute()
    again = rows("SELECT device_id FROM commands WHERE ref LIKE 'imb-202405021201-%%'")
    assert again == [(2,)], "the dwell of a battery whose charge is known; the others follow the price"


@pytest.fixture
def guard(dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    mapping = load(ROOT / "migration_plan" / "mappings" / "devices.yaml")
    with psycopg.connect(dsn, autocommit=True) as connection:
        install(connection, mapping, "service", WHOLE)
        yield connection


async def test_the_job_writes_exactly_while_the_service_owns_the_devices(
    world: World, source: MarketSource, rows: Rows, guard: psycopg.Connection[tuple[object, ...]]
) -> None:
    (wave,) = read_ownership(guard, "devices")
    source.tell(MINUTE, -20)
    await world.minute()
    assert (results(world), rows("SELECT count(*) FROM commands")) == ({"foreign": FLEET}, [(0,)])
    assert rows("SELECT count(*) FROM battery_states") == [(0,)], "what another side's battery does is not ours"

    set_owner(guard, "devices", 0, "service", wave.epoch, wave.epoch + 1)
    world.clock.now += timedelta(minutes=1)
    source.tell(MINUTE + timedelta(minutes=1), -20)
    await world.minute()
    assert rows("SELECT count(*) FROM commands") == [(FLEET,)]
    assert results(world) == {"foreign": FLEET, "written": FLEET}

    fence(guard, "devices", 0, wave.epoch + 1, 500)
    world.clock.now += timedelta(minutes=1)
    source.tell(MINUTE + timedelta(minutes=2), -20)
    await world.minute()
    assert rows("SELECT count(*) FROM commands") == [(FLEET,)]
    assert results(world) == {"foreign": 2 * FLEET, "written": FLEET}


async def test_a_fleet_that_another_side_owns_costs_three_statements_a_part(
    world: World, source: MarketSource, rows: Rows, guard: psycopg.Connection[tuple[object, ...]]
) -> None:
    guard.execute("CREATE SEQUENCE tries; GRANT ALL ON tries TO PUBLIC")
    guard.execute("CREATE FUNCTION count_try() RETURNS trigger LANGUAGE plpgsql AS $$"
                  " BEGIN PERFORM nextval('tries'); RETURN NULL; END $$")  # fmt: skip
    guard.execute("CREATE TRIGGER a_try BEFORE INSERT ON commands FOR EACH STATEMENT EXECUTE FUNCTION count_try()")
    source.tell(MINUTE, -20)
    await world.minute()
    assert results(world) == {"foreign": FLEET}
    assert rows("SELECT last_value FROM tries") == [(3,)]


async def test_of_a_fleet_in_waves_those_that_have_moved_are_commanded(
    world: World, source: MarketSource, rows: Rows, dsn: str
) -> None:
    waves = [Wave(0, 0, 300), Wave(1, 300, 1024)]
    mapping = load(ROOT / "migration_plan" / "mappings" / "devices.yaml")
    with psycopg.connect(dsn, autocommit=True) as guard:
        install(guard, mapping, "service", waves)
        wave = read_ownership(guard, "devices")[0]
        set_owner(guard, "devices", 0, "service", wave.epoch, wave.epoch + 1)
    moved = {id_ for (id_,) in rows("SELECT id FROM devices WHERE state = 'active' AND banyan.bucket(id::text) < 300")}
    assert 0 < len(moved) < FLEET
    source.tell(MINUTE, 400)
    await world.minute()
    assert {id_ for (id_,) in rows("SELECT device_id FROM commands WHERE mode = 'discharge'")} == moved
    assert results(world) == {"written": len(moved), "foreign": FLEET - len(moved)}


async def test_a_command_that_the_monolith_wrote_this_minute_is_not_written_again(
    world: World, source: MarketSource, rows: Rows
) -> None:
    """The wave moved in the middle of a minute, and the stream brought what the monolith had written."""
    rows(
        "INSERT INTO commands (device_id, ref, mode, power_w, state, issued_at, expires_at)"
        " VALUES (7, 'imb-202405021200-7', 'charge', 5000, 'queued', now(), now()) RETURNING 1"
    )
    source.tell(MINUTE, -20)
    await world.minute()
    assert rows("SELECT count(*) FROM commands WHERE device_id = 7") == [(1,)]
    assert results(world) == {"written": FLEET - 1, "repeated": 1}


async def test_a_service_that_knows_a_source_runs_the_job_by_itself(dsn: str, source: MarketSource, rows: Rows) -> None:
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    for n in range(3):
        source.tell(minute + timedelta(minutes=n), -20)
    async with AsyncTestClient(devices(settings("devices", dsn), Source(source.url, "elia", "NL"))) as client:
        async with asyncio.timeout(20):
            while rows("SELECT count(*) FROM commands") == [(0,)]:
                await asyncio.sleep(0.05)
        metrics = (await client.get("/metrics")).text
    assert 'banyan_devices_imbalance_runs_total{result="ok"}' in metrics


async def test_a_battery_tells_its_charge_and_an_older_report_changes_nothing(dsn: str, rows: Rows) -> None:
    now = datetime.now(UTC)
    async with AsyncTestClient(devices(settings("devices", dsn))) as client:
        rows("UPDATE devices SET token_sha1 = %s WHERE id = 1 RETURNING 1", token_sha1("t"))

        async def tell(soc: float, ago: int, device: int = 1) -> tuple[int, object]:
            body = {"soc": soc, "observed_at": (now - timedelta(seconds=ago)).isoformat()}
            answer = await client.post(f"/v2/devices/{device}/charge", json=body, headers={"Authorization": "Bearer t"})
            return answer.status_code, answer.json().get("kept")

        assert await tell(0.5, 10) == (200, True)
        assert await tell(0.9, 20) == (200, False)
        assert rows("SELECT soc FROM battery_states WHERE device_id = 1") == [(0.5,)]
        assert [(await tell(*wrong))[0] for wrong in ((1.2, 0), (0.5, -600), (0.5, 10, 2))] == [400, 422, 403]


async def test_the_back_office_sees_the_newest_price_its_age_and_its_gaps(
    world: World, source: MarketSource, dsn: str
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    world.clock.now = now
    async with AsyncTestClient(devices(settings("devices", dsn))) as client:
        client.headers.update(BACK_OFFICE)
        assert (await client.get("/v2/imbalance")).json() == {
            "job": False, "area": "NL", "price": None, "starts_at": None, "minutes": None, "quality": None,
            "fresh": False, "gaps": [],
        }  # fmt: skip
        for ago in (0, 2):
            source.tell(now - timedelta(minutes=ago), -20)
        await world.minute()
        seen = (await client.get("/v2/imbalance")).json()
        assert (seen["price"], seen["fresh"], len(seen["gaps"])) == ("-20.00", True, 1)
        del client.headers["X-Api-Key"]
        assert (await client.get("/v2/imbalance")).status_code == 401
