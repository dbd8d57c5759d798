"""421: the database says who the owner is. A rehearsal goes only to an owner that can rehearse."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.gateway.stage import Stage, reason, side, staged, until
from tests.integration.gateway.upstream import Seen, answering, misdirected, response

REHEARSAL = {"Banyan-Dry-Run": "1"}


async def test_a_421_sends_the_write_to_the_owner_it_names(stage: Stage) -> None:
    stage.legacy.handler = misdirected("service")
    answer = await stage.client.post("/items", content=b"payload")
    assert (answer.status_code, side(answer), reason(answer)) == (200, "service", "rerouted")
    assert stage.service.seen[0].body == b"payload"
    assert stage.event("rerouted") == 1


async def test_a_421_of_a_moving_wave_is_asked_again_until_it_has_an_owner(stage: Stage) -> None:
    owner = "moving"

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(421, Banyan_Owner=owner))

    stage.legacy.handler = handler
    write = asyncio.create_task(stage.client.post("/items", content=b"x"))
    await until(lambda: len(stage.legacy.seen) >= 3)
    owner = "service"
    answer = await write
    assert (answer.status_code, side(answer)) == (200, "service")


async def test_two_sides_that_point_at_each_other_end_in_a_503() -> None:
    async with staged(patience=0.2) as stage:
        stage.legacy.handler = misdirected("service")
        stage.service.handler = misdirected("legacy")
        answer = await stage.client.post("/items", content=b"x")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_421_without_an_owner_is_the_clients_business(stage: Stage) -> None:
    stage.legacy.handler = answering(421, b'"not here"')
    assert (await stage.client.post("/items", content=b"x")).status_code == 421
    assert len(stage.legacy.seen) == 1


async def test_the_largest_batch_of_prices_is_sent_to_the_owner_after_a_421(stage: Stage) -> None:
    stage.legacy.handler = misdirected("service")
    batch = b"x" * 700_000
    answer = await stage.client.post("/bulk", content=batch)
    assert (answer.status_code, side(answer)) == (200, "service")
    assert stage.service.seen[0].body == batch


async def test_a_body_too_big_to_keep_is_not_sent_again_after_a_421(stage: Stage) -> None:
    stage.legacy.handler = misdirected("service")
    answer = await stage.client.post("/items", content=b"x" * 3_000_000)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert not stage.service.seen


@pytest.mark.parametrize("path", ["/items", "/elsewhere"])
async def test_a_rehearsal_is_never_sent_to_the_monolith_which_would_do_it(stage: Stage, path: str) -> None:
    answer = await stage.client.post(path, content=b"x", headers=REHEARSAL)
    assert (answer.status_code, answer.headers["content-type"]) == (501, "application/problem+json")
    assert "the monolith cannot rehearse" in answer.json()["detail"]
    assert not stage.legacy.seen
    assert (await stage.client.get(path, headers=REHEARSAL)).status_code == 200, "a read does nothing anyway"


async def test_a_rehearsal_at_the_service_is_passed_on_but_not_to_the_monolith_after_a_421(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    assert (await stage.client.post("/items", content=b"x", headers=REHEARSAL)).status_code == 200
    assert stage.service.seen[0].headers["banyan-dry-run"] == "1"
    stage.service.handler = misdirected("legacy")
    assert (await stage.client.post("/items", content=b"x", headers=REHEARSAL)).status_code == 501
    assert not stage.legacy.seen
