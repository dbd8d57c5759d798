"""Tables, ranges and keys that are read again beside a running stream."""

from __future__ import annotations

import json
import signal
from typing import Any

import psycopg
import pytest

from cdc.errors import ConfigError, NotPrepared, TargetOwns
from cdc.snapshot import ask, chunks, requests
from cdc.snapshot.requests import Scope
from cdc.throttle import Limits
from tests.integration.cdc.snapshots import (
    PARKED,
    STATE,
    TOAST,
    asked,
    busy,
    dsns,
    ended,
    equal,
    items,
    limited,
    writers,
)
from tests.integration.cdc.test_ownership import guard
from tests.integration.cdc.test_process import cdc, cli
from tests.integration.cdc.toy import Shop, execute, one, rows, until


class TestResnapshot:
    def test_it_repairs_planted_damage_under_load_and_loses_no_write(self, shop: Shop) -> None:
        items(shop, 4000, TOAST)
        execute(shop.legacy, "INSERT INTO kind SELECT n, 'k' FROM generate_series(1, 100) n")
        stream = shop.prepare("forward")
        shop.start(limited(stream, chunk_rows=400))
        until(lambda: one(shop.service, STATE) == "streaming", "the first fill")
        with writers(shop):
            execute(shop.service, "DELETE FROM product WHERE id % 97 = 3")
            execute(shop.service, "UPDATE product SET note = 'damaged' WHERE id % 89 = 5")
            execute(shop.service, "UPDATE product SET price = 0 WHERE id % 83 = 7")
            execute(
                shop.service,
                "INSERT INTO product SELECT 300000 + n, NULL, 's', 1, NULL, 'active' FROM generate_series(1, 50) n",
            )
            execute(shop.service, "DELETE FROM product_kind WHERE id < 50")
            found = asked(shop)
        assert {(r.table, r.state) for r in found} == {
            ("public.item", "done"), ("public.kind", "done"), ("public.everything", "done"),
        }  # fmt: skip
        equal(shop)
        assert one(shop.service, "SELECT count(*) FROM product_kind") == 100
        assert next(r for r in found if r.table == "public.item").removed >= 50

    @pytest.mark.parametrize(
        ("scope", "healed"),
        [
            (Scope(first=("100",), last=("199",)), range(100, 200)),
            (Scope(first=("2900",)), range(2900, 3001)),
            (Scope(keys=(("5",), ("7",), ("4444",))), [5, 7]),
        ],
    )
    def test_a_range_or_keys_are_read_again_and_nothing_else(self, shop: Shop, scope: Scope, healed: Any) -> None:
        items(shop, 3000)
        shop.streaming()
        execute(shop.service, "UPDATE product SET price = 0")
        execute(
            shop.service,
            "INSERT INTO product VALUES (4444, NULL, 's', 0, NULL, 'active'), (5555, NULL, 's', 0, NULL, 'active')",
        )
        execute(shop.service, "DELETE FROM product WHERE id IN (5, 150, 2950)")
        [done] = asked(shop, "public.item", scope=scope)
        assert (done.state, done.problem) == ("done", None)
        good = {number for (number,) in rows(shop.service, "SELECT id FROM product WHERE price > 0")}
        assert good == set(healed)
        left = {number for (number,) in rows(shop.service, "SELECT id FROM product WHERE id > 3000")}
        assert left == {4444, 5555} - ({4444} if scope.keys else {4444, 5555} if scope.last is None else set())

    def test_it_frees_parked_keys_whose_row_is_good_by_now(self, shop: Shop) -> None:
        items(shop, 10)
        shop.streaming()
        execute(shop.legacy, "UPDATE item SET price_cents = 200000000 WHERE id IN (3, 4)")
        shop.caught_up()
        execute(shop.legacy, "UPDATE item SET price_cents = 5 WHERE id = 3")
        shop.caught_up()
        assert one(shop.service, PARKED) == 3
        asked(shop, "public.item")
        assert rows(shop.service, "SELECT key FROM banyan.parked") == [([4],)]
        assert one(shop.service, "SELECT price FROM product WHERE id = 3") * 100 == 5

    def test_it_goes_on_after_kill_9(self, shop: Shop) -> None:
        items(shop, 4000)
        stream = shop.prepare("forward")
        path = shop.file(stream, snapshot_limits=Limits(chunk_rows=100))
        with cdc(shop, stream, "run", "--stream", str(path)) as process:
            until(lambda: one(shop.service, STATE) == "streaming", "the first fill")
            execute(shop.service, "UPDATE product SET price = 0")
            ask.ask(stream, shop.mapping, dsns(shop, stream), ["public.item"], rows_per_s=2000)
            until(
                lambda: (one(shop.service, "SELECT max(rows) FROM banyan.snapshot WHERE NOT fills") or 0) > 500,
                "a part",
            )
            process.send_signal(signal.SIGKILL)
            process.wait()
        shop.start(stream)
        ended(shop, [n for (n,) in rows(shop.service, "SELECT id FROM banyan.snapshot WHERE NOT fills")])
        assert one(shop.service, "SELECT rows FROM banyan.snapshot WHERE NOT fills") == 4000  # none was read twice
        equal(shop)

    def test_it_waits_for_a_busy_source_keeps_to_its_rate_and_can_be_cancelled(self, shop: Shop) -> None:
        items(shop, 3000)
        stream = shop.prepare("forward")
        shop.start(limited(stream, chunk_rows=50, active_sessions=1))
        until(lambda: one(shop.service, STATE) == "streaming", "the first fill")
        execute(shop.service, "UPDATE product SET price = 0")
        with busy(shop.legacy, 2):
            [item] = ask.ask(stream, shop.mapping, dsns(shop, stream), ["public.item"], rows_per_s=500)
            until(lambda: one(shop.service, "SELECT waits FROM banyan.snapshot WHERE id = %s", [item.id]), "it to wait")
            assert one(shop.service, "SELECT rows FROM banyan.snapshot WHERE id = %s", [item.id]) <= 50
        until(
            lambda: one(shop.service, "SELECT rows FROM banyan.snapshot WHERE id = %s", [item.id]) > 200, "it to go on"
        )
        assert ask.cancel(stream, shop.service) == 1
        spent, read = rows(
            shop.service,
            "SELECT extract(epoch FROM ended_at - began_at), rows FROM banyan.snapshot WHERE id = %s",
            [item.id],
        )[0]
        assert read <= 500 * (float(spent) + 1) + 50
        shop.caught_up()
        assert 0 < one(shop.service, "SELECT count(*) FROM product WHERE price = 0") < 3000
        [again] = asked(shop, "public.item")
        assert again.state == "done"
        equal(shop)

    def test_a_wave_that_is_the_targets_is_not_read_again(self, shop: Shop) -> None:
        items(shop, 100)
        guard(shop)
        shop.streaming()
        stream = shop.stream("forward")
        # One that was asked for before the switch stops at it; one that is asked for after it is refused at once.
        with psycopg.connect(shop.legacy) as holder:
            holder.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
            [item] = ask_without_look(shop)
            waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
            until(lambda: one(shop.legacy, waits, ["banyan-cdc shop.forward snapshot"]), "it to be taken up")
            execute(shop.service, "UPDATE banyan.ownership SET owner = 'service', epoch = 2")
            execute(shop.service, "UPDATE product SET name = 'accepted' WHERE id = 7")
        [done] = ended(shop, [item])
        assert done.state == "failed"
        assert "owned by service" in (done.problem or "")
        with pytest.raises(TargetOwns, match="owned by service"):
            ask.ask(stream, shop.mapping, dsns(shop, stream), ["public.item"])
        assert one(shop.service, "SELECT name FROM product WHERE id = 7") == "accepted"
        [reference] = asked(shop, "public.kind")
        assert reference.state == "done"

    @pytest.mark.parametrize(
        ("tables", "scope", "message"),
        [
            (["public.nothing"], (None, None, None), "has no source table public.nothing: it has public.item"),
            ([], (None, None, "5"), "of one table: name it with --table"),
            (["public.item"], ("5", None, "5"), "give one of the two"),
            (["public.item"], ("9", "5", None), "comes after --to"),
            (["public.item"], ("abc", None, None), "invalid input syntax for type bigint"),
            (["public.item"], (None, '["a", 5]', None), "it has 1 columns, id bigint"),
            (["public.item"], (None, None, "[5"), "no JSON list"),
            (["public.item"], (None, None, "[[true]]"), "no key"),
            (["public.item"], (None, None, ","), "takes 1 to 10000 keys"),
        ],
    )
    def test_what_is_wrong_is_said_and_nothing_is_asked_for(
        self, shop: Shop, tables: list[str], scope: tuple[Any, Any, Any], message: str
    ) -> None:
        stream = shop.prepare("forward")
        execute(shop.service, "UPDATE banyan.stream SET state = 'streaming', source_lsn = '0/1'")
        with pytest.raises(ConfigError) as refused:
            ask.ask(stream, shop.mapping, dsns(shop, stream), tables, ask.scope_of(*scope))
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)
        assert one(shop.service, "SELECT count(*) FROM banyan.snapshot") == 0

    def test_it_is_refused_before_the_first_fill_and_twice_for_a_table(self, shop: Shop) -> None:
        stream = shop.prepare("forward")
        with pytest.raises(NotPrepared, match="has not been filled yet"):
            ask.ask(stream, shop.mapping, dsns(shop, stream), [])
        execute(shop.service, "UPDATE banyan.stream SET state = 'streaming', source_lsn = '0/1'")
        assert [item.id for item in ask.ask(stream, shop.mapping, dsns(shop, stream), [], dry_run=True)] == [None] * 3
        ask.ask(stream, shop.mapping, dsns(shop, stream), ["item"])
        with pytest.raises(ConfigError, match="is being read again already"):
            ask.ask(stream, shop.mapping, dsns(shop, stream), ["item"])

    def test_the_command_says_what_it_would_read_reads_it_and_tells_how_it_went(self, shop: Shop) -> None:
        items(shop, 1000)
        shop.streaming()
        stream = shop.stream("forward")
        again = ["resnapshot", "--stream", str(shop.file(stream))]
        looked = cli(shop, stream, *again, "--table", "item", "--from", "1", "--to", "9", "--dry-run")
        assert looked.stdout.endswith("rows into public.product\n")
        execute(shop.service, "UPDATE product SET price = 0")
        done = json.loads(cli(shop, stream, *again, "--table", "item", "--keys", "5,7", "--json").stdout)
        assert [(each["state"], each["rows"]) for each in done["done"]] == [("done", 2)]
        said = cli(shop, stream, *again)
        assert "public.item: done, 1,000 rows" in said.stdout
        equal(shop)
        wrong = cli(shop, stream, *again, "--keys", "5")
        assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
        assert "name it with --table" in wrong.stderr
        assert cli(shop, stream, *again, "--cancel").stdout == "0 requests ended\n"


def ask_without_look(shop: Shop) -> list[int]:
    with psycopg.connect(shop.service, autocommit=True) as target:
        return [requests.add(target, "shop.forward", "public.item")]


def test_keys_of_types_with_a_length_are_found_whole(shop: Shop) -> None:
    execute(shop.legacy, "CREATE TABLE odd (a char(4), b bit(3), c numeric(6, 2), PRIMARY KEY (a, b, c))")
    execute(shop.legacy, "INSERT INTO odd VALUES ('abc', '101', 12.5), ('ab', '111', 1), ('a', '100', 1)")
    with psycopg.connect(shop.legacy) as source:
        keys = chunks.keys_of(source, "public.odd", ["a", "b", "c"])
        wanted = [("abc", "101", "12.50"), ("ab", "111", "1"), ("xyz", "111", "1")]
        there = source.execute(keys.rows_at(wanted, ["a"])).fetchall()
        assert [row[0].strip() for row in there] == ["abc", "ab"]
        assert source.execute(keys.absent(wanted)).fetchall() == [("xyz", "111", 1)]
