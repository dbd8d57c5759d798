"""`banyan load` says how its clients fared, and its exit code says whether all was well."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from banyan.commands.load import verdict
from banyan.environment import read_lines
from banyan.stack.home import Home, Running
from tests.fixtures import forked
from tests.integration.load.shop import LEGACY_TABLES, SERVICE_TABLES, Shop, opened

pytestmark = pytest.mark.long  # clients that work for seconds, and an audit

ROOT = Path(__file__).resolve().parents[3]
WELL = {"domain": "pricing", "requests": 9, "failed": 0, "lost_writes": 0, "doubled_writes": 0, "stale_reads": 0}


@pytest.fixture
def home(tmp_path: Path, database: str, service_database: str) -> Iterator[Home]:
    """A folder in which a stack seems to run: its gateway is to be written to `stack.json` by `open_at`."""
    found = Home(tmp_path / "home")
    for dsn, tables in ((database, LEGACY_TABLES), (service_database, SERVICE_TABLES)):
        with psycopg.connect(dsn) as connection:
            connection.execute(tables)
    with found.lock():
        found.env_file.write_text(f"BANYAN_LEGACY_DSN={database}\nBANYAN_PRICING_DSN={service_database}\n")
        yield found


def open_at(home: Home, url: str, *, ready: bool = True) -> None:
    home.write_state(Running(os.getpid(), url, url, ready, {}))
    with home.env_file.open("a") as env:
        env.write(f"BANYAN_GATEWAY_URL={url}\nLEGACY_BACKOFFICE_KEY=key\n")


def load(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BANYAN_", "LEGACY_"))}
    env = {**kept, "BANYAN_HOME": str(home.path)}
    return forked.run("banyan.cli", "load", "--domain", "pricing", *arguments, env=env, timeout=90)


def test_writes_that_no_database_has_are_lost_and_the_exit_code_says_so(home):
    shop = Shop()
    with opened(shop) as url:
        open_at(home, url)
        done = load(home, "--seconds", "2", "--rate", "100", "--clients", "3", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "pricing:" in done.stderr
    assert "accepted writes are lost" in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    report = said["domains"]["pricing"]
    assert not said["well"]
    assert report["failed"] == 0
    assert report["accepted_writes"]["quotes"] == report["looked_up"]["quotes"] == len(shop.quotes) > 0
    assert report["looked_up"]["price_hours"] == len(shop.prices)
    assert report["lost_writes"] == 2 * sum(report["looked_up"].values())  # of each side
    assert report["sides"]["service"]["reads"] + report["sides"]["service"]["writes"] == report["requests"]


def poured(home: Home, shop: Shop) -> None:
    """The databases hold what the shop does."""
    env = read_lines(home.env_file)
    dsns = [env["BANYAN_LEGACY_DSN"], env["BANYAN_PRICING_DSN"]]
    for dsn, tables in zip(dsns, (LEGACY_TABLES, SERVICE_TABLES), strict=True):
        with psycopg.connect(dsn, autocommit=True) as connection:
            for name in re.findall(r"CREATE TABLE (\w+)", tables):
                connection.execute(f"DROP TABLE IF EXISTS {name}")
    shop.pour(*dsns)


def test_a_second_run_uses_the_tariffs_of_the_first_and_its_audit_still_holds(home):
    """The databases show the first run's writes while the second one writes: only its own may be missing there."""
    shop = Shop()
    arguments = ("--seconds", "1", "--rate", "90", "--clients", "3", "--json")
    with opened(shop) as url:
        open_at(home, url)
        load(home, *arguments)
        tariffs, areas = set(shop.tariffs), {area for area, _, _ in shop.prices}
        assert tariffs == {f"LOAD-L1-{number:03d}" for number in range(3)}
        assert areas <= {f"L1{number:03d}" for number in range(3)}
        first = len(shop.quotes)
        poured(home, shop)
        done = load(home, *arguments)
    assert set(shop.tariffs) == tariffs
    report = json.loads(done.stdout.splitlines()[-1])["domains"]["pricing"]
    assert report["failed"] == 0
    assert report["doubled_writes"] == 0, report["findings"]
    assert report["looked_up"]["quotes"] == len(shop.quotes) - first
    assert "the next run writes the same tariffs (LOAD-L1-…)" in report["stays"]
    assert "stays     " in done.stdout


def test_two_runs_at_a_time_have_tariffs_of_their_own(home):
    shop = Shop()
    with opened(shop) as url, (home.path / "load-1.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        open_at(home, url)
        load(home, "--seconds", "1", "--rate", "50", "--clients", "1")
    assert set(shop.tariffs) == {"LOAD-L2-000"}


def test_a_failed_request_is_a_failed_run(home):
    shop = Shop()
    shop.faults.extend(["broken"] * 1000)
    with opened(shop) as url:
        open_at(home, url)
        done = load(home, "--seconds", "1", "--rate", "50", "--clients", "2")
    assert done.returncode == 1
    assert "requests failed" in done.stderr
    assert "POST /api/quotes: 500" in done.stderr


def test_a_gateway_that_does_not_answer_is_said_in_one_line(home, free_port_number):
    open_at(home, f"http://127.0.0.1:{free_port_number}")
    done = load(home, "--seconds", "2")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the gateway does not answer")


def test_a_stack_that_is_still_starting_is_not_used(home):
    open_at(home, "http://127.0.0.1:1", ready=False)
    done = load(home, "--seconds", "2")
    assert (done.returncode, done.stderr) == (1, "error: the stack is still starting: try again in a moment\n")


def test_without_a_stack_it_says_how_to_start_one(tmp_path):
    done = load(Home(tmp_path / "none"), "--seconds", "2")
    assert done.returncode == 1
    assert "start one with `banyan up`" in done.stderr
    assert not (tmp_path / "none").exists()


def test_all_well_is_no_problem():
    assert verdict(WELL) == []


@pytest.mark.parametrize("name", ["failed", "lost_writes", "doubled_writes", "stale_reads"])
def test_each_thing_that_went_wrong_is_named(name):
    assert verdict({**WELL, name: 3})[0].startswith("pricing: 3 ")
    assert verdict({**WELL, "requests": 0}) == ["pricing: no request was made"]
