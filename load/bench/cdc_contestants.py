"""Who takes part in `banyan bench cdc`: our stream, directly applied, and PostgreSQL's own logical replication."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg

from cdc import streams
from cdc.config import Stream
from load.bench.cdc_rig import MAPPING, PUBLICATION, SOURCE, TARGET, Arrived, Rig, database


class Direct:
    """`python -m cdc run`: captured, mapped and applied by one process, no broker between."""

    name, slot = "direct", "bench_direct"
    bound, captured = None, 0

    def prepare(self, rig: Rig) -> None:
        database(rig.target, "direct", TARGET)
        (rig.folder / "mapping.yaml").write_text(MAPPING)
        fields: dict[str, Any] = {
            "name": "bench.forward", "domain": "bench", "direction": "forward", "snapshot": False,
            "source_dsn_env": "BENCH_SOURCE", "target_dsn_env": "BENCH_TARGET",
            "slot": self.slot, "publication": PUBLICATION, "origin": self.slot,
            "mapping": str(rig.folder / "mapping.yaml"),
        }  # fmt: skip
        (rig.folder / "direct.json").write_text(json.dumps(fields))
        streams.prepare(Stream(**fields), rig.source_dsn, self.target(rig))

    def target(self, rig: Rig) -> str:
        return rig.target.dsn("direct")

    @contextlib.contextmanager
    def running(self, rig: Rig) -> Iterator[Arrived]:
        with carrying(rig, "direct", self.target(rig)) as arrived:
            yield arrived

    def landing(self, rig: Rig) -> str:
        return self.target(rig)


class Native:
    """A subscription: the same tables with the same columns, no mapping. The bound of what can be had."""

    name, slot = "native", "bench_native"
    bound, captured = None, 0

    def prepare(self, rig: Rig) -> None:
        dsn = database(rig.target, "native", SOURCE)
        rig.slot(self.slot)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                f"CREATE SUBSCRIPTION bench CONNECTION '{rig.source_dsn}' PUBLICATION {PUBLICATION} WITH (create_slot ="
                f" false, slot_name = '{self.slot}', enabled = false, copy_data = false, binary = true)".encode()
            )

    @contextlib.contextmanager
    def running(self, rig: Rig) -> Iterator[Arrived]:
        with psycopg.connect(rig.target.dsn("native"), autocommit=True) as connection:
            connection.execute("ALTER SUBSCRIPTION bench ENABLE")
            try:
                with arrivals(rig.target.dsn("native")) as arrived:
                    yield arrived
            finally:
                connection.execute("ALTER SUBSCRIPTION bench DISABLE")

    def landing(self, rig: Rig) -> str:
        return rig.target.dsn("native")


@contextlib.contextmanager
def carrying(rig: Rig, name: str, target: str, **more: str) -> Iterator[Arrived]:
    """`python -m cdc run` of the stream in the rig's file of that name, with `more` in its environment."""
    environment = {**os.environ, "BENCH_SOURCE": rig.source_dsn, "BENCH_TARGET": target, **more}
    command = [sys.executable, "-m", "cdc", "run", "--stream", str(rig.folder / f"{name}.json")]
    with (rig.folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        with arrivals(target) as arrived:
            yield arrived
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Asked first; killed when that takes too long."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def arrivals(dsn: str) -> Iterator[Arrived]:
    """Looks for markers in a target database, over one connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda marker: connection.execute("SELECT 1 FROM marker WHERE id = %s", [marker]).fetchone() is not None
