"""Canary, holds, 421, fallback, breakers, retries, pins and shadow, over real sockets."""

from __future__ import annotations

import asyncio
from time import monotonic, time

import pytest

from gateway.http1.pool import PoolLimits
from gateway.routing.bucket import bucket
from tests.integration.gateway.conftest import Stage, staged, until
from tests.integration.gateway.upstream import Handler, HangUp, Seen, answering, response


def side(answer: object) -> str:
    route = answer.headers["banyan-route"]  # type: ignore[attr-defined]
    return str(dict(part.split("=") for part in route.split("; "))["side"])


def reason(answer: object) -> str:
    route = answer.headers["banyan-route"]  # type: ignore[attr-defined]
    return str(dict(part.split("=") for part in route.split("; "))["reason"])


def misdirected(owner: str) -> Handler:
    return answering(421, b"{}", Banyan_Owner=owner, Banyan_Epoch="4")


async def test_a_canary_takes_the_same_clients_every_time(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=25)
    for name in map(str, range(40)):
        expected = "service" if bucket(name) < 256 else "legacy"
        for _ in range(2):
            assert side(await stage.client.get("/items", headers={"X-Client": name})) == expected
    assert side(await stage.client.get("/items")) == "legacy", "no key: legacy"


async def test_a_native_operation_goes_to_the_service_in_every_phase(stage: Stage) -> None:
    answer = await stage.client.get("/v2/items")
    assert (side(answer), reason(answer)) == ("service", "native")


async def test_a_write_during_a_hold_waits_and_is_released_to_the_new_owner(stage: Stage) -> None:
    stage.wave(hold=True)
    writes = [asyncio.create_task(stage.client.post("/items", content=b"%d" % n)) for n in range(20)]
    await until(lambda: len(stage.gateway.room) == 20)
    assert not stage.legacy.seen
    stage.wave(phase="service", owner="service", epoch=1, hold=False)
    answers = await asyncio.gather(*writes)
    assert {answer.status_code for answer in answers} == {200}
    assert {side(answer) for answer in answers} == {"service"}
    assert sorted(int(seen.body) for seen in stage.service.seen) == list(range(20))
    assert not stage.legacy.seen
    assert stage.event("held") == 20


async def test_a_hold_that_lasts_too_long_ends_with_503_and_the_write_was_sent_to_nobody() -> None:
    async with staged(patience=0.15) as stage:
        stage.wave(hold=True)
        answer = await stage.client.post("/items", content=b"x")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        stage.wave(hold=False)
        assert not stage.legacy.seen
        assert stage.event("held_refused") == 1


async def test_a_hold_that_nobody_ends_is_honoured_for_a_bounded_time() -> None:
    async with staged(hold_seconds=0.3, patience=5.0) as stage:
        stage.wave(hold=True)
        began = monotonic()
        answer = await stage.client.post("/items", content=b"x")
        assert (answer.status_code, side(answer)) == (200, "legacy")
        assert 0.3 <= monotonic() - began < 2
        began = monotonic()
        assert (await stage.client.post("/items", content=b"x")).status_code == 200
        assert monotonic() - began < 0.3, "who comes after its end does not wait"
        assert stage.event("hold_expired") == 2


async def test_after_the_end_of_a_hold_the_database_says_who_the_owner_is() -> None:
    async with staged(hold_seconds=0.1, patience=5.0) as stage:
        stage.wave(owner="moving")
        owner = "moving"

        async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(response(421, Banyan_Owner=owner))

        stage.legacy.handler = handler
        write = asyncio.create_task(stage.client.post("/items", content=b"x"))
        await until(lambda: len(stage.legacy.seen) >= 2)
        owner = "service"
        answer = await write
        assert (answer.status_code, side(answer)) == (200, "service")
        assert stage.event("hold_expired") == 1


async def test_reads_are_not_held(stage: Stage) -> None:
    stage.wave(hold=True)
    assert (await stage.client.get("/items")).status_code == 200


async def test_a_client_that_leaves_during_a_hold_is_forgotten(stage: Stage) -> None:
    stage.wave(hold=True)
    _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    await until(lambda: len(stage.gateway.room) == 1)
    writer.close()
    await until(lambda: len(stage.gateway.room) == 0)
    stage.wave(hold=False)
    assert (await stage.client.get("/items")).status_code == 200
    assert [seen.method for seen in stage.legacy.seen] == ["GET"]


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


async def test_a_write_that_worked_for_longer_than_its_patience_before_its_wave_moved_still_waits_for_the_owner() -> (
    None
):
    async with staged(patience=0.3) as stage:
        began = monotonic()
        finish = asyncio.Event()

        async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if len(stage.legacy.seen) == 1:
                await finish.wait()
                writer.write(response(421, Banyan_Owner="moving"))
            else:
                writer.write(response(201))

        stage.legacy.handler = handler
        write = asyncio.create_task(stage.client.post("/items", content=b"x"))
        await until(lambda: monotonic() - began > 0.5)
        finish.set()
        assert (await write).status_code == 201
        assert len(stage.legacy.seen) == 2


async def test_patience_ends_with_the_time_that_a_request_may_take_in_all() -> None:
    async with staged(patience=10.0, total_timeout=0.3) as stage:
        stage.legacy.handler = misdirected("moving")
        began = monotonic()
        answer = await stage.client.post("/items", content=b"x")
        assert answer.status_code in (503, 504)
        assert monotonic() - began < 2
        assert len(stage.gateway.room) == 0
        assert not stage.gateway.active


async def test_the_largest_batch_of_prices_is_sent_to_the_owner_after_a_421(stage: Stage) -> None:
    stage.legacy.handler = misdirected("service")
    batch = b"x" * 700_000
    answer = await stage.client.post("/bulk", content=batch)
    assert (answer.status_code, side(answer)) == (200, "service")
    assert stage.service.seen[0].body == batch


REHEARSAL = {"Banyan-Dry-Run": "1"}


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


async def test_a_body_too_big_to_keep_is_not_sent_again_after_a_421(stage: Stage) -> None:
    stage.legacy.handler = misdirected("service")
    answer = await stage.client.post("/items", content=b"x" * 3_000_000)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert not stage.service.seen


async def test_a_read_falls_back_to_legacy_when_the_service_is_killed(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    assert side(await stage.client.get("/items")) == "service"
    await stage.service.kill()
    reasons = []
    for _ in range(30):
        answer = await stage.client.get("/items")
        assert (answer.status_code, side(answer)) == (200, "legacy")
        reasons.append(reason(answer))
    assert "fallback" in reasons
    assert reasons[-1] == "breaker-open", "a dead service is no longer asked"
    await stage.service.start()

    async def is_back() -> bool:
        return side(await stage.client.get("/items")) == "service"

    await until(is_back)
    assert stage.gateway.breaker("shop", "service").state == "closed"


async def test_a_read_falls_back_when_the_service_answers_500(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    stage.service.handler = answering(500)
    answer = await stage.client.get("/items")
    assert (answer.status_code, side(answer), reason(answer)) == (200, "legacy", "fallback")


async def test_a_read_of_a_retired_wave_has_no_way_back(stage: Stage) -> None:
    stage.wave(phase="retired", owner="service")
    stage.service.handler = answering(500)
    assert (await stage.client.get("/items")).status_code == 500
    assert not stage.legacy.seen


async def test_a_sick_service_gets_no_reads_though_its_port_is_open(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    stage.service.sick = True
    await until(lambda: not stage.gateway.pools["shop"].healthy)
    answer = await stage.client.get("/items")
    assert (side(answer), reason(answer)) == ("legacy", "breaker-open")
    assert not stage.service.seen


async def test_a_write_waits_for_an_owner_that_is_starting_again(stage: Stage) -> None:
    await stage.legacy.kill()
    write = asyncio.create_task(stage.client.post("/items", content=b"x"))
    await until(lambda: stage.event("retried") > 1)
    await stage.legacy.start()
    answer = await write
    assert answer.status_code == 200
    assert len(stage.legacy.seen) == 1


async def test_a_write_to_a_dead_owner_ends_with_503_within_its_patience() -> None:
    async with staged(patience=0.3) as stage:
        await stage.legacy.kill()
        began = monotonic()
        answer = await stage.client.post("/items", content=b"x")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert monotonic() - began < 1.5


async def test_a_write_that_was_sent_is_not_sent_twice(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise HangUp

    stage.legacy.handler = handler
    assert (await stage.client.post("/items", content=b"x")).status_code == 502
    assert len(stage.legacy.seen) == 1


async def test_a_write_with_an_idempotency_key_is_sent_again_where_the_plan_says_that_its_server_knows_it(
    stage: Stage,
) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(stage.legacy.seen) == 1:
            raise HangUp
        writer.write(response(201))

    stage.legacy.handler = handler
    answer = await stage.client.post("/orders", content=b"x", headers={"Idempotency-Key": "k"})
    assert answer.status_code == 201
    assert [seen.body for seen in stage.legacy.seen] == [b"x", b"x"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/orders", {}), ("/items", {"Idempotency-Key": "k"}), ("/elsewhere", {"Idempotency-Key": "k"})],
)
async def test_a_write_whose_server_may_do_it_twice_is_not_sent_again(
    stage: Stage, path: str, headers: dict[str, str]
) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        raise HangUp

    stage.legacy.handler = handler
    assert (await stage.client.post(path, content=b"x", headers=headers)).status_code == 502
    assert len(stage.legacy.seen) == 1


async def test_a_write_that_the_plan_calls_idempotent_is_sent_again(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(stage.legacy.seen) == 1:
            raise HangUp
        writer.write(response(200))

    stage.legacy.handler = handler
    assert (await stage.client.post("/bulk", content=b"x")).status_code == 200
    assert [seen.body for seen in stage.legacy.seen] == [b"x", b"x"]


async def test_a_read_of_ones_own_write_falls_back_only_when_legacy_has_it(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    stage.gateway.take_watermarks({"shop.reverse": 0.0})
    me = {"X-Client": "me"}
    assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
    await stage.service.kill()
    assert side(await stage.client.get("/items", headers={"X-Client": "somebody else"})) == "legacy"
    mine = asyncio.create_task(stage.client.get("/items", headers=me))
    await until(lambda: len(stage.gateway.room) == 1)
    stage.gateway.take_watermarks({"shop.reverse": 1e12})
    answer = await mine
    assert (answer.status_code, side(answer)) == (200, "legacy")


async def test_a_fallback_waits_for_the_writes_of_before_it_and_not_for_those_that_follow(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")
    stage.gateway.take_watermarks({"shop.reverse": 0.0})
    stage.service.handler = answering(201)
    assert (await stage.client.post("/items", content=b"x")).status_code == 201
    written = time()
    stage.service.handler = answering(500)
    read = asyncio.create_task(stage.client.get("/items"))
    await until(lambda: len(stage.gateway.room) == 1)
    stage.service.handler = answering(201)
    assert (await stage.client.post("/items", content=b"x")).status_code == 201
    assert not stage.legacy.seen
    stage.service.handler = answering(500)
    stage.gateway.take_watermarks({"shop.reverse": written})
    answer = await read
    assert (answer.status_code, side(answer)) == (200, "legacy")


async def test_a_read_of_ones_own_write_that_legacy_never_gets_is_refused_and_not_stale() -> None:
    async with staged(patience=0.3) as stage:
        stage.wave(phase="service", owner="service")
        stage.gateway.take_watermarks({"shop.reverse": 0.0})
        me = {"X-Client": "me"}
        assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
        await stage.service.kill()
        answer = await stage.client.get("/items", headers=me)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_connections_that_the_server_closed_while_idle_cost_nobody_a_request(stage: Stage) -> None:
    for _ in range(30):
        assert (await stage.client.get("/items")).status_code == 200
        stage.legacy.hang_up()
        assert (await stage.client.get("/items")).status_code == 200
        stage.legacy.hang_up()
        assert (await stage.client.post("/items", content=b"x")).status_code == 200


async def test_a_server_that_does_not_answer_becomes_a_504() -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with staged(read_timeout=0.3) as stage:
        stage.legacy.handler = handler
        assert (await stage.client.post("/items", content=b"x")).status_code == 504


async def test_a_slow_read_of_the_service_is_answered_by_legacy() -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with staged(read_timeout=0.3) as stage:
        stage.wave(phase="service", owner="service")
        stage.service.handler = handler
        answer = await stage.client.get("/items")
        assert (answer.status_code, side(answer), reason(answer)) == (200, "legacy", "fallback")


async def test_after_its_write_a_client_reads_from_the_owner(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100)
    me, other = {"X-Client": "me"}, {"X-Client": "other"}
    assert side(await stage.client.get("/items", headers=me)) == "service"
    assert (await stage.client.post("/items", content=b"x", headers=me)).status_code == 200
    answer = await stage.client.get("/items/1", headers=me)
    assert (side(answer), reason(answer)) == ("legacy", "pin")
    assert side(await stage.client.get("/items", headers=other)) == "service"
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0})
    assert side(await stage.client.get("/items", headers=me)) == "service", "the other side has the write by now"


async def test_a_write_that_names_no_client_is_read_from_the_owner_by_everybody(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100)
    anyone = {"X-Client": "anyone"}
    assert side(await stage.client.get("/items/7", headers=anyone)) == "service"
    assert (await stage.client.post("/items", content=b"x")).status_code == 200
    answer = await stage.client.get("/items/7", headers=anyone)
    assert (side(answer), reason(answer)) == ("legacy", "pin")
    stage.gateway.take_watermarks({"shop.forward": 4102444800.0})
    assert side(await stage.client.get("/items/7", headers=anyone)) == "service"


async def test_what_was_written_under_one_path_is_read_from_the_owner_under_another(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100)
    assert (await stage.client.put("/shelves/7/label", content=b"x", headers={"X-Client": "me"})).status_code == 200
    answer = await stage.client.get("/labels/7", headers={"X-Client": "somebody else"})
    assert (side(answer), reason(answer)) == ("legacy", "pin")
    assert side(await stage.client.get("/labels/8", headers={"X-Client": "somebody else"})) == "service"


async def test_a_refused_write_pins_nobody(stage: Stage) -> None:
    stage.wave(phase="canary", canary_percent=100)
    stage.legacy.handler = answering(422)
    await stage.client.post("/items", content=b"x", headers={"X-Client": "me"})
    assert side(await stage.client.get("/items", headers={"X-Client": "me"})) == "service"


async def test_shadow_copies_are_compared_and_differences_kept(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    stage.legacy.handler = answering(body=b'{"a":1,"b":[1,2]}')
    stage.service.handler = answering(body=b'{"b":[1,2], "a":1}')
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0
    stage.service.handler = answering(body=b'{"a":1,"b":[1,3]}')
    await stage.client.get("/items?q=1")
    await until(lambda: stage.event("shadow_mismatched") == 1)
    (sample,) = stage.gateway.shadow.samples
    assert (sample.operation, sample.path, sample.pointer) == ("items.list", "/items?q=1", "/b/1")
    assert (sample.legacy, sample.service) == ("2", "3")
    assert stage.service.seen[0].headers["banyan-shadow"] == "1"


async def test_a_difference_that_is_only_lag_is_no_mismatch(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    stage.legacy.handler = answering(body=b'{"v":2}')

    async def catching_up(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=b'{"v":1}' if len(stage.service.seen) == 1 else b'{"v":2}'))

    stage.service.handler = catching_up
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_a_resource_that_never_stands_still_is_unsettled_and_no_mismatch(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)

    async def counting(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=b'{"v":%d}' % len(stage.legacy.seen)))

    stage.legacy.handler = counting
    stage.service.handler = answering(body=b'{"v":0}')
    await stage.client.get("/items")
    await until(lambda: stage.event("shadow_unsettled") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_a_difference_is_judged_only_when_the_watermark_has_passed(stage: Stage) -> None:
    stage.wave(phase="shadow", shadow_percent=100)
    stage.gateway.take_watermarks({"shop.forward": 0.0})
    stage.legacy.handler = answering(body=b'{"v":2}')
    behind = True

    async def lagging(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(body=b'{"v":1}' if behind else b'{"v":2}'))

    stage.service.handler = lagging
    await stage.client.get("/items")
    await until(lambda: len(stage.legacy.seen) == 2)
    assert stage.event("shadow_compared") == 0
    behind = False
    stage.gateway.take_watermarks({"shop.forward": 1e12})
    await until(lambda: stage.event("shadow_compared") == 1)
    assert stage.event("shadow_mismatched") == 0


async def test_a_shadowed_side_that_hangs_slows_no_client(stage: Stage) -> None:
    async def hang(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    stage.wave(phase="shadow", shadow_percent=100)
    stage.service.handler = hang
    began = monotonic()
    for _ in range(200):
        assert (await stage.client.get("/items")).status_code == 200
    assert monotonic() - began < 5
    assert len(stage.gateway.shadow._waiting) <= 64


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
        await asyncio.sleep(0.002)
        stage.wave(hold=False, phase="service" if moved else "canary", owner="service" if moved else "legacy")
        await asyncio.sleep(0.002)
    stop = True
    await asyncio.gather(*clients)
    assert len(answers) > 100
    assert set(answers) == {200}
    writes = [seen for seen in (*stage.legacy.seen, *stage.service.seen) if seen.method == "POST"]
    assert len(writes) == len(answers) / 2, "no write was done twice"


async def test_errors_of_a_page_of_the_monolith_do_not_close_the_monolith(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(500 if seen.target == "/broken" else 200))

    stage.legacy.handler = handler
    for _ in range(20):
        assert (await stage.client.get("/broken")).status_code == 500
    assert (await stage.client.get("/elsewhere")).status_code == 200


async def test_requests_beyond_the_connections_wait_and_time_out_in_their_place() -> None:
    async def hang(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with staged(read_timeout=0.4) as stage:
        stage.wave(phase="service", owner="service")
        endpoint = stage.gateway.pools["shop"].endpoints[0]
        endpoint._limits = PoolLimits(connections=2, waiting=3)
        stage.service.handler = hang
        reads = await asyncio.gather(*(stage.client.get("/items") for _ in range(8)))
        assert {(answer.status_code, side(answer)) for answer in reads} == {(200, "legacy")}
        assert len(stage.service.seen) == 2
        assert endpoint.open <= 2


async def test_an_unasked_101_is_no_tunnel(stage: Stage) -> None:
    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        assert "upgrade" not in seen.headers
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")

    stage.legacy.handler = handler
    for headers in ({}, {"Connection": "upgrade", "Upgrade": "h2c"}):
        assert (await stage.client.get("/elsewhere", headers=headers)).status_code == 502


async def test_a_service_whose_reads_fail_still_gets_its_writes(stage: Stage) -> None:
    stage.wave(phase="service", owner="service")

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(response(500 if seen.method == "GET" else 201))

    stage.service.handler = handler
    for _ in range(20):
        read = await stage.client.get("/items")
        assert (read.status_code, side(read)) == (200, "legacy")
        assert (await stage.client.post("/items", content=b"x")).status_code == 201
