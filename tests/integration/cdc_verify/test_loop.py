"""The comparing process: pass after pass, what it keeps, what it tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

from banyan.servers.ports import free_port
from cdc.errors import Transient
from cdc.verify import state
from cdc.verify.loop import Loop
from tests.integration.cdc.toy import Shop, execute, one, rows, until
from tests.integration.cdc_verify.test_windows import FILL, carriers


@pytest.fixture
def filled(shop: Shop) -> Shop:
    execute(shop.legacy, FILL, {"rows": 500})
    shop.streaming("forward")
    return shop


def test_each_pass_adds_to_what_is_kept_and_drift_goes_when_it_is_gone(filled: Shop) -> None:
    loop = Loop(filled.mapping, filled.legacy, filled.service, carriers(filled, "forward"), rate=None)
    assert loop.once().clean
    execute(filled.service, "UPDATE product SET name = 'x' WHERE id IN (3, 5)")
    loop.once()
    loop.once()
    kept = loop.kept
    assert kept is not None
    assert (kept.passes, kept.rows_total, kept.found_total, kept.last_drift) == (3, 1500, 2, 2)
    assert kept.clean_age_s is not None
    assert kept.age_s is not None
    assert kept.clean_age_s > kept.age_s
    drift = rows(filled.service, 'SELECT "table", key, kind, columns FROM banyan.drift ORDER BY key')
    assert drift == [("public.item", [3], "different", ["name"]), ("public.item", [5], "different", ["name"])]
    execute(filled.service, "UPDATE product SET name = 'name ' || id")
    loop.once()
    assert one(filled.service, "SELECT count(*) FROM banyan.drift") == 0
    assert loop.kept is not None
    assert loop.kept.last_clean


def test_a_rate_is_kept_on_average(filled: Shop) -> None:
    report = Loop(filled.mapping, filled.legacy, filled.service, carriers(filled, "forward"), rate=500).once()
    assert report.clean
    assert 0.5 < report.seconds < 5


def test_a_side_that_is_away_is_kept_as_the_problem_and_does_not_end_the_loop(filled: Shop) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"
    loop = Loop(filled.mapping, away, filled.service, carriers(filled, "forward"), rate=None)
    with pytest.raises((Transient, psycopg.OperationalError)):
        loop.once()
    loop.problem = "away"
    loop._tell_problem()
    with psycopg.connect(filled.service) as connection:
        kept = state.read(connection, "shop")
    assert kept is not None
    assert kept.problem == "away"


@contextmanager
def process(shop: Shop) -> Iterator[str]:
    """`python -m cdc verify-loop` over the shop's stream; its address."""
    port = free_port()
    file = shop.file(shop.stream("forward"))
    command = [sys.executable, "-m", "cdc", "verify-loop", "--stream", str(file), "--rate", "100000", "--pause", "0.1"]
    command += ["--delay", "0"]
    env = {**os.environ, "SOURCE_DSN": shop.legacy, "TARGET_DSN": shop.service, "BANYAN_HOME": str(shop.folder)}
    running = subprocess.Popen(
        [*command, "--listen", f"127.0.0.1:{port}"], env=env, cwd=Path(__file__).parents[3], stderr=subprocess.PIPE
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=10)
        assert running.returncode == 0, said.decode()


def test_the_process_tells_figures_and_ends_at_once(filled: Shop) -> None:
    execute(filled.service, "DELETE FROM product WHERE id = 77")
    with process(filled) as url:

        def figure(name: str) -> str:
            try:
                lines = urlopen(f"{url}/metrics", timeout=2).read().decode().splitlines()  # noqa: S310
            except OSError:
                return ""
            return next((line.rpartition(" ")[2] for line in lines if line.startswith(f'{name}{{domain="shop"}}')), "")

        until(lambda: figure("banyan_verify_drift_keys") == "1.0", "the drift to be told")
        assert float(figure("banyan_verify_rows_total")) >= 500
        assert figure("banyan_verify_clean_age_seconds") == "", "it never was clean"
        execute(filled.service, "DELETE FROM banyan.drift")
        execute(filled.legacy, "UPDATE item SET note = 'again' WHERE id = 77")
        until(lambda: figure("banyan_verify_drift_keys") == "0.0", "the row to come back")
        assert float(figure("banyan_verify_clean_age_seconds")) < 20
    assert one(filled.legacy, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'banyan_verify%'") == 0
