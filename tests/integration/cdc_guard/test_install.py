"""The guard goes into a live database without endangering it, and again without doing anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.guard.errors import FenceTimeout, GuardError
from cdc.guard.install import install, uninstall
from cdc.guard.ownership import fence, read_ownership, set_owner
from cdc.guard.waves import WHOLE, Wave
from cdc.mapping import Mapping, load
from tests.integration.cdc_guard.conftest import SCHEMA, TOY, TWO_WAVES

Connect = Callable[..., "psycopg.Connection[Any]"]
TRIGGERS = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'item'::regclass AND NOT tgisinternal ORDER BY 1"


@pytest.fixture
def bare(connect: Connect) -> psycopg.Connection[Any]:
    connection = connect()
    connection.execute(SCHEMA)
    return connection


def test_one_wave_has_one_trigger_and_several_have_one_per_event(bare, mapping) -> None:
    install(bare, mapping, "legacy", WHOLE)
    assert bare.execute(TRIGGERS).fetchall() == [("banyan_guard", "A")]
    uninstall(bare, mapping, "legacy")
    assert bare.execute(TRIGGERS).fetchall() == []
    install(bare, mapping, "legacy", TWO_WAVES)
    assert [name for name, _ in bare.execute(TRIGGERS).fetchall()] == [
        f"banyan_guard_{event}" for event in ("delete", "insert", "key", "truncate", "update")
    ]


@pytest.mark.parametrize("waves", [WHOLE, TWO_WAVES])
def test_again_keeps_the_owner_and_waits_for_nobody(bare, mapping, connect: Connect, waves) -> None:
    install(bare, mapping, "legacy", waves)
    epoch = fence(bare, "shop", 0, 1, 300).epoch
    set_owner(bare, "shop", 0, "legacy", epoch, epoch)
    before = read_ownership(bare, "shop")
    writer = connect(autocommit=False)
    writer.execute("UPDATE item SET qty = 1")

    install(bare, mapping, "legacy", waves, lock_timeout_ms=50, attempts=1)

    assert read_ownership(bare, "shop") == before
    writer.commit()


def test_a_busy_table_is_not_queued_for_longer_than_the_timeout(bare, mapping, connect: Connect) -> None:
    writer = connect(autocommit=False)
    writer.execute("UPDATE item SET qty = 1")
    with pytest.raises(FenceTimeout, match="nothing changed"):
        install(bare, mapping, "legacy", WHOLE, lock_timeout_ms=30, attempts=2)
    assert bare.execute("SELECT to_regnamespace('banyan')").fetchone() == (None,)
    writer.commit()
    install(bare, mapping, "legacy", WHOLE, lock_timeout_ms=30, attempts=2)


def test_a_trigger_that_somebody_disabled_comes_back(bare, mapping) -> None:
    install(bare, mapping, "legacy", WHOLE)
    bare.execute("ALTER TABLE item DISABLE TRIGGER banyan_guard")
    install(bare, mapping, "legacy", WHOLE)
    assert bare.execute(TRIGGERS).fetchall() == [("banyan_guard", "A")]


def test_the_service_side_starts_owned_by_the_monolith(bare, mapping, connect: Connect) -> None:
    bare.execute("ALTER TABLE item RENAME TO items; ALTER TABLE note RENAME TO notes")
    install(bare, mapping, "service", WHOLE)
    with pytest.raises(psycopg.Error) as refused:
        bare.execute("UPDATE items SET qty = 1")
    assert refused.value.sqlstate == "BN421"


def test_state_for_the_streams_is_there(bare, mapping) -> None:
    install(bare, mapping, "legacy", WHOLE)
    assert bare.execute("SELECT count(*) FROM banyan.stream, banyan.parked, banyan.fence_applied").fetchone() == (0,)


class TestKeptTriggers:
    @pytest.fixture
    def kept(self, tmp_path: Path) -> Mapping:
        path = tmp_path / "kept.yaml"
        path.write_text(TOY + "keep_triggers: [public.item.tally]\n")
        return load(path)

    def test_they_fire_for_applied_rows_too(self, bare, kept) -> None:
        bare.execute(
            "CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.qty := 42; RETURN NEW; END $$;"
            "CREATE TRIGGER tally BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION tally()"
        )
        install(bare, kept, "legacy", WHOLE)
        bare.execute("SET session_replication_role = replica")
        bare.execute("UPDATE item SET qty = 1 WHERE id = 1")
        assert bare.execute("SELECT qty FROM item WHERE id = 1").fetchone() == (42,)

    def test_one_that_does_not_exist_is_named(self, bare, kept) -> None:
        with pytest.raises(GuardError, match=r"public\.item has no trigger tally"):
            install(bare, kept, "legacy", WHOLE)
        assert bare.execute("SELECT to_regnamespace('banyan')").fetchone() == (None,)


class TestRefusals:
    @pytest.mark.parametrize(
        ("waves", "says"),
        [
            ([], "end at bucket 0"),
            ([Wave(0, 0, 512)], "end at bucket 512"),
            ([Wave(0, 0, 512), Wave(1, 600, 1024)], "must go on from 512"),
            ([Wave(0, 0, 600), Wave(1, 512, 1024)], "must go on from 600"),
            ([Wave(0, 0, 512), Wave(0, 512, 1024)], "same number"),
            ([Wave(0, 0, 0), Wave(1, 0, 1024)], "must go on from 0"),
        ],
    )
    def test_waves_that_do_not_cover_every_bucket_once(self, bare, mapping, waves, says) -> None:
        with pytest.raises(GuardError, match=says):
            install(bare, mapping, "legacy", waves)

    def test_other_waves_than_before(self, bare, mapping) -> None:
        install(bare, mapping, "legacy", WHOLE)
        bare.execute("UPDATE banyan.ownership SET owner = 'service'")
        with pytest.raises(GuardError, match="other waves"):
            install(bare, mapping, "legacy", TWO_WAVES)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ("DROP TABLE note", r"public\.note does not exist"),
            ("ALTER TABLE note ALTER shop_id DROP NOT NULL", "may be NULL"),
            ("ALTER TABLE note RENAME shop_id TO x", "no column shop_id"),
            ("CREATE TABLE child () INHERITS (note)", "not a plain table"),
            ("DROP TABLE note; CREATE TABLE note (id int, shop_id int NOT NULL) PARTITION BY HASH (id)", "plain table"),
        ],
    )
    def test_a_table_that_could_be_written_past_its_guard(self, bare, mapping, change, says) -> None:
        bare.execute(change)
        with pytest.raises(GuardError, match=says):
            install(bare, mapping, "legacy", TWO_WAVES)
        assert bare.execute(TRIGGERS).fetchall() == []

    def test_a_table_of_another_domain(self, bare, mapping, tmp_path: Path) -> None:
        install(bare, mapping, "legacy", WHOLE)
        other = tmp_path / "other.yaml"
        other.write_text(TOY.replace("domain: shop", "domain: store"))
        with pytest.raises(GuardError, match="another domain"):
            install(bare, load(other), "legacy", WHOLE)

    def test_an_open_transaction(self, connect: Connect, mapping) -> None:
        connection = connect(autocommit=False)
        connection.execute("SELECT 1")
        with pytest.raises(GuardError, match="commit first"):
            install(connection, mapping, "legacy", WHOLE)
