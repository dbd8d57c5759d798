"""Values replaced through a reference table, while rows are streamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cdc.config import load_mapping
from cdc.mapping import MappingError, load, projection, reference
from cdc.mapping.sqltypes import types_of
from cdc.runner import Runner
from tests.integration.cdc.toy import Running, Shop, execute, one, rows, until

LEGACY = """
CREATE TABLE country (id int PRIMARY KEY, iso char(2) NOT NULL);
CREATE TABLE place (id bigint PRIMARY KEY, country_id int);
INSERT INTO country VALUES (1, 'NL'), (2, 'BE');
"""
SERVICE = "CREATE TABLE places (id bigint PRIMARY KEY, country text)"
MAPPING = """
domain: shop
tables:
  - legacy: public.place
    service: public.places
    key: {legacy: id, service: id}
    columns:
      - id
      - {legacy: country_id, service: country, convert: lookup, table: public.country, side: legacy,
         legacy_value: id, service_value: iso}
"""


@pytest.fixture
def shop(database: str, service_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    execute(database, LEGACY)
    execute(service_database, SERVICE)
    (tmp_path / "shop.yaml").write_text(MAPPING)
    shop = Shop(database, service_database, tmp_path, 801)
    yield shop
    shop.close()


def start(shop: Shop, direction: str, monkeypatch: pytest.MonkeyPatch) -> Running:
    """As the process does it: the mapping knows by its stream where reference tables are."""
    stream = shop.prepare(direction)
    monkeypatch.setenv("SOURCE_DSN", shop.source(stream))
    monkeypatch.setenv("TARGET_DSN", shop.target(stream))
    runner = Runner(stream, load_mapping(stream), shop.source(stream), shop.target(stream))
    running = Running(runner).start()
    shop.running.append(running)
    until(lambda: runner.status.state == "streaming" or running.error, "the stream to start")
    assert running.error is None, running.error
    return running


def test_a_new_reference_is_found_when_a_row_uses_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "AGAIN_S", 0.0)
    execute(shop.legacy, "INSERT INTO place VALUES (1, 1), (2, NULL)")
    start(shop, "forward", monkeypatch)
    execute(shop.legacy, "INSERT INTO place VALUES (3, 2)")
    execute(shop.legacy, "INSERT INTO country VALUES (3, 'DE'); INSERT INTO place VALUES (4, 3)")
    shop.caught_up()
    assert rows(shop.service, "TABLE places ORDER BY 1") == [(1, "NL"), (2, None), (3, "BE"), (4, "DE")]
    execute(shop.legacy, "INSERT INTO place VALUES (5, 99)")
    shop.caught_up()
    assert "99 is not in reference table public.country" in one(shop.service, "SELECT reason FROM banyan.parked")


def test_the_way_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    start(shop, "reverse", monkeypatch)
    execute(shop.service, "INSERT INTO places VALUES (1, 'BE'), (2, NULL)")
    shop.caught_up("reverse")
    assert rows(shop.legacy, "TABLE place ORDER BY 1") == [(1, 2), (2, None)]


def test_its_sql_is_what_was_read(shop: Shop) -> None:
    mapping = load(shop.mapping_path)
    table = mapping.tables[0]
    execute(shop.legacy, "INSERT INTO place VALUES (1, 1), (2, NULL)")
    with psycopg.connect(shop.legacy) as legacy, psycopg.connect(shop.service) as service:
        types = types_of(legacy, service, table)
        assert projection.canonical(table, "legacy", *types) is None, "nothing was read yet"
        reference.read(reference.bind(mapping, {"legacy": lambda: psycopg.connect(shop.legacy)}))
        expressions = [p.expression for p in projection.forward(table, *types) if p.expression is not None]
        query = sql.SQL("SELECT {} FROM place t ORDER BY 1").format(sql.SQL(", ").join(expressions))
        assert legacy.execute(query).fetchall() == [(1, "NL"), (2, None)]
        legacy.execute("INSERT INTO place VALUES (3, 99)")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="no value on the other side"):
            legacy.execute(query)
        assert projection.canonical(table, "service", *types) is not None


def test_a_reference_table_must_be_there_and_one_to_one(shop: Shop) -> None:
    mapping = reference.bind(load(shop.mapping_path), {"legacy": lambda: psycopg.connect(shop.legacy)})
    execute(shop.legacy, "INSERT INTO country VALUES (9, 'NL')")
    with pytest.raises(MappingError, match="not one to one"):
        reference.read(mapping)
    execute(shop.legacy, "DROP TABLE country")
    with pytest.raises(MappingError, match=r"public\.country: relation .* does not exist"):
        reference.read(mapping)
