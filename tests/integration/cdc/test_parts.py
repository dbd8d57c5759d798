"""Tables that share rows: one table to two, and two to one, in both directions, in any order of arrival."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.mapping import reader
from cdc.verify.compare import Comparison
from tests.integration.cdc.toy import Shop, execute, one, rows

LEGACY = """
CREATE TABLE client (id bigint PRIMARY KEY, name text NOT NULL, street text, city text NOT NULL DEFAULT '', note text);
CREATE TABLE good (id bigint PRIMARY KEY, title text NOT NULL);
CREATE TABLE good_text (good_id bigint PRIMARY KEY, body text NOT NULL, lang char(2));
ALTER TABLE client ALTER note SET STORAGE EXTERNAL, ALTER street SET STORAGE EXTERNAL;
"""
SERVICE = """
CREATE TABLE clients (id bigint PRIMARY KEY, name text NOT NULL, note text);
CREATE TABLE addresses (client_id bigint PRIMARY KEY, street text, city text NOT NULL DEFAULT '');
CREATE TABLE goods (
    id bigint PRIMARY KEY, title text NOT NULL, body text NOT NULL, language text, origin text NOT NULL);
ALTER TABLE goods ALTER body SET STORAGE EXTERNAL;
"""
MAPPING = """
domain: shop
tables:
  - legacy: public.client
    service: public.clients
    key: {legacy: id, service: id}
    columns: [id, name, note]
  - legacy: public.client
    service: public.addresses
    part: service
    key: {legacy: id, service: client_id}
    columns:
      - {legacy: id, service: client_id}
      - street
      - {legacy: city, service: city, absent: ""}
  - legacy: public.good
    service: public.goods
    key: {legacy: id, service: id}
    columns: [id, title, {service: origin, value: "100% monolith"}]
  - legacy: public.good_text
    service: public.goods
    part: legacy
    key: {legacy: good_id, service: id}
    columns:
      - {legacy: good_id, service: id}
      - {legacy: body, service: body, absent: "-"}
      - {legacy: lang, service: language, convert: enum, values: {nl: Dutch, en: English}}
"""
BIG = "x" * 20_000
_numbers = itertools.count(1)


@pytest.fixture
def shop(database: str, service_database: str, tmp_path: Path) -> Iterator[Shop]:
    execute(database, LEGACY)
    execute(service_database, SERVICE)
    (tmp_path / "shop.yaml").write_text(MAPPING)
    shop = Shop(database, service_database, tmp_path, 900 + next(_numbers))
    yield shop
    shop.close()


def differences(shop: Shop) -> list[str]:
    """Every row of every mapping, compared."""
    found = []
    options = "-c timezone=UTC"
    with (
        psycopg.connect(shop.legacy, options=options) as legacy,
        psycopg.connect(shop.service, options=options) as service,
    ):
        for table in shop.mapping.tables:
            comparison = Comparison.of(table)
            sides = (
                (legacy, table.legacy, comparison.legacy_columns, table.forward.source_key),
                (service, table.service, comparison.service_columns, table.forward.key),
            )
            here, there = (
                {comparison.key_of(row): row for batch in _all(connection, name, columns, key) for row in batch}
                for connection, name, columns, key in sides
            )
            for key in {**here, **there}:
                if (difference := comparison.difference(key, here.get(key), there.get(key))) is not None:
                    found.append(str(difference))
    return found


def _all(connection: psycopg.Connection[Any], name: str, columns: Any, key: Any) -> Any:
    return reader.stream(connection, reader.shape(connection, name, columns), key)


def parked(shop: Shop, direction: str = "forward") -> list[Any]:
    return rows(shop.target(shop.stream(direction)), 'SELECT "table", reason FROM banyan.parked ORDER BY id')


class TestOneTableToTwo:
    def test_filled_and_followed(self, shop: Shop) -> None:
        execute(shop.legacy, "INSERT INTO client VALUES (1, 'a', 'x 1', 'Delft'), (2, 'b', NULL, '')")
        shop.streaming()
        assert rows(shop.service, "TABLE addresses") == [(1, "x 1", "Delft")]
        execute(shop.legacy, "INSERT INTO client VALUES (3, 'c', NULL, 'Gent'), (4, 'd', 'y', '')")
        execute(shop.legacy, "UPDATE client SET street = NULL, city = '' WHERE id = 1")
        execute(shop.legacy, "UPDATE client SET city = 'Leiden' WHERE id = 2")
        execute(shop.legacy, "UPDATE client SET id = 30 WHERE id = 3")
        execute(shop.legacy, "DELETE FROM client WHERE id = 4")
        shop.caught_up()
        assert rows(shop.service, "SELECT * FROM addresses ORDER BY 1") == [(2, None, "Leiden"), (30, None, "Gent")]
        assert rows(shop.service, "SELECT id, name FROM clients ORDER BY 1") == [(1, "a"), (2, "b"), (30, "c")]
        assert differences(shop) == []

    def test_a_value_that_did_not_change_and_is_not_sent(self, shop: Shop) -> None:
        shop.streaming()
        execute(
            shop.legacy, "INSERT INTO client VALUES (1, 'a', %s, 'Delft', %s), (2, 'b', NULL, '', %s)", [BIG, BIG, BIG]
        )
        execute(shop.legacy, "UPDATE client SET name = 'changed'")
        execute(shop.legacy, "UPDATE client SET city = '' WHERE id = 1")
        shop.caught_up()
        assert rows(shop.service, "SELECT client_id, street = %s, city FROM addresses", [BIG]) == [(1, True, "")]
        assert one(shop.service, "SELECT count(*) FROM clients WHERE name = 'changed' AND note = %s", [BIG]) == 2
        assert differences(shop) == []
        assert parked(shop) == []

    def test_an_emptied_table_empties_both(self, shop: Shop) -> None:
        execute(shop.legacy, "INSERT INTO client VALUES (1, 'a', 'x 1', 'Delft')")
        shop.streaming()
        execute(shop.legacy, "TRUNCATE client")
        shop.caught_up()
        assert one(shop.service, "SELECT (SELECT count(*) FROM clients) + (SELECT count(*) FROM addresses)") == 0

    def test_the_way_back_fills_and_blanks_columns(self, shop: Shop) -> None:
        shop.streaming("reverse")
        execute(shop.service, "INSERT INTO clients VALUES (1, 'a'); INSERT INTO addresses VALUES (1, 'x', 'Delft')")
        execute(shop.service, "INSERT INTO clients VALUES (2, 'b'); INSERT INTO addresses VALUES (2, 'y', 'Gent')")
        execute(shop.service, "UPDATE clients SET name = 'aa' WHERE id = 1; DELETE FROM addresses WHERE client_id = 2")
        shop.caught_up("reverse")
        found = rows(shop.legacy, "SELECT id, name, street, city FROM client ORDER BY id")
        assert found == [(1, "aa", "x", "Delft"), (2, "b", None, "")]
        execute(shop.service, "TRUNCATE addresses")
        shop.caught_up("reverse")
        assert rows(shop.legacy, "SELECT DISTINCT street, city FROM client") == [(None, "")]
        assert one(shop.legacy, "SELECT count(*) FROM client") == 2

    def test_a_part_that_comes_first_waits_for_its_row(self, shop: Shop) -> None:
        shop.streaming("reverse")
        execute(shop.service, "INSERT INTO addresses VALUES (1, 'x', 'Delft')")
        execute(shop.service, "UPDATE addresses SET street = 'y' WHERE client_id = 1")
        shop.caught_up("reverse")
        [(table, reason), *waiting] = parked(shop, "reverse")
        assert (table, waiting) == ("public.addresses", [("public.addresses", None)])
        assert "missing" in reason
        execute(shop.service, "INSERT INTO clients VALUES (1, 'a')")
        shop.caught_up("reverse")
        assert parked(shop, "reverse") == []
        assert rows(shop.legacy, "SELECT id, name, street, city FROM client") == [(1, "a", "y", "Delft")]

    def test_a_part_that_goes_before_its_row_came_leaves_nothing_behind(self, shop: Shop) -> None:
        shop.streaming("reverse")
        execute(shop.service, "INSERT INTO addresses VALUES (1, 'x', 'Delft')")
        shop.caught_up("reverse")
        execute(shop.service, "DELETE FROM addresses WHERE client_id = 1")
        execute(shop.service, "INSERT INTO clients VALUES (1, 'a')")
        shop.caught_up("reverse")
        assert parked(shop, "reverse") == []
        assert rows(shop.legacy, "SELECT street, city FROM client") == [(None, "")]


class TestTwoTablesToOne:
    def test_filled_and_followed(self, shop: Shop) -> None:
        execute(shop.legacy, "INSERT INTO good VALUES (1, 'a'), (2, 'b')")
        execute(shop.legacy, "INSERT INTO good_text VALUES (1, 'long', 'nl')")
        shop.streaming()
        there = "SELECT id, title, body, language, origin FROM goods ORDER BY id"
        monolith = "100% monolith"
        assert rows(shop.service, there) == [(1, "a", "long", "Dutch", monolith), (2, "b", "-", None, monolith)]
        execute(shop.legacy, "INSERT INTO good_text VALUES (2, 'new', NULL); UPDATE good SET title = 'bb' WHERE id = 2")
        execute(shop.legacy, "DELETE FROM good_text WHERE good_id = 1")
        execute(
            shop.legacy, "BEGIN; INSERT INTO good_text VALUES (3, 'c', 'en'); INSERT INTO good VALUES (3, 'c'); COMMIT"
        )
        shop.caught_up()
        assert rows(shop.service, there) == [
            (1, "a", "-", None, monolith),
            (2, "bb", "new", None, monolith),
            (3, "c", "c", "English", monolith),
        ]
        execute(shop.legacy, "BEGIN; DELETE FROM good_text WHERE good_id = 3; DELETE FROM good WHERE id = 3; COMMIT")
        execute(shop.legacy, "BEGIN; DELETE FROM good WHERE id = 2; DELETE FROM good_text WHERE good_id = 2; COMMIT")
        shop.caught_up()
        assert rows(shop.service, there) == [(1, "a", "-", None, monolith)]
        assert parked(shop) == []
        assert differences(shop) == []

    def test_the_way_back_makes_both_rows(self, shop: Shop) -> None:
        shop.streaming("reverse")
        execute(shop.service, "INSERT INTO goods VALUES (1, 'a', 'long', 'Dutch', 'x'), (2, 'b', '-', NULL, 'x')")
        execute(shop.service, "INSERT INTO goods VALUES (3, 'c', %s, NULL, 'x')", [BIG])
        execute(shop.service, "UPDATE goods SET title = 'cc', language = 'English' WHERE id = 3")
        shop.caught_up("reverse")
        assert rows(shop.legacy, "SELECT * FROM good ORDER BY id") == [(1, "a"), (2, "b"), (3, "cc")]
        assert rows(shop.legacy, "SELECT * FROM good_text ORDER BY 1") == [(1, "long", "nl"), (3, BIG, "en")]
        execute(
            shop.service, "UPDATE goods SET body = '-', language = NULL WHERE id = 1; DELETE FROM goods WHERE id = 3"
        )
        shop.caught_up("reverse")
        assert rows(shop.legacy, "SELECT * FROM good_text") == []
        assert rows(shop.legacy, "SELECT * FROM good ORDER BY id") == [(1, "a"), (2, "b")]

    def test_a_second_fill_blanks_what_the_source_no_longer_has(self, shop: Shop) -> None:
        execute(
            shop.legacy, "INSERT INTO good VALUES (1, 'a'), (2, 'b'); INSERT INTO good_text VALUES (1, 'long', 'nl')"
        )
        execute(shop.legacy, "INSERT INTO client VALUES (1, 'a', 'x', 'Delft')")
        running = shop.streaming()
        running.stop()
        execute(
            shop.legacy,
            "DELETE FROM good_text; DELETE FROM good WHERE id = 2; UPDATE client SET street = NULL, city = ''",
        )
        running.runner.snapshot(running.stop_event.__class__())
        assert rows(shop.service, "SELECT id, title, body, language FROM goods") == [(1, "a", "-", None)]
        assert one(shop.service, "SELECT count(*) FROM addresses") == 0
        assert differences(shop) == []


def statements(seed: int, side: str) -> list[str]:
    """Random transactions over both pairs of tables. A part comes and goes with its row, in any order inside one."""
    random_ = random.Random(seed)
    tables = {
        "legacy": ("good", "id", "title", "good_text", "good_id", "body", "lang", ("nl", "en")),
        "service": ("clients", "id", "name", "addresses", "client_id", "street", "city", ("Delft", "Gent")),
    }
    wide, key, title, part, part_key, text, code, codes = tables[side]
    alive: dict[int, bool] = {}
    found = []
    for step in range(250):
        number = random_.randrange(12)
        value, word = random_.choice(["a", "b", BIG]), random_.choice(codes)
        new_part = f"INSERT INTO {part} ({part_key}, {text}, {code}) VALUES ({number}, '{value}', '{word}')"
        if number not in alive:
            pieces = [f"INSERT INTO {wide} ({key}, {title}) VALUES ({number}, 't{step}')"]
            alive[number] = random_.random() < 0.6
            pieces += [new_part] if alive[number] else []
        else:
            match random_.randrange(5):
                case 0:
                    pieces = [
                        f"DELETE FROM {wide} WHERE {key} = {number}",
                        f"DELETE FROM {part} WHERE {part_key} = {number}",
                    ]
                    del alive[number]
                case 1 if alive[number]:
                    pieces = [f"DELETE FROM {part} WHERE {part_key} = {number}"]
                    alive[number] = False
                case 2 if alive[number]:
                    pieces = [f"UPDATE {part} SET {code} = '{word}' WHERE {part_key} = {number}"]
                case 3 if not alive[number]:
                    pieces = [new_part]
                    alive[number] = True
                case _:
                    pieces = [f"UPDATE {wide} SET {title} = 'u{step}' WHERE {key} = {number}"]
        random_.shuffle(pieces)
        found.append("; ".join(["BEGIN", *pieces, "COMMIT"]))
    return found


@pytest.mark.parametrize(("side", "direction"), [("legacy", "forward"), ("service", "reverse")])
def test_whatever_happens_both_sides_agree(shop: Shop, side: str, direction: str) -> None:
    """Two narrow tables fill one wide table: rows of a service split in two back into one, and the other way round."""
    shop.streaming(direction)
    source = shop.source(shop.stream(direction))
    with psycopg.connect(source, autocommit=True) as connection:
        for statement in statements(7, side):
            connection.execute(statement)
    shop.caught_up(direction)
    assert parked(shop, direction) == []
    assert differences(shop) == []
