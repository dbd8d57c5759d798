"""A toy domain: one shop, guarded on the side of the monolith."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc.guard.install import install
from cdc.guard.waves import WHOLE, Wave
from cdc.mapping import Mapping, load

TOY = """
domain: shop
tables:
  - legacy: public.item
    service: public.items
    key: {legacy: id, service: id}
    bucket_key: {legacy: shop_id, service: shop_id}
    columns: [id, shop_id, {legacy: qty, service: quantity}]
  - legacy: public.note
    service: public.notes
    key: {legacy: id, service: id}
    bucket_key: {legacy: shop_id, service: shop_id}
    columns: [id, shop_id]
"""
SCHEMA = """
CREATE TABLE item (id int PRIMARY KEY, shop_id int NOT NULL, qty int NOT NULL DEFAULT 0);
CREATE TABLE note (id int PRIMARY KEY, shop_id int NOT NULL);
INSERT INTO item SELECT n, n, 0 FROM generate_series(1, 100) n;
"""
TWO_WAVES = (Wave(0, 0, 512), Wave(1, 512, 1024))

Connect = Callable[..., "psycopg.Connection[Any]"]


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    path = tmp_path / "shop.yaml"
    path.write_text(TOY)
    return load(path)


@pytest.fixture
def connect(database: str) -> Any:
    """Opens connections to the test's database and closes them after it."""
    opened: list[psycopg.Connection[Any]] = []

    def open_one(autocommit: bool = True) -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(database, autocommit=autocommit))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def shop(connect: Connect, mapping: Mapping) -> psycopg.Connection[Any]:
    """The monolith's database with one wave, owned by it."""
    connection = connect()
    connection.execute(SCHEMA)
    install(connection, mapping, "legacy", WHOLE)
    return connection


@pytest.fixture
def chain(connect: Connect, mapping: Mapping) -> psycopg.Connection[Any]:
    """The monolith's database with two waves, both owned by it."""
    connection = connect()
    connection.execute(SCHEMA)
    install(connection, mapping, "legacy", TWO_WAVES)
    return connection
