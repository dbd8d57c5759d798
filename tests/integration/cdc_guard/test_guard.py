"""The guard lets the owner write, and nobody else, by whatever statement."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from hashlib import md5
from typing import Any

import psycopg
import pytest

from cdc.guard.ownership import REFUSED, fence, read_ownership, set_owner

Connect = Callable[..., "psycopg.Connection[Any]"]

WRITES = [
    "INSERT INTO item VALUES (1000, 1)",
    "INSERT INTO item VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET qty = 9",
    "UPDATE item SET qty = 9 WHERE id = 1",
    "DELETE FROM item WHERE id = 1",
    "MERGE INTO item USING (VALUES (1)) v(id) ON item.id = v.id WHEN MATCHED THEN UPDATE SET qty = 9",
    "WITH w AS (UPDATE item SET qty = 9 WHERE id = 1 RETURNING id) SELECT * FROM w",
    "TRUNCATE item",
]


def bucket(key: str) -> int:
    return int.from_bytes(md5(key.encode(), usedforsecurity=False).digest()[:4]) % 1024


def shops_of_wave(number: int) -> list[int]:
    return [n for n in range(1, 101) if bucket(str(n)) // 512 == number]


def hand_over(connection: psycopg.Connection[Any], wave: int = 0) -> None:
    fenced = fence(connection, "shop", wave, 1, 300)
    set_owner(connection, "shop", wave, "service", fenced.epoch, fenced.epoch)


def as_applier(connection: psycopg.Connection[Any]) -> None:
    name = f"toy_{uuid.uuid4().hex}"
    connection.execute("SELECT pg_replication_origin_create(%s)", (name,))
    connection.execute("SELECT pg_replication_origin_session_setup(%s)", (name,))
    connection.execute("SET session_replication_role = replica")


class TestOneWave:
    @pytest.mark.parametrize("write", WRITES)
    def test_the_owner_writes(self, shop: psycopg.Connection[Any], write: str) -> None:
        assert shop.execute(write).rowcount != 0

    @pytest.mark.parametrize("write", WRITES)
    def test_a_write_to_the_wrong_side_is_refused(self, shop: psycopg.Connection[Any], write: str) -> None:
        hand_over(shop)
        before = shop.execute("SELECT * FROM item ORDER BY id").fetchall()

        with pytest.raises(psycopg.Error) as refused:
            shop.execute(write)

        assert refused.value.sqlstate == REFUSED
        assert shop.execute("SELECT * FROM item ORDER BY id").fetchall() == before

    def test_copy_is_refused_too(self, shop: psycopg.Connection[Any]) -> None:
        hand_over(shop)
        with (
            pytest.raises(psycopg.Error) as refused,
            shop.cursor() as cursor,
            cursor.copy("COPY item (id, shop_id) FROM STDIN") as copy,
        ):
            copy.write_row((1000, 1))
        assert refused.value.sqlstate == REFUSED

    def test_the_refusal_says_who_owns_it(self, shop: psycopg.Connection[Any]) -> None:
        hand_over(shop)
        with pytest.raises(psycopg.Error) as refused:
            shop.execute("DELETE FROM note")
        diag = refused.value.diag
        assert diag.message_primary == "shop is owned by service (epoch 2)"
        assert json.loads(diag.message_detail or "") == {"domain": "shop", "wave": 0, "owner": "service", "epoch": 2}
        assert "service side" in (diag.message_hint or "")

    def test_while_it_moves_nobody_writes(self, shop: psycopg.Connection[Any]) -> None:
        fence(shop, "shop", 0, 1, 300)
        with pytest.raises(psycopg.Error) as refused:
            shop.execute("UPDATE item SET qty = 1")
        assert refused.value.sqlstate == REFUSED
        assert json.loads(refused.value.diag.message_detail or "")["owner"] == "moving"

    def test_replica_role_does_not_get_past_it(self, shop: psycopg.Connection[Any]) -> None:
        hand_over(shop)
        shop.execute("SET session_replication_role = replica")
        for write in WRITES:
            with pytest.raises(psycopg.Error) as refused:
                shop.execute(write)
            assert refused.value.sqlstate == REFUSED

    @pytest.mark.parametrize("write", WRITES)
    def test_the_applier_passes_by_its_origin(self, shop: psycopg.Connection[Any], write: str) -> None:
        hand_over(shop)
        as_applier(shop)
        assert shop.execute(write).rowcount != 0

    def test_without_a_row_of_ownership_nobody_writes(self, shop: psycopg.Connection[Any]) -> None:
        shop.execute("DELETE FROM banyan.ownership")
        with pytest.raises(psycopg.Error, match="nobody owns a row of shop"):
            shop.execute("UPDATE item SET qty = 1")

    def test_a_role_without_rights_on_the_schema_is_guarded_and_may_write(self, shop: psycopg.Connection[Any]) -> None:
        role = f"clerk_{uuid.uuid4().hex}"
        shop.execute(f"CREATE ROLE {role}")
        shop.execute(f"GRANT SELECT, UPDATE ON item TO {role}")
        shop.execute(f"SET ROLE {role}")
        assert shop.execute("UPDATE item SET qty = 1 WHERE id = 1").rowcount == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            shop.execute("SELECT banyan.fence('shop', 0, 1, 100)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            shop.execute("SELECT banyan.set_owner('shop', 0, 'service', 1, 2)")
        shop.execute("RESET ROLE")


class TestSeveralWaves:
    def test_only_the_waves_of_the_touched_rows_are_checked(self, chain: psycopg.Connection[Any]) -> None:
        hand_over(chain, wave=1)
        here, there = shops_of_wave(0), shops_of_wave(1)

        assert chain.execute("UPDATE item SET qty = 1 WHERE id = ANY (%s)", (here,)).rowcount == len(here)
        assert chain.execute("INSERT INTO note VALUES (1, %s)", (here[0],)).rowcount == 1
        for write, values in [
            ("UPDATE item SET qty = 2 WHERE id = %s", (there[0],)),
            ("INSERT INTO note VALUES (2, %s)", (there[0],)),
            ("DELETE FROM item WHERE id = %s", (there[0],)),
            ("UPDATE item SET qty = 2 WHERE id IN (%s, %s)", (here[0], there[0])),
        ]:
            with pytest.raises(psycopg.Error) as refused:
                chain.execute(write, values)
            assert refused.value.sqlstate == REFUSED
            assert json.loads(refused.value.diag.message_detail or "")["wave"] == 1

    def test_truncate_needs_every_wave(self, chain: psycopg.Connection[Any]) -> None:
        hand_over(chain, wave=1)
        with pytest.raises(psycopg.Error) as refused:
            chain.execute("TRUNCATE item")
        assert refused.value.sqlstate == REFUSED

    def test_a_statement_that_touches_no_row_passes(self, chain: psycopg.Connection[Any]) -> None:
        hand_over(chain, wave=1)
        assert chain.execute("UPDATE item SET qty = 2 WHERE false").rowcount == 0

    def test_a_row_does_not_change_its_bucket(self, chain: psycopg.Connection[Any]) -> None:
        here, there = shops_of_wave(0), shops_of_wave(1)
        with pytest.raises(psycopg.Error) as refused:
            chain.execute("UPDATE item SET shop_id = %s WHERE id = %s", (there[0], here[0]))
        assert refused.value.sqlstate == "BN422"

    def test_replica_role_does_not_get_past_it_and_the_applier_does(self, chain: psycopg.Connection[Any]) -> None:
        hand_over(chain, wave=1)
        chain.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.Error) as refused:
            chain.execute("UPDATE item SET qty = 2")
        assert refused.value.sqlstate == REFUSED
        as_applier(chain)
        assert chain.execute("UPDATE item SET qty = 2").rowcount == 100

    def test_waves_move_one_by_one(self, chain: psycopg.Connection[Any]) -> None:
        hand_over(chain, wave=1)
        assert [(row.wave, row.owner, row.epoch) for row in read_ownership(chain, "shop")] == [
            (0, "legacy", 1),
            (1, "service", 2),
        ]


def test_buckets_are_those_of_python(shop: psycopg.Connection[Any]) -> None:
    keys = ["", "1", "NL", "customer-77", "Zoë ☃ 𝄞", *(uuid.uuid4().hex for _ in range(2000))]
    rows = shop.execute("SELECT k, banyan.bucket(k) FROM unnest(%s::text[]) k", (keys,)).fetchall()
    assert dict(rows) == {key: bucket(key) for key in keys}


def test_buckets_are_those_of_the_gateway(shop: psycopg.Connection[Any]) -> None:
    gateway = pytest.importorskip("gateway.routing.bucket")
    assert shop.execute("SELECT banyan.bucket('customer-77')").fetchone() == (gateway.bucket("customer-77"),)
