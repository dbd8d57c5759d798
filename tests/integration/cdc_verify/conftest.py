"""A toy domain on both clusters, with the state table that a stream keeps in its target."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cdc.mapping import Mapping, load
from tests.integration.cdc import toy
from tests.integration.cdc.toy import Shop, execute

_numbers = itertools.count(700)  # slots are the cluster's: not those of the streams' own tests

TOY = """
domain: shop
tables:
  - legacy: public.client
    service: public.client_refs
    direction: forward
    key: {legacy: id, service: id}
    columns: [id, name]
  - legacy: public.item
    service: public.items
    key: {legacy: id, service: id}
    columns:
      - id
      - {legacy: name, service: title, convert: char}
      - {legacy: qty, service: quantity}
      - {legacy: paid_cents, service: paid, convert: cents}
      - {legacy: [ts, flag], service: at, convert: local_hour, zone: Europe/Amsterdam}
  - legacy: public.line
    service: public.lines
    key: {legacy: [item, code], service: [item_id, code]}
    columns: [{legacy: item, service: item_id}, code, {legacy: ok, service: ok, convert: yes_no}]
"""
LEGACY = """
CREATE TABLE client (id bigint PRIMARY KEY, name text, phone text);
CREATE TABLE item (id bigint PRIMARY KEY, name char(12), qty int, paid_cents int, ts timestamp, flag char(1));
CREATE TABLE line (item bigint, code varchar(10), ok char(1), PRIMARY KEY (item, code));
INSERT INTO client SELECT n, 'client ' || n, '06' FROM generate_series(1, 50) n;
INSERT INTO item SELECT n, CASE WHEN n % 7 > 0 THEN 'item ' || n END, n, n * 7,
    timestamp '2024-01-01' + n * interval '1 min', 'N' FROM generate_series(1, 12000) n;
INSERT INTO line SELECT n / 3, chr(65 + n % 3) || 'é', CASE WHEN n % 2 = 0 THEN 'Y' ELSE 'N' END
  FROM generate_series(1, 3000) n;
"""
SERVICE = """
CREATE TABLE client_refs (id bigint PRIMARY KEY, name text);
CREATE TABLE items (id bigint PRIMARY KEY, title text, quantity int, paid numeric(12,2), at timestamptz);
CREATE TABLE lines (item_id bigint, code text, ok bool, PRIMARY KEY (item_id, code));
INSERT INTO client_refs SELECT n, 'client ' || n FROM generate_series(1, 50) n;
INSERT INTO items SELECT n, CASE WHEN n % 7 > 0 THEN 'item ' || n END, n, n * 0.07,
    (timestamp '2024-01-01' + n * interval '1 min') AT TIME ZONE 'Europe/Amsterdam' FROM generate_series(1, 12000) n;
INSERT INTO lines SELECT n / 3, chr(65 + n % 3) || 'é', n % 2 = 0 FROM generate_series(1, 3000) n;
CREATE SCHEMA banyan;
CREATE TABLE banyan.stream (stream text PRIMARY KEY, source_lsn pg_lsn);
"""


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    path = tmp_path / "shop.yaml"
    path.write_text(TOY)
    return load(path)


@pytest.fixture
def legacy(database: str) -> psycopg.Connection:
    connection = psycopg.connect(database, autocommit=True)
    connection.execute(LEGACY)
    yield connection
    connection.close()


@pytest.fixture
def service(service_database: str) -> psycopg.Connection:
    """Filled with what the mapping makes of the monolith's rows: both sides are alike."""
    connection = psycopg.connect(service_database, autocommit=True)
    connection.execute(SERVICE)
    yield connection
    connection.close()


@pytest.fixture
def shop(database: str, service_database: str, tmp_path: Path) -> Iterator[Shop]:
    """The toy domain of the streams' tests, with real streams."""
    execute(database, toy.LEGACY)
    execute(service_database, toy.SERVICE)
    shop = Shop(database, service_database, tmp_path, next(_numbers))
    yield shop
    shop.close()
