"""Which side a request goes to, and that a new table changes it between two requests."""

from __future__ import annotations

import asyncio

from gateway.routing.bucket import bucket
from gateway.routing.canary import taken
from tests.integration.gateway.stage import Stage, reason, side, until


async def test_a_request_reaches_legacy_and_says_so(stage: Stage) -> None:
    answer = await stage.client.get("/items?x=1", headers={"X-Client": "a"})
    assert answer.status_code == 200
    assert answer.headers["banyan-route"] == "domain=shop; side=legacy; reason=phase; version=1"
    assert stage.legacy.seen[0].target == "/items?x=1"


async def test_what_matches_no_operation_goes_to_legacy(stage: Stage) -> None:
    answer = await stage.client.delete("/elsewhere")
    assert answer.headers["banyan-route"] == "domain=default; side=legacy; reason=default; version=1"


async def test_a_canary_takes_the_same_clients_every_time(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=25)
    for name in map(str, range(40)):
        expected = "service" if bucket(name) in taken("shop", 0, 1024, 25) else "legacy"
        for _ in range(2):
            assert side(await stage.client.get("/items", headers={"X-Client": name})) == expected
    assert side(await stage.client.get("/items")) == "legacy", "no key: legacy"


async def test_a_native_operation_goes_to_the_service_in_every_phase(stage: Stage) -> None:
    answer = await stage.client.get("/v2/items")
    assert (side(answer), reason(answer)) == ("service", "native")


async def test_a_swap_of_the_table_under_load_loses_no_request(stage: Stage) -> None:
    stop = False
    answers: list[int] = []

    async def client(name: str) -> None:
        while not stop:
            read = await stage.client.get("/items", headers={"X-Client": name})
            write = await stage.client.post("/items", content=b"x", headers={"X-Client": name})
            answers.extend((read.status_code, write.status_code))

    clients = [asyncio.create_task(client(str(n))) for n in range(8)]
    for turn in range(100):
        moved = turn % 2 == 0
        stage.wave(hold=True)
        await until(lambda: len(stage.gateway.room) > 0)
        before = len(answers)
        stage.wave(hold=False, phase="service" if moved else "canary", owner="service" if moved else "legacy")
        await until(lambda before=before: len(answers) > before)  # type: ignore[misc]
    stop = True
    await asyncio.gather(*clients)
    assert len(answers) > 100
    assert set(answers) == {200}
    writes = [seen for seen in (*stage.legacy.seen, *stage.service.seen) if seen.method == "POST"]
    assert len(writes) == len(answers) / 2, "no write was done twice"
