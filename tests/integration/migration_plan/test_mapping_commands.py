"""`banyan mapping check` and `lint`, as an operator calls them on prepared databases."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migration_plan import verbs
from tests.fixtures import forked
from tests.integration.migration_plan.toy import Toys

ROOT = Path(__file__).resolve().parents[3]


def banyan(toys: Toys, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "BANYAN_HOME": str(toys.folder), **toys.env}
    return forked.run("banyan.cli", "mapping", *arguments, env=env)


def checked(toys: Toys, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = banyan(toys, "check", toys.domain, "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def toys(bare: Toys) -> Toys:
    """Twelve thousand toys at legacy, three at the service."""
    execute(bare.legacy, "INSERT INTO toy (name, price_cents) SELECT 'toy ' || n, n FROM generate_series(1, 12000) n")
    execute(bare.service, "INSERT INTO toys (label, price) SELECT 'toy ' || n, n FROM generate_series(1, 3) n")
    with bare.context() as context:
        verbs.prepare(context, [bare.domain])
    return bare


def test_every_row_of_both_sides_is_carried_there_and_back(toys: Toys) -> None:
    code, said = checked(toys)
    assert (code, said["holds"], said["rows"], said["findings"]) == (0, True, 12_003, [])
    assert [(t["side"], t["table"], t["rows"]) for t in said["tables"]] == [
        ("legacy", "public.toy", 12_000),
        ("service", "public.toys", 3),
    ]
    done = banyan(toys, "check", toys.domain)
    assert "the law holds" in done.stdout
    assert done.returncode == 0


def test_what_a_rollback_would_lose_is_told_by_key_and_column(toys: Toys) -> None:
    execute(
        toys.service,
        "ALTER TABLE toys DISABLE TRIGGER ALL",  # the guard's too
        "ALTER TABLE toys ALTER price TYPE numeric(12, 4), ADD colour text",
        "UPDATE toys SET price = 1.005 WHERE label = 'toy 2'",
        "UPDATE toys SET colour = 'red' WHERE label <> 'toy 1'",
    )
    code, said = checked(toys)
    service = said["tables"][1]
    assert (code, said["holds"], said["violated"]) == (1, False, 1)
    assert service["lost"] == {"colour": 2}
    assert service["columns"] == {"": 1}
    assert "whole number of cents" in service["samples"][0]
    assert said["findings"] == ["lost: service public.toys.colour: is not carried: a rollback loses it"]
    done = banyan(toys, "check", toys.domain)
    assert "1 rows break the law" in done.stdout
    assert "colour is not carried, and has a value in 2 rows" in done.stdout
    linted = banyan(toys, "lint", toys.domain)
    assert "public.toys.colour: is not carried" in linted.stdout
    assert linted.returncode == 0


def test_one_table_and_a_sample_of_it(toys: Toys) -> None:
    code, said = checked(toys, "--table", "public.toys", "--limit", "2", "--rate", "100000")
    assert (code, [(t["table"], t["rows"]) for t in said["tables"]]) == (0, [("public.toy", 2), ("public.toys", 2)])
    done = banyan(toys, "check", toys.domain, "--table", "public.absent")
    assert "there are: public.toy, public.toys" in done.stderr
    assert done.returncode != 0


def test_a_column_that_would_stop_a_stream_fails_the_lint(toys: Toys) -> None:
    execute(
        toys.service,
        "ALTER TABLE toys ADD maker text NOT NULL DEFAULT 'x'",
        "ALTER TABLE toys ALTER maker DROP DEFAULT",
    )
    done = banyan(toys, "lint", toys.domain, "--json")
    assert done.returncode == 1
    assert "must have a value, but forward sync gives it none" in done.stdout


def test_a_file_alone(toys: Toys, tmp_path: Path) -> None:
    done = banyan(toys, "lint", str(toys.folder / "toys.yaml"))
    assert (done.returncode, "no column is lost" in done.stdout) == (0, True)
    bad = tmp_path / "bad.yaml"
    bad.write_text("domain: d\ntables:\n  - legacy: a\n")
    done = banyan(toys, "lint", str(bad))
    assert "bad.yaml:3" in done.stderr
    assert done.returncode == 1
