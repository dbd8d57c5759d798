"""What the guard costs a writer, with and without it in turns. `pytest -s` prints the figures.

pgbench's transactions per second are for the reader: raw SQL at full load, where the guard weighs most. What is judged
is the CPU time that a write costs its backend, because that does not depend on who else is using the machine.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from banyan.servers import Postgres
from banyan.servers.postgres import find_binaries
from cdc.guard.install import install, uninstall
from cdc.guard.waves import WHOLE
from tests.fixtures.servers import create_database
from tests.integration.cdc_guard.conftest import SCHEMA, TWO_WAVES

WRITERS, SECONDS, TURNS = 4, 1, 3
# One short write request: what the monolith does for a small PUT, without the HTTP around it.
SCRIPT = "\\set id random(1, 10000)\nUPDATE item SET qty = qty + 1 WHERE id = :id;\n"


def tps(dsn: str, script: Path) -> float:
    command = [
        str(find_binaries() / "pgbench"), "-n", "-M", "prepared", "-c", str(WRITERS), "-j", "1",
        "-T", str(SECONDS), "-f", str(script), dsn,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "number of failed transactions: 0 " in done.stdout, done.stdout
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    return float(found[1])


def cpu_us(dsn: str, writes: int = 1500) -> float:
    """CPU time of the writer's backend per write."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as writer:
        spent = Path(f"/proc/{writer.info.backend_pid}/schedstat")  # nanoseconds on a CPU come first
        before = 0
        for n in range(writes + 100):
            if n == 100:
                before = int(spent.read_text().split()[0])
            writer.execute("UPDATE item SET qty = qty + 1 WHERE id = %s", (n % 100 + 1,))
        return (int(spent.read_text().split()[0]) - before) / writes / 1000


@pytest.mark.bench
@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux's /proc/<pid>/schedstat")
@pytest.mark.parametrize("waves", [WHOLE, TWO_WAVES], ids=["one wave", "two waves"])
def test_the_guard_costs_a_writer_little(postgres: Postgres, tmp_path: Path, mapping, waves) -> None:
    dsn = create_database(postgres, "cost")
    script = tmp_path / "write.sql"
    script.write_text(SCRIPT)
    bare, guarded = [], []
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.execute("INSERT INTO item SELECT n, n, 0 FROM generate_series(101, 10000) n")
        for _ in range(TURNS):
            bare.append((cpu_us(dsn), tps(dsn, script)))
            install(connection, mapping, "legacy", waves)
            guarded.append((cpu_us(dsn), tps(dsn, script)))
            uninstall(connection, mapping, "legacy")
    without, with_guard = min(bare)[0], min(guarded)[0]
    speeds = sorted(speed for _, speed in bare)[TURNS // 2], sorted(speed for _, speed in guarded)[TURNS // 2]
    print(f"\n{len(waves)} wave(s): CPU {without:.0f} µs a write bare, {with_guard:.0f} µs guarded", end="; ")
    print(f"pgbench median {speeds[0]:.0f} tps bare, {speeds[1]:.0f} guarded")
    assert with_guard - without < 300
