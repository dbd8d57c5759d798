"""Autovacuum holds the lock that a fence needs, and gives way only to who waits longer than a fence may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from banyan.servers import Postgres
from cdc.guard.errors import FenceTimeout
from cdc.guard.install import install
from cdc.guard.ownership import fence, read_ownership
from cdc.mapping import Mapping
from tests.fixtures.servers import create_database
from tests.integration.cdc_guard.conftest import SCHEMA
from tests.integration.cdc_guard.test_fence import until

# One page in a tenth of a second: it is at work for as long as a test looks.
SLOW = "ALTER TABLE item SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
AT_WORK = """
SELECT a.query FROM pg_stat_activity a JOIN pg_locks l USING (pid)
 WHERE a.backend_type = 'autovacuum worker' AND l.granted AND l.relation = 'item'::regclass
   AND l.mode = 'ShareUpdateExclusiveLock'
"""
# More transactions than the least autovacuum_freeze_max_age.
AGE = "DO $$ BEGIN FOR n IN 1..100100 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Of its own, so that autovacuum looks every second."""
    folder = tmp_path_factory.mktemp("autovacuum")
    settings = {"fsync": "off", "autovacuum_naptime": "1s"}
    server = Postgres(data=folder / "data", log=folder / "log", settings=settings).start()
    yield server
    server.stop()


@pytest.fixture
def shop(server: Postgres, mapping: Mapping) -> Iterator[psycopg.Connection[Any]]:
    """Guarded, with a table of some hundred pages that autovacuum takes its time for."""
    with psycopg.connect(create_database(server), autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.execute(SLOW)
        install(connection, mapping, "legacy")
        connection.execute("INSERT INTO item SELECT n, n, 0 FROM generate_series(1000, 50000) n")
        yield connection


def vacuumed(shop: psycopg.Connection[Any]) -> str:
    """Waits until autovacuum works on the table; what it says it does."""
    return str(until(lambda: shop.execute(AT_WORK).fetchone(), 30)[0])


def test_a_fence_makes_autovacuum_give_way(shop: psycopg.Connection[Any]) -> None:
    shop.execute("UPDATE item SET qty = 1")
    vacuumed(shop)
    assert fence(shop, "shop", 0, 1, 300).epoch == 2


def test_one_that_prevents_wraparound_goes_on_and_the_fence_says_so(shop: psycopg.Connection[Any]) -> None:
    shop.execute("ALTER TABLE item SET (autovacuum_enabled = off, autovacuum_freeze_max_age = 100000)")
    shop.execute(AGE)
    assert "to prevent wraparound" in vacuumed(shop)
    with pytest.raises(FenceTimeout, match=r"to prevent wraparound works on public\.item"):
        fence(shop, "shop", 0, 1, 300)
    assert shop.execute(AT_WORK).fetchone() is not None
    assert read_ownership(shop, "shop")[0].owner == "legacy"


def test_an_installer_without_the_right_to_cancel_it_times_out_as_for_a_writer(shop: psycopg.Connection[Any]) -> None:
    shop.execute("CREATE ROLE plain")
    shop.execute("GRANT pg_monitor TO plain")
    shop.execute("GRANT ALL ON SCHEMA banyan TO plain")
    shop.execute("GRANT ALL ON ALL TABLES IN SCHEMA banyan, public TO plain")
    shop.execute("ALTER FUNCTION banyan.fence OWNER TO plain")
    shop.execute("UPDATE item SET qty = 1")
    vacuumed(shop)
    with pytest.raises(FenceTimeout, match="try again"):
        fence(shop, "shop", 0, 1, 300)
    assert read_ownership(shop, "shop")[0].owner == "legacy"
