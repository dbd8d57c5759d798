"""Lag under a steady load: from sending a write to the source until a listener hears of it at the target.

The written row is one of table `marker`, a hundred a second amid the load; at the target a trigger notifies, which
PostgreSQL does once the row can be seen. So nothing of the contestant's own is believed.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg

from load.bench.cdc_rig import Contestant, Rig, pause, wait_active

WRITERS = 8
EACH = 5  # changes in a transaction
PROBES_PER_S = 100
WARM_UP = 1.0  # seconds that do not count

NOTIFY = """
CREATE OR REPLACE FUNCTION bench_heard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('bench_marker', NEW.id::text); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER bench_heard AFTER INSERT ON marker FOR EACH ROW EXECUTE FUNCTION bench_heard();
ALTER TABLE marker ENABLE ALWAYS TRIGGER bench_heard;
"""


def lag(rig: Rig, contestant: Contestant, per_s: int, seconds: float, first: int) -> dict[str, float]:
    """Milliseconds at `per_s` changes a second: inserts of new rows and updates of some of them."""
    landing = contestant.landing(rig)
    assert landing is not None
    deadline = time.monotonic() + seconds + 60
    with (
        psycopg.connect(rig.source_dsn, autocommit=True) as source,
        psycopg.connect(landing, autocommit=True) as target,
        contestant.running(rig) as arrived,
    ):
        target.execute(NOTIFY)
        target.execute("LISTEN bench_marker")
        wait_active(source, contestant, arrived, deadline)
        heard: dict[int, float] = {}
        done = threading.Event()
        listener = threading.Thread(target=_listen, args=(target, heard, done))
        listener.start()
        sent: dict[int, float] = {}
        prober = threading.Thread(target=_probe, args=(rig, source, sent, time.monotonic() + seconds))
        prober.start()
        made = _load(rig, per_s, seconds, first)
        prober.join()
        while not arrived(rig.marker):
            pause(deadline, f"{contestant.name} does not come to the end of the load")
        while rig.marker not in heard:
            pause(deadline, f"{contestant.name}: no notice of the last marker")
        done.set()
        listener.join()
    begin = min(sent.values()) + WARM_UP
    lags = sorted((heard[number] - at) * 1000 for number, at in sent.items() if at >= begin)
    return {
        "p50_ms": round(lags[len(lags) // 2], 2),
        "p99_ms": round(lags[int(len(lags) * 0.99)], 2),
        "per_s": round(made / seconds),
    }


def _listen(target: psycopg.Connection[Any], heard: dict[int, float], done: threading.Event) -> None:
    while not done.is_set():
        for notice in target.notifies(timeout=0.2):
            heard[int(notice.payload)] = time.monotonic()


def _probe(rig: Rig, source: psycopg.Connection[Any], sent: dict[int, float], until: float) -> None:
    while (now := time.monotonic()) < until:
        sent[rig.marker + 1] = now
        source.execute("INSERT INTO marker VALUES (%s)", [rig.marker + 1])
        rig.marker += 1
        time.sleep(1 / PROBES_PER_S)


def _load(rig: Rig, per_s: int, seconds: float, first: int) -> int:
    """Writers at an even pace, whose commits wait for the disk: what is not flushed is not sent to anybody. Returns the
    number of changes.
    """
    made = [0] * WRITERS
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            made[writer] = _writer(rig.source_dsn, per_s / WRITERS, seconds, first + writer * 10_000_000)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(made)


def _writer(dsn: str, per_s: float, seconds: float, first: int) -> int:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        began, changes, key = time.monotonic(), 0, first
        while (now := time.monotonic() - began) < seconds:
            if changes >= now * per_s:
                time.sleep(0.001)
                continue
            connection.execute("CALL bench_change(%s)", [key])
            key += EACH
            changes += EACH
        return changes
