"""`POST /v2/optimize` and the planner's versions; what a failing or slow planner costs the caller: nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import psycopg
import pytest
from litestar.testing import AsyncTestClient
from prometheus_client import CollectorRegistry

from banyan.servers import Postgres
from services.devices.facade import slots as texts
from services.devices.optimizer import accuracy, horizon
from services.devices.optimizer.battery import Battery
from services.devices.optimizer.errors import BadInput
from services.devices.optimizer.metrics import PlannerMetrics
from services.devices.optimizer.models import Model
from services.devices.optimizer.planner import Planner
from services.devices.optimizer.planning import Plan, Question, plan
from services.devices.optimizer.tariff import Tariff
from services.devices.service import devices
from tests.integration.services.conftest import Client, settings
from tests.integration.services.processes import BACK_OFFICE, migrated
from tests.integration.services.test_devices_v2 import register

BATTERY = {"capacity_wh": 10_000, "max_power_w": 5000}
PRICES = [20.0] * 6 + [120.0] * 10 + [300.0] * 4 + [80.0] * 4


@pytest.fixture
def dsn(service_postgres: Postgres) -> str:
    made = migrated(service_postgres, "devices")
    with psycopg.connect(made) as connection:
        connection.execute("INSERT INTO customer_refs (id) VALUES (1)")
    return made


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with AsyncTestClient(devices(settings("devices", dsn))) as client:
        client.headers.update(BACK_OFFICE)
        yield client


def asked(**changes: Any) -> dict[str, Any]:
    question = {
        "starts_at": "2024-06-01T00:00:00+02:00",
        "prices_eur_mwh": PRICES,
        "load_wh": [400] * len(PRICES),
        "battery": BATTERY,
    }
    return {name: value for name, value in {**question, **changes}.items() if value is not None}


async def test_a_plan_buys_cheap_sells_dear_and_comes_with_slots(client: Client) -> None:
    made = (await client.post("/v2/optimize", json=asked())).json()
    assert (made["version"], made["source"], made["reason"]) == (1, "model", None)
    assert float(made["cost_eur"]) < float(made["idle_eur"])
    assert len(made["steps"]) == 24
    assert made["steps"][0]["starts_at"] == "2024-05-31T22:00:00Z"
    assert max(step["soc"] for step in made["steps"]) > 0.8
    assert {slot["mode"] for slot in made["slots"]} == {"charge", "hold", "discharge"}
    assert (made["slots"][0]["from"], made["slots"][-1]["to"]) == ("00:00", "24:00")


@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27"])
async def test_a_day_of_23_or_25_hours_has_as_many_steps_and_slots_that_fit(client: Client, day: str) -> None:
    starts = horizon.local_day(date.fromisoformat(day))
    prices = [(40.0 if n < 6 else 200.0) for n in range(len(starts))]
    body = asked(starts_at=starts[0].isoformat(), prices_eur_mwh=prices, load_wh=[300] * len(starts))
    made = (await client.post("/v2/optimize", json=body)).json()
    assert [step["starts_at"] for step in made["steps"]] == [f"{s:%Y-%m-%dT%H:%M:%SZ}" for s in starts]
    text = ";".join(
        f"{s['from']}-{s['to']} {s['mode'][0].upper()}{s['power_w']}".replace(":", "") for s in made["slots"]
    )
    assert len(texts.parse(text, 5000)) == len(made["slots"])


async def test_a_registered_device_is_planned_by_its_own_limits(client: Client) -> None:
    device = await register(client)
    made = await client.post("/v2/optimize", json=asked(battery=None, device_id=device.id))
    assert (made.status_code, max(abs(step["power_w"]) for step in made.json()["steps"]) <= 5000) == (200, True)
    assert (await client.post("/v2/optimize", json=asked(battery=None, device_id=7))).status_code == 404


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"load_wh": [1]}, 422),
        ({"battery": None}, 422),
        ({"device_id": 1}, 422),
        ({"prices_eur_mwh": []}, 400),
        ({"prices_eur_mwh": [1e9] * 24}, 400),
        ({"prices_eur_mwh": [10.0] * 201}, 400),
        ({"soc": 1.5}, 400),
        ({"step_minutes": 7}, 400),
        ({"starts_at": "2024-06-01T00:00:00"}, 400),
        ({"battery": {**BATTERY, "capacity_wh": 0}}, 400),
        ({"battery": {**BATTERY, "soc_least": 0.9, "soc_most": 0.2}}, 422),
        ({"battery": {"capacity_wh": 10_000_000, "max_power_w": 1}}, 422),
        ({"version": 99}, 404),
        ({"colour": "green"}, 400),
    ],
)
async def test_bad_questions_get_a_clear_problem(client: Client, changes: dict[str, Any], status: int) -> None:
    answer = await client.post("/v2/optimize", json=asked(**changes))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert len(answer.json()["detail"]) > 5


async def test_only_the_back_office_asks(client: Client) -> None:
    del client.headers["X-Api-Key"]
    assert (await client.post("/v2/optimize", json=asked())).status_code == 401
    assert (await client.get("/v2/models")).status_code == 401


async def test_versions_are_added_chosen_and_activated_one_at_a_time(client: Client) -> None:
    new = (await client.post("/v2/models", json={"kind": "timer", "note": "as before"})).json()
    assert (new["version"], new["active"]) == (2, False)
    assert (await client.post("/v2/optimize", json=asked())).json()["version"] == 1
    assert (await client.post("/v2/optimize", json=asked(version=2))).json()["version"] == 2
    assert (await client.post("/v2/models/2/activate")).json()["active"]
    assert (await client.post("/v2/optimize", json=asked())).json()["version"] == 2
    listed = (await client.get("/v2/models")).json()
    assert [(model["version"], model["active"]) for model in listed] == [(2, True), (1, False)]
    assert (await client.post("/v2/models/9/activate")).status_code == 404
    assert [model["active"] for model in (await client.get("/v2/models")).json()] == [True, False]


@pytest.mark.parametrize("wrong", [{"levels": 5}, {"levels": "many"}, {"levels": 5000}, {"depth": 3}])
async def test_a_version_with_settings_that_make_no_sense_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    assert (await client.post("/v2/models", json={"kind": "dynamic", "settings": wrong})).status_code == 422
    assert len((await client.get("/v2/models")).json()) == 1


async def test_many_versions_at_once_are_numbered_without_gaps(client: Client) -> None:
    added = await asyncio.gather(*(client.post("/v2/models", json={"kind": "timer"}) for _ in range(6)))
    assert sorted(answer.json()["version"] for answer in added) == [2, 3, 4, 5, 6, 7]


async def test_a_forecast_is_judged_and_the_figure_is_among_the_metrics(client: Client) -> None:
    body = {"version": 1, "expected_wh": [100, 200, 300], "actual_wh": [200, 200, 200]}
    judged = (await client.post("/v2/optimize/outcomes", json=body)).json()
    assert (judged["error_share"], judged["bias_share"]) == (pytest.approx(1 / 3, abs=1e-5), 0.0)
    assert 'banyan_devices_forecast_error_share{version="1"} 0.333' in (await client.get("/metrics")).text
    for wrong in ({"actual_wh": [1]}, {"actual_wh": [0, 0, 0]}):
        assert (await client.post("/v2/optimize/outcomes", json={**body, **wrong})).status_code == 422


def question() -> Question:
    return Question(Battery(10, 5), Tariff(), np.array(PRICES), np.full(24, 0.4))


STARTS = horizon.local_day(date(2024, 6, 1))
MODEL = Model(1, "dynamic", {"levels": 51}, "", True, datetime(2024, 1, 1, tzinfo=UTC))


class Flaky:
    """A planner that fails while it is told to, and counts how often it is asked."""

    def __init__(self, fault: Callable[[], object] | None = None) -> None:
        self.fault, self.asked = fault, 0

    def __call__(self, question: Question, levels: int) -> Plan:
        self.asked += 1
        if self.fault is not None:
            self.fault()
        return plan(question, levels)


def fails() -> None:
    raise ZeroDivisionError


async def test_rules_answer_for_a_planner_that_fails_and_it_is_left_alone_until_it_is_tried_again() -> None:
    make = Flaky(fails)
    planner = Planner(PlannerMetrics(CollectorRegistry()), make, reset_seconds=0.2)
    answers = [await planner.answer(question(), MODEL, STARTS) for _ in range(6)]
    assert {answer.source for answer in answers} == {"rules"}
    assert make.asked == 3, "then the breaker is open"
    assert "left alone" in (answers[-1].reason or "")
    assert np.abs(answers[-1].plan.power_kw).max() > 0
    make.fault = None
    async with asyncio.timeout(10):
        while (await planner.answer(question(), MODEL, STARTS)).source == "rules":
            await asyncio.sleep(0.02)
    assert make.asked == 4


async def test_rules_answer_for_a_planner_that_is_slow_without_waiting_for_it() -> None:
    stuck = threading.Event()
    planner = Planner(PlannerMetrics(CollectorRegistry()), Flaky(lambda: stuck.wait(20)), seconds=0.05)
    try:
        async with asyncio.timeout(5):
            answer = await planner.answer(question(), MODEL, STARTS)
    finally:
        stuck.set()
    assert (answer.source, answer.reason) == ("rules", "the planner took longer than 0.05 s")


async def test_a_question_that_makes_no_sense_does_not_open_the_breaker() -> None:
    make = Flaky()
    planner = Planner(PlannerMetrics(CollectorRegistry()), make)
    tiny = Question(Battery(100_000, 0.001), Tariff(), np.array(PRICES), np.full(24, 0.4))
    for _ in range(5):
        with pytest.raises(BadInput):
            await planner.answer(tiny, MODEL, STARTS)
    assert (await planner.answer(question(), MODEL, STARTS)).source == "model"


def test_drift_tells_prices_that_changed_from_prices_that_did_not() -> None:
    dice = np.random.default_rng(1)
    same, changed = accuracy.Drift(500), accuracy.Drift(500)
    for drift, mean in ((same, 80), (changed, 200)):
        drift.see(dice.normal(80, 30, 500))
        assert drift.index() is None
        drift.see(dice.normal(mean, 30, 500))
    assert (same.index() or 0) < 0.1 < 0.25 < (changed.index() or 0)
