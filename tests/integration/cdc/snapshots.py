"""What tests of fills and re-snapshots share: rows, requests, clients who write meanwhile, a busy source."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgspec
import psycopg

from cdc.config import Stream
from cdc.snapshot import ask, requests
from cdc.snapshot.requests import Request, Scope
from cdc.throttle import Limits
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, until

BLOCKS_LEFT = "SELECT count(*) FROM banyan.snapshot_blocks b JOIN banyan.snapshot s ON s.id = b.snapshot"
PARKED = "SELECT count(*) FROM banyan.parked"
STATE = "SELECT state FROM banyan.stream"
COPIED = "SELECT rows FROM banyan.snapshot WHERE \"table\" = 'public.item'"
STEP = "SELECT step FROM banyan.snapshot WHERE \"table\" = 'public.item'"
TOAST = "repeat('x', 3000) || n"


def dsns(shop: Shop, stream: Stream) -> tuple[str, str]:
    return shop.source(stream), shop.target(stream)


def limited(stream: Stream, **limits: Any) -> Stream:
    return msgspec.structs.replace(stream, snapshot_limits=Limits(**limits))


def items(shop: Shop, count: int, note: str = "NULL") -> None:
    execute(shop.legacy, "ALTER TABLE item ALTER note SET STORAGE EXTERNAL")
    execute(
        shop.legacy,
        f"INSERT INTO item SELECT n, 'c' || n, 'n' || n, n, {note} FROM generate_series(1, %s::int) n",  # noqa: S608
        [count],
    )


def asked(shop: Shop, *tables: str, scope: Scope = requests.WHOLE, **options: Any) -> list[Request]:
    """Ask, wait for the end, and return how it ended."""
    stream = shop.stream("forward")
    ids = [item.id for item in ask.ask(stream, shop.mapping, dsns(shop, stream), tables, scope, **options)]
    return ended(shop, [number for number in ids if number is not None])


def ended(shop: Shop, ids: list[int]) -> list[Request]:
    def done() -> list[Request]:
        for running in shop.running:
            if running.error is not None:
                raise AssertionError("the stream ended") from running.error
        with psycopg.connect(shop.service, autocommit=True) as target:
            found = requests.found(target, "shop.forward", ids)
        return found if all(request.state not in requests.OPEN for request in found) else []

    found: list[Request] = until(done, f"requests {ids} to end", 90)
    return found


@contextmanager
def writers(shop: Shop, count: int = 2) -> Iterator[None]:
    """Whole rows, partial updates (an unchanged note of 3,000 characters), deletes, changes of key, until the end."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def write(number: int) -> None:
        chance = random.Random(number)  # noqa: S311
        try:
            with psycopg.connect(shop.legacy, autocommit=True) as connection:
                for n in itertools.count(1):
                    if stop.wait(0.01):  # a rate that an applier on a busy machine keeps up with
                        return
                    key = chance.randrange(1, 2000) * count + number
                    connection.execute("UPDATE item SET price_cents = price_cents + 1 WHERE id = %s", [key])
                    fresh = 1_000_000 * (number + 1) + n
                    connection.execute("INSERT INTO item VALUES (%s, NULL, 'w', 1, repeat('y', 3000))", [fresh])
                    if n % 5 == 0:
                        connection.execute("DELETE FROM item WHERE id = %s", [fresh - 3])
                        connection.execute("UPDATE item SET note = %s WHERE id = %s", [f"short {n}", key])
                    if n % 7 == 0:
                        connection.execute("UPDATE item SET id = id + 500000 WHERE id = %s AND id < 500000", [key])
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed


def equal(shop: Shop) -> None:
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, PARKED) == 0


@contextmanager
def busy(dsn: str, sessions: int) -> Iterator[None]:
    """So many sessions that are active all the time."""

    def sleep(connection: psycopg.Connection[Any]) -> None:
        with suppress(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")

    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    with ExitStack() as stack:
        found = [stack.enter_context(psycopg.connect(dsn, autocommit=True)) for _ in range(sessions)]
        threads = [threading.Thread(target=sleep, args=(connection,)) for connection in found]
        for thread in threads:
            thread.start()
        try:
            until(lambda: one(dsn, sleeping) == sessions, "the sessions to be active")
            yield
        finally:
            for connection in found:
                connection.cancel_safe()
            for thread in threads:
                thread.join()
