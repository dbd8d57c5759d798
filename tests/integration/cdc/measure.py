"""Figures of the toy domain's stream: `python -m tests.integration.cdc.measure`. No benchmark: it has no peers."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from banyan.servers import Postgres
from cdc import streams
from cdc.__main__ import _spare_the_collector
from cdc.change import HEARTBEAT
from cdc.emit import EMIT_FLUSHED
from tests.fixtures.servers import create_database
from tests.integration.cdc.toy import LEGACY, SERVICE, Shop, execute, one, until


def percentiles(values: list[float]) -> dict[str, float]:
    values.sort()
    return {
        "p50_ms": round(values[len(values) // 2], 2),
        "p99_ms": round(values[int(len(values) * 0.99)], 2),
        "n": len(values),
    }


def idle_lag(shop: Shop, commits: int = 200) -> dict[str, float]:
    """One commit at a time on an idle stream: from COMMIT's return until the target's own notice of it."""
    waits = []
    with streams.fence_listener(shop.service) as listener, psycopg.connect(shop.legacy, autocommit=True) as source:
        pause = threading.Event()
        for epoch in range(1, commits + 1):
            with source.transaction():
                source.execute("UPDATE item SET price_cents = price_cents + 1 WHERE id = 1")
                marker = f'{{"domain": "shop", "wave": 1, "epoch": {epoch}}}'
                source.execute("SELECT pg_logical_emit_message(true, 'banyan.fence', %s)", [marker])
            waits.append(listener.wait("shop.forward", "shop", 1, epoch, timeout=5).waited_ms)
            pause.wait(0.01)
    return percentiles(waits)


def busy_lag(shop: Shop, per_s: int, seconds: float = 5.0) -> dict[str, float]:
    """Single-row commits at a rate; lag of each batch as the stream itself measures it, weighted by rows."""
    running = shop.running[0]
    lags: list[float] = []
    status = running.runner.status
    original = type(status).note

    def note(self: object, applied: object, parked: int) -> None:
        lags.extend([applied.lag_ms] * applied.rows)  # type: ignore[attr-defined]
        original(status, applied, parked)  # type: ignore[arg-type]

    type(status).note = note  # type: ignore[method-assign,assignment]
    began = time.monotonic()
    sent = 0
    with psycopg.connect(shop.legacy, autocommit=True) as source:
        while (now := time.monotonic() - began) < seconds:
            if sent < now * per_s:
                sent += 1
                source.execute("UPDATE item SET price_cents = price_cents + 1 WHERE id = %s", [sent % 1000 + 1])
            else:
                time.sleep(0.0005)
    shop.caught_up()
    type(status).note = original  # type: ignore[method-assign]
    return {**percentiles(lags), "per_s": round(sent / seconds)}


def backlog(shop: Shop, statement: str, transactions: int, each: int) -> float:
    """Rows per second through a backlog that was written while the stream stood still."""
    shop.running[-1].stop()
    with psycopg.connect(shop.legacy, autocommit=True) as source:
        source.execute("SET synchronous_commit = off")
        for n in range(transactions):
            source.execute(statement, {"from": n * each, "to": (n + 1) * each - 1})
    lsn = one(shop.legacy, "SELECT pg_current_wal_lsn()")
    execute(shop.legacy, EMIT_FLUSHED, [HEARTBEAT])
    began = time.monotonic()
    shop.start(shop.stream("forward"))
    until(lambda: one(shop.service, "SELECT source_lsn >= %s::pg_lsn FROM banyan.stream", [lsn]), "the backlog", 120)
    return round(transactions * each / (time.monotonic() - began))


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    servers = [
        Postgres(data=folder / name, log=folder / f"{name}.log", settings={"fsync": "off"}).start()
        for name in ("legacy", "service")
    ]
    try:
        _spare_the_collector()  # as the process does
        shop = Shop(create_database(servers[0]), create_database(servers[1]), folder, 1)
        execute(shop.legacy, LEGACY)
        execute(shop.service, SERVICE)
        execute(
            shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'name ' || n, n * 10 FROM generate_series(1, 100000) n"
        )
        stream = shop.prepare("forward")
        began = time.monotonic()
        running = shop.start(stream)
        until(lambda: running.runner.status.state == "streaming", "the snapshot", 60)
        figures: dict[str, object] = {"snapshot_rows_per_s": round(100000 / (time.monotonic() - began))}
        figures["idle"] = idle_lag(shop)
        figures["1000/s"], figures["2000/s"] = busy_lag(shop, 1000), busy_lag(shop, 2000)
        series = "generate_series(%(from)s::int, %(to)s::int)"
        insert = f"INSERT INTO item SELECT 1000000 + n, NULL, 'name', 5 FROM {series} n"
        figures["backlog_inserts_per_s"] = backlog(shop, insert, 100, 1000)
        update = "UPDATE item SET price_cents = 7 WHERE id BETWEEN 1000000 + %(from)s AND 1000000 + %(to)s"
        figures["backlog_updates_per_s_10_a_transaction"] = backlog(shop, update, 5000, 10)
        print(json.dumps(figures))
        shop.close()
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main()
