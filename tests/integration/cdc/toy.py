"""A toy domain of the engine's own tests: a shop's items, and a table with every type."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from cdc import mapping as mappings
from cdc import streams
from cdc.change import HEARTBEAT
from cdc.config import Stream
from cdc.emit import EMIT_FLUSHED
from cdc.runner import Runner

LEGACY = """
CREATE TABLE item (
    id bigint PRIMARY KEY, code varchar(20) UNIQUE, name text NOT NULL, price_cents int NOT NULL, note text,
    status char(1) NOT NULL DEFAULT 'A');
CREATE TABLE kind (id bigint PRIMARY KEY, name text);
CREATE TABLE everything (
    id bigint PRIMARY KEY, b bool, i2 smallint, i4 int, i8 bigint, f4 real, f8 double precision,
    n numeric, n2 numeric(10,2), t text, v varchar(20), c char(5),
    by bytea, ts timestamp, tz timestamptz, d date, tm time, u uuid, js json, jb jsonb,
    ti int[], tt text[], tn numeric[], iv interval, ne inet);
"""
SERVICE = """
CREATE TABLE product (
    id bigint PRIMARY KEY, code text UNIQUE, name text NOT NULL, price numeric(12,2) NOT NULL CHECK (price < 1000000),
    note text, state text NOT NULL);
CREATE TABLE product_kind (id bigint PRIMARY KEY, name text);
CREATE TABLE everything (
    id bigint PRIMARY KEY, b bool, i2 smallint, i4 int, i8 bigint, f4 real, f8 double precision,
    n numeric, n2 numeric(10,2), t text, v varchar(20), c char(5),
    by bytea, ts timestamp, tz timestamptz, d date, tm time, u uuid, js json, jb jsonb,
    ti int[], tt text[], tn numeric[], iv interval, ne inet);
"""
MAPPING = """
domain: shop
tables:
  - legacy: public.item
    service: public.product
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: id, service: id}
    columns:
      - id
      - code
      - name
      - {legacy: price_cents, service: price, convert: cents}
      - note
      - {legacy: status, service: state, convert: enum, values: {A: active, I: inactive}}
  - legacy: public.everything
    service: public.everything
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: id, service: id}
    columns: [id, b, i2, i4, i8, f4, f8, n, n2, t, v, c, by, ts, tz, d, tm, u, js, jb, ti, tt, tn, iv, ne]
  - legacy: public.kind
    service: public.product_kind
    direction: forward
    key: {legacy: [id], service: [id]}
    columns: [id, name]
"""

DEADLINE = 20.0


def until(condition: Callable[[], Any], what: str, timeout: float = DEADLINE) -> Any:
    """The first true value of `condition`; fails by name after the deadline."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        pause.wait(0.01)
    return value


@dataclass
class Running:
    """A runner in a thread of the test."""

    runner: Runner
    stop_event: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    thread: threading.Thread | None = None

    def start(self) -> Running:
        def work() -> None:
            try:
                self.runner.run(self.stop_event)
            except BaseException as e:
                self.error = e

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        return self

    def stop(self) -> None:
        self.stop_event.set()
        assert self.thread is not None
        self.thread.join(10)
        assert not self.thread.is_alive(), "the stream does not stop"

    def failure(self) -> BaseException:
        until(lambda: self.error, "the stream to refuse")
        assert self.error is not None
        return self.error


@dataclass
class Shop:
    """Both databases of the toy domain, its streams, and how to wait for them."""

    legacy: str
    service: str
    folder: Path
    number: int
    running: list[Running] = field(default_factory=list)
    prepared: list[Stream] = field(default_factory=list)
    transport: dict[str, Any] = field(default_factory=dict)

    @property
    def mapping(self) -> mappings.Mapping:
        return mappings.load(self.mapping_path)

    @property
    def mapping_path(self) -> Path:
        path = self.folder / "shop.yaml"
        if not path.exists():
            path.write_text(MAPPING)
        return path

    def stream(self, direction: str) -> Stream:
        name = f"shop{self.number}_{direction}"
        return Stream(
            name=f"shop.{direction}",
            domain="shop",
            direction=direction,
            source_dsn_env="SOURCE_DSN",
            target_dsn_env="TARGET_DSN",
            slot=name,
            publication=name,
            origin=name,
            snapshot=direction == "forward",
            mapping=str(self.mapping_path),
            **self.transport,
        )

    def source(self, stream: Stream) -> str:
        return self.legacy if stream.direction == "forward" else self.service

    def target(self, stream: Stream) -> str:
        return self.service if stream.direction == "forward" else self.legacy

    def prepare(self, direction: str) -> Stream:
        stream = self.stream(direction)
        self.prepared.append(stream)
        streams.prepare(stream, self.source(stream), self.target(stream))
        return stream

    def start(self, stream: Stream) -> Running:
        running = Running(Runner(stream, self.mapping, self.source(stream), self.target(stream))).start()
        self.running.append(running)
        return running

    def streaming(self, direction: str = "forward") -> Running:
        """Prepared, started, and past its snapshot."""
        running = self.start(self.prepare(direction))
        until(lambda: running.runner.status.state == "streaming" or running.error, "the stream to start")
        assert running.error is None, running.error
        return running

    def file(self, stream: Stream, **changes: Any) -> Path:
        path = self.folder / f"{stream.name}.json"
        path.write_bytes(msgspec.json.encode({**msgspec.to_builtins(stream), **changes}))
        return path

    def caught_up(self, direction: str = "forward") -> None:
        """Everything committed at the source so far is in the target."""
        stream = self.stream(direction)
        lsn = one(self.source(stream), "SELECT pg_current_wal_lsn()")

        def passed() -> bool:
            for running in self.running:
                if running.error is not None:
                    raise AssertionError("the stream ended") from running.error
            execute(self.source(stream), EMIT_FLUSHED, [HEARTBEAT])
            there = "SELECT source_lsn >= %s::pg_lsn FROM banyan.stream WHERE stream = %s"
            return bool(one(self.target(stream), there, [lsn, stream.name]))

        until(passed, f"{stream.name} to catch up")

    def close(self) -> None:
        for running in self.running:
            running.stop()
        for stream in self.prepared:
            streams.drop(stream, self.source(stream), self.target(stream))


def execute(dsn: str, query: str, parameters: Any = None) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(query, parameters)


def rows(dsn: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query, parameters).fetchall()


def one(dsn: str, query: str, parameters: Any = None) -> Any:
    found = rows(dsn, query, parameters)
    return found[0][0] if found else None


ITEMS = """
SELECT id, code, name, price_cents, note, CASE status WHEN 'A' THEN 'active' ELSE 'inactive' END FROM item ORDER BY id
"""
PRODUCTS = "SELECT id, code, name, (price * 100)::int, note, state FROM product ORDER BY id"


def assert_equal(shop: Shop) -> None:
    assert rows(shop.service, PRODUCTS) == rows(shop.legacy, ITEMS)
