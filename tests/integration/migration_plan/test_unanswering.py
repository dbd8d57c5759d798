"""A database that takes connections and answers nothing: the control path gives it up, and says so."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from load.drill.proxy import Proxies, Proxy
from migration_plan import databases
from migration_plan.errors import Busy, Unreachable
from migration_plan.ledger import Ledger, install


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.stop()


@pytest.fixture
def way(proxies: Proxies, database: str) -> tuple[Proxy, str]:
    port = database.rpartition("@")[2].partition(":")[2].partition("/")[0]
    proxy = proxies.to(int(port))
    return proxy, database.replace(f":{port}/", f":{proxy.port}/")


def test_a_call_to_a_server_behind_a_dead_network_ends_and_says_that_there_was_no_answer(
    proxies: Proxies, way: tuple[Proxy, str], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "ANSWER_S", 0.5)
    install(database)
    proxy, dsn = way
    with Ledger(dsn, "ann") as ledger:
        ledger.states()
        with ledger.lease("toys"):
            proxies.tell(proxy.cut)
            began = time.monotonic()
            with pytest.raises(Unreachable, match="no answer"):
                ledger.states()
            assert time.monotonic() - began < 5
            assert ledger.closed
            assert ledger.lost == "toys", "the lease went with the connection"
            with pytest.raises(Busy), Ledger(database, "bob") as other, other.lease("toys"):
                pass
    proxies.tell(proxy.heal)


def test_an_answer_in_time_is_an_answer(way: tuple[Proxy, str], database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "ANSWER_S", 5.0)
    with databases.Bounded.connect(way[1], autocommit=True) as connection:
        row = connection.execute("SELECT pg_sleep(0.3), 7").fetchone()
    assert row is not None
    assert row[1] == 7


def test_a_wait_for_a_notification_lasts_as_long_as_its_caller_says(
    way: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "ANSWER_S", 0.2)
    with databases.Bounded.connect(way[1], autocommit=True) as connection:
        connection.execute("LISTEN something")
        assert list(connection.notifies(timeout=0.5)) == []
        assert not connection.closed


def test_a_call_that_may_take_less_time_than_others_is_given_up_earlier(
    proxies: Proxies, way: tuple[Proxy, str]
) -> None:
    proxy, dsn = way
    connection = databases.Bounded.connect(dsn, autocommit=True)
    connection.answer_s = 0.3
    proxies.tell(proxy.cut)
    with pytest.raises(psycopg.OperationalError, match=r"within 0\.3 s"):
        connection.execute("SELECT 1")
    proxies.tell(proxy.heal)
