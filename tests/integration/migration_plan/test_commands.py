"""The verbs as an operator calls them, on a running toy stack."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cdc import mapping as mappings
from cdc.runner import Runner
from cdc.verify.loop import Loop
from migration_plan.verification import carriers
from tests.fixtures import forked
from tests.integration.migration_plan.toy import Toys, until

ROOT = Path(__file__).resolve().parents[3]


def banyan(toys: Toys, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "BANYAN_HOME": str(toys.folder), "BANYAN_ACTOR": "ann", **toys.env}
    return forked.run("banyan.cli", *arguments, env=env)


def step(toys: Toys, *arguments: str) -> dict[str, object]:
    """A verb that must succeed; what it says with --json."""
    done = banyan(toys, *arguments, toys.domain, "--yes", "--json", "--reason", "test")
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def on_a_terminal(toys: Toys, *arguments: str) -> str:
    """What a person sees on stderr of a verb that succeeds."""
    mine, its = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "xterm", "BANYAN_HOME": str(toys.folder), "BANYAN_ACTOR": "ann"}
    command = [sys.executable, "-m", "banyan.cli", *arguments, toys.domain, "--yes"]
    seen = bytearray()
    with subprocess.Popen(
        command, cwd=ROOT, env={**env, **toys.env}, stdout=subprocess.DEVNULL, stderr=its, stdin=subprocess.DEVNULL
    ) as process:
        os.close(its)
        with contextlib.suppress(OSError):  # EIO: the last writer has closed it
            while part := os.read(mine, 4096):
                seen += part
        assert process.wait(60) == 0, seen.decode()
    os.close(mine)
    return seen.decode()


def test_a_step_that_compares_shows_its_progress_on_a_terminal(toys: Toys) -> None:
    with psycopg.connect(toys.legacy) as connection:
        connection.execute("INSERT INTO toy (name, price_cents) SELECT 'toy ' || n, n FROM generate_series(1, 100) n")
    assert "toy" not in on_a_terminal(toys, "advance", "--to", "shadow")
    assert "public.toy" in on_a_terminal(toys, "advance", "--to", "10")
    assert "public.toy" not in on_a_terminal(toys, "verify", "--json")
    on_a_terminal(toys, "advance", "--to", "50")
    told = on_a_terminal(toys, "switch")
    assert told.index("3 fence") < told.index("6 cross") < told.index("8 verify")


def test_the_whole_journey_there_and_back(toys: Toys) -> None:
    with psycopg.connect(toys.legacy) as connection:
        connection.execute("INSERT INTO toy (name, price_cents) SELECT 'toy ' || n, n FROM generate_series(1, 100) n")
    for verb, after in (
        ("advance", "shadow"),
        ("advance", "canary 10 %"),
        ("advance", "canary 50 %"),
        ("switch", "service"),
        ("rollback", "canary 50 %"),
        ("rollback", "shadow"),
        ("rollback", "legacy"),
    ):
        answer = step(toys, verb)
        assert answer["after"] == after
        if verb == "switch":
            assert 0 < answer["pause_ms"] < 1000  # type: ignore[operator]
            assert answer["verify"]["rows"] == 100  # type: ignore[index]
    again = banyan(toys, "rollback", toys.domain, "--yes")
    assert (again.returncode, again.stdout) == (0, f"{toys.domain}: already at legacy, nothing to do\n")
    history = banyan(toys, "history", toys.domain, "--json")
    rows = [json.loads(line) for line in history.stdout.splitlines()]
    assert {row["actor"] for row in rows} == {"ann"}
    assert {"verify", "advance", "switch", "rollback"} <= {row["verb"] for row in rows}
    assert banyan(toys, "history", "--check").stdout.endswith("rows holds\n")


@pytest.fixture
def rogue(toys: Toys) -> Iterator[str]:
    """A replication origin of the cluster that no stream owns."""
    with psycopg.connect(toys.service, autocommit=True) as connection:
        connection.execute("SELECT pg_replication_origin_create('rogue')")
        yield "rogue"
        connection.execute("SELECT pg_replication_origin_drop('rogue')")


def test_a_difference_is_found_and_stops_the_switch(toys: Toys, rogue: str) -> None:
    with psycopg.connect(toys.service) as connection:
        # As an applier that went astray would write it: past the guard, and carried back by no stream.
        connection.execute("SELECT pg_replication_origin_session_setup(%s)", [rogue])
        connection.execute("INSERT INTO toys (id, label, price) VALUES (7, 'only here', 1)")
    done = banyan(toys, "verify", toys.domain, "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["clean"], answer["drift"]) == (False, 1)
    assert answer["samples"] == ["public.toy id=7: only at the service"]
    assert banyan(toys, "advance", toys.domain, "--yes").returncode == 0
    refused = banyan(toys, "advance", toys.domain, "--yes")
    assert refused.returncode == 1
    assert "refused by verify: 1 rows differ" in refused.stderr


def test_a_difference_is_repaired_when_somebody_says_so_and_the_foreign_writer_is_told(toys: Toys, rogue: str) -> None:
    with psycopg.connect(toys.legacy) as connection:
        connection.execute("INSERT INTO toy (id, name, price_cents) VALUES (8, 'eight', 100)")
    with psycopg.connect(toys.service, application_name="night script") as connection:
        connection.execute("SELECT pg_replication_origin_session_setup(%s)", [rogue])
        connection.execute("INSERT INTO toys (id, label, price) VALUES (7, 'only here', 1)")
    asked = banyan(toys, "verify", toys.domain, "--repair")
    assert (asked.returncode, "say --yes" in asked.stderr) == (2, True)
    looked = banyan(toys, "verify", toys.domain, "--repair", "--dry-run")
    assert (looked.returncode, looked.stdout.splitlines()[-1]) == (0, "would repair 1 keys")
    assert banyan(toys, "verify", toys.domain).returncode == 1, "a dry run repairs nothing"
    done = banyan(toys, "verify", toys.domain, "--repair", "--yes", "--reason", "the night script", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["clean"], answer["repair"]["repaired"], answer["repair"]["left"]) == (True, 1, [])
    with psycopg.connect(toys.service) as connection:
        assert connection.execute("SELECT id FROM toys").fetchall() == [(8,)]
    status = json.loads(banyan(toys, "status", "--json").stdout)["domains"][0]
    assert (status["comparing"]["drift_found"], status["comparing"]["drift_repaired"]) == (1, 1)
    assert [(f["table"], f["role"]) for f in status["foreign"]] == [("public.toys", "postgres (night script)")]
    assert "a foreign writer (postgres (night script)) wrote public.toys" in " ".join(status["problems"])


def test_a_comparison_of_one_table_passes_no_gate(toys: Toys) -> None:
    step(toys, "advance")
    done = banyan(toys, "verify", toys.domain, "--table", "toy", "--rate", "1000")
    assert (done.returncode, "public.toy" in done.stdout) == (0, True)
    assert "compare every row" in banyan(toys, "advance", toys.domain, "--dry-run").stdout
    wrong = banyan(toys, "verify", toys.domain, "--table", "shoes")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "no table shoes" in wrong.stderr


def test_what_the_comparing_process_finds_passes_and_stops_the_gate(toys: Toys, rogue: str) -> None:
    def loop() -> Loop:
        with toys.context() as context:
            known = carriers(context, toys.domain, ["forward", "reverse"])
            return Loop(context.mapping(toys.domain), toys.legacy, toys.service, known, rate=None)

    step(toys, "advance")
    loop().once()
    assert "compare every row" not in banyan(toys, "advance", toys.domain, "--dry-run").stdout
    with psycopg.connect(toys.service) as connection:
        connection.execute("SELECT pg_replication_origin_session_setup(%s)", [rogue])
        connection.execute("INSERT INTO toys (id, label, price) VALUES (7, 'only here', 1)")
    loop().once()
    refused = banyan(toys, "advance", toys.domain, "--yes")
    assert (refused.returncode, "refused by verify: 1 rows differ" in refused.stderr) == (1, True)


def test_a_tampered_ledger_is_told(toys: Toys) -> None:
    with psycopg.connect(toys.env["BANYAN_LEDGER_DSN"]) as connection:
        connection.execute("ALTER TABLE ledger DISABLE TRIGGER ledger_append_only")
        connection.execute("UPDATE ledger SET actor = 'nobody'")
    done = banyan(toys, "history", "--check")
    assert done.returncode == 1
    assert done.stderr == "error: the ledger is broken: row 1 was changed after it was written\n"


def test_prepare_again_changes_nothing(toys: Toys) -> None:
    before = toys.ownership()
    done = banyan(toys, "prepare", toys.domain)
    assert done.returncode == 0, done.stderr
    assert toys.ownership() == before
    assert "in place" in done.stdout


def test_prepare_says_what_it_would_make_what_it_made_and_what_was_there(bare: Toys) -> None:
    def states(*arguments: str) -> list[str]:
        done = banyan(bare, "prepare", bare.domain, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [part["state"] for part in json.loads(done.stdout)["parts"]]

    assert states("--dry-run") == ["missing"] * 5
    looked = banyan(bare, "prepare", bare.domain, "--dry-run")
    assert looked.stdout.splitlines()[-2:] == ["5 of 5 parts would be made", "dry run: nothing was changed"]
    with psycopg.connect(bare.legacy) as connection:
        assert connection.execute("SELECT to_regnamespace('banyan') IS NULL").fetchone() == (True,)
    assert states("--yes", "--reason", "first time") == ["made"] * 5
    assert states("--dry-run") == states() == ["in place"] * 5
    with psycopg.connect(bare.service, autocommit=True) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [bare.stream("reverse").slot])
    for options in (["--dry-run"], ["--yes"]):
        refused = banyan(bare, "prepare", bare.domain, *options)
        assert refused.returncode == 1
        assert "does not exist: changes since" in refused.stderr
    assert states("--dry-run", "--remake-reverse")[-1] == "missing"
    assert states("--yes", "--remake-reverse", "--reason", "slot lost")[-1] == "made"
    rows = [json.loads(line) for line in banyan(bare, "history", bare.domain, "--json").stdout.splitlines()]
    assert [(row["verb"], row["reason"]) for row in rows] == [("prepare", "first time"), ("prepare", "slot lost")]
    assert len(rows[0]["measured"]["made"]) == 4


def test_a_reverse_stream_that_the_service_writes_into_is_not_made_again(bare: Toys) -> None:
    assert banyan(bare, "prepare", bare.domain, "--yes").returncode == 0
    with psycopg.connect(bare.legacy, autocommit=True) as connection:
        connection.execute("UPDATE banyan.ownership SET owner = 'service'")
    refused = banyan(bare, "prepare", bare.domain, "--yes", "--remake-reverse")
    assert refused.returncode != 0
    assert "wave 0 belongs to service" in refused.stderr
    with psycopg.connect(bare.service) as connection:
        slot = bare.stream("reverse").slot
        assert connection.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", [slot]).fetchone() == ()


def test_status_is_a_table_for_people_and_json_for_programs(toys: Toys) -> None:
    shown = banyan(toys, "status")
    assert toys.domain in shown.stdout
    assert "legacy · epoch 1" in shown.stdout
    told = json.loads(banyan(toys, "status", "--json").stdout)
    assert told["domains"][0]["streams"]["forward"]["alive"]


def test_a_dry_run_that_would_be_refused_says_so_first_and_exits_as_the_step_would(toys: Toys) -> None:
    looked = banyan(toys, "switch", toys.domain, "--dry-run")
    assert looked.returncode == 1
    first, stops, *rest = looked.stdout.splitlines()
    assert first == f"{toys.domain}: legacy → service would be refused now"
    assert stops.strip() == "stops a switch follows the last canary step, and this is at legacy: advance first"
    assert [line.split()[0] for line in rest[:10]] == list("0012345678")
    assert rest[-1] == "dry run: nothing was changed"
    assert banyan(toys, "switch", toys.domain, "--yes").returncode == looked.returncode


def test_a_dry_run_names_the_gate_that_stops_it_and_what_helps(toys: Toys) -> None:
    toys.stop_stream("forward")
    looked = banyan(toys, "advance", toys.domain, "--dry-run")
    assert looked.returncode == 1
    assert looked.stdout.splitlines()[1].strip().startswith("stops forward-stream: ")
    assert f"see `banyan logs cdc-{toys.domain}-forward`" in looked.stdout.splitlines()[1]
    told = banyan(toys, "advance", toys.domain, "--dry-run", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["refusal"][0].startswith("forward-stream: ")
    refused = banyan(toys, "advance", toys.domain, "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "refused by forward-stream: " in refused.stderr
    forced = banyan(
        toys, "advance", toys.domain, "--dry-run", *["--force-gate", "forward-stream", "--force-gate", "lag"]
    )
    assert forced.returncode == 0


def test_a_dry_run_does_not_refuse_for_a_comparison_that_the_step_makes_itself(toys: Toys) -> None:
    assert banyan(toys, "advance", toys.domain, "--yes").returncode == 0
    looked = banyan(toys, "advance", toys.domain, "--dry-run")
    assert looked.returncode == 0, looked.stdout
    assert "0 compare every row of both sides" in looked.stdout
    assert banyan(toys, "advance", toys.domain, "--yes").returncode == 0


def test_status_shows_the_rest_when_a_database_is_away_and_says_so_by_its_exit_code(toys: Toys) -> None:
    whole = banyan(toys, "status")
    assert (whole.returncode, whole.stderr) == (0, "")
    away = dataclasses.replace(toys, env={**toys.env, "BANYAN_LEDGER_DSN": "postgresql://ann:word@127.0.0.1:1/banyan"})
    shown = banyan(away, "status")
    assert shown.returncode == 3
    assert shown.stderr == "note: 127.0.0.1:1 does not answer (Connection refused): the ledger's database\n"
    assert shown.stdout.splitlines()[1].split()[:5] == [toys.domain, "unknown", "legacy", "·", "epoch"]
    told = banyan(away, "status", "--json")
    assert told.returncode == 3
    [domain] = json.loads(told.stdout)["domains"]
    assert (domain["phase"], domain["owner"], domain["streams"]["forward"]["alive"]) == ("unknown", "legacy", True)


def test_status_tells_a_database_that_is_away_once_and_does_not_call_its_streams_unprepared(toys: Toys) -> None:
    away = dataclasses.replace(toys, env={**toys.env, "NEW_DSN": "postgresql://ann:word@127.0.0.1:1/new"})
    shown = banyan(away, "status")
    assert shown.returncode == 3
    assert shown.stderr == (
        f"note: 127.0.0.1:1 does not answer (Connection refused): the service database of {toys.domain}\n"
    )
    assert "not prepared" not in shown.stdout
    assert json.loads(banyan(away, "status", "--json").stdout)["domains"][0]["streams"]["reverse"] == {
        "state": "unknown", "alive": False, "lag_ms": None, "lsn": None, "parked": None, "slot": "unknown",
        "retained_bytes": None, "problem": None, "lag_bytes": None, "room_bytes": None, "snapshot": None,
    }  # fmt: skip


def test_status_tells_a_stream_whose_slot_is_gone_with_the_command_that_helps(toys: Toys) -> None:
    toys.stop_stream("forward")
    with psycopg.connect(toys.legacy, autocommit=True) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [toys.stream("forward").slot])
    shown = banyan(toys, "status")
    assert shown.returncode == 3
    assert "slot missing" in shown.stdout
    [line] = shown.stderr.splitlines()
    assert line.startswith(f"{toys.domain}: the forward stream cannot go on: its slot is missing; ")
    assert f"`banyan stream recover {toys.domain} --direction forward`" in line
    told = banyan(toys, "status", "--json")
    assert told.returncode == 3
    stream = json.loads(told.stdout)["domains"][0]["streams"]["forward"]
    assert (stream["alive"], stream["slot"]) == (False, "missing")
    assert "banyan stream recover" in stream["problem"]


def test_a_step_without_yes_and_without_a_terminal_changes_nothing(toys: Toys) -> None:
    done = banyan(toys, "advance", toys.domain)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "say --yes" in done.stderr
    assert json.loads(banyan(toys, "status", "--json").stdout)["domains"][0]["phase"] == "legacy"


def test_a_dry_run_of_counting_anew_changes_nothing(toys: Toys) -> None:
    def version() -> int:
        with toys.context() as context:
            return context.admin().table().version

    before = version()
    looked = banyan(toys, "differences", toys.domain, "--reset", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.splitlines()[-2:] == [
        f"would count anew: 0 comparisons of {toys.domain} would be forgotten",
        "dry run: nothing was changed",
    ]
    assert version() == before
    assert banyan(toys, "differences", toys.domain, "--reset").returncode == 0
    assert version() == before + 1


def test_a_fill_voids_the_comparisons_before_it(toys: Toys) -> None:
    step(toys, "advance")
    assert banyan(toys, "verify", toys.domain).returncode == 0
    assert "compare every row" not in banyan(toys, "advance", toys.domain, "--dry-run").stdout
    toys.stop_stream("forward")
    stream = toys.stream("forward")
    mapping = mappings.load(toys.folder / "toys.yaml")
    Runner(stream, mapping, toys.legacy, toys.service).snapshot(threading.Event())
    toys.start_stream("forward")
    assert json.loads(banyan(toys, "status", "--json").stdout)["domains"][0]["verify"]["refilled"]
    assert "before a fill" in banyan(toys, "status").stdout
    looked = banyan(toys, "advance", toys.domain, "--dry-run")
    assert "0 compare every row of both sides" in looked.stdout
    assert "tables were filled again since the last comparison" in looked.stdout
    assert banyan(toys, "verify", toys.domain).returncode == 0
    assert "compare every row" not in banyan(toys, "advance", toys.domain, "--dry-run").stdout


def test_a_changed_table_halts_its_streams_and_a_command_resumes_them_when_both_sides_fit(toys: Toys) -> None:
    with psycopg.connect(toys.legacy, autocommit=True) as connection:
        connection.execute("ALTER TABLE toy RENAME name TO title")
    until(lambda: "halted" in banyan(toys, "status").stdout, "the halt to be seen")
    shown = banyan(toys, "status")
    assert shown.returncode == 3
    assert "column name renamed to title (ALTER TABLE by postgres)" in shown.stderr
    assert f"`banyan stream resume {toys.domain}`" in shown.stderr
    refused = banyan(toys, "stream", "resume", toys.domain, "--reason", "too early")
    assert refused.returncode == 1
    assert "public.toy has no name, which the mapping names" in refused.stderr
    with psycopg.connect(toys.legacy, autocommit=True) as connection:
        connection.execute("ALTER TABLE toy RENAME title TO name")
    done = json.loads(banyan(toys, "stream", "resume", toys.domain, "--reason", "taken back", "--json").stdout)
    assert done["changed"]
    until(lambda: "halted" not in banyan(toys, "status").stdout, "the streams to go on")
    history = banyan(toys, "history", toys.domain, "--json").stdout
    assert "taken back" in history
    assert "column name renamed to title" in history


def test_a_lost_slot_is_recovered_by_one_command_beside_the_process_that_waits_for_it(toys: Toys) -> None:
    toys.stop_stream("forward")
    with psycopg.connect(toys.legacy, autocommit=True) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [toys.stream("forward").slot])
        connection.execute("INSERT INTO toy (name, price_cents) VALUES ('while it was lost', 1)")
    recover = ("stream", "recover", toys.domain, "--reason", "the slot is gone", "--yes")
    done = banyan(toys, *recover, "--no-wait", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    first, second = said["lines"]
    assert "does not exist" in first
    assert "`banyan status` shows how far it is" in first
    assert second == f"{toys.domain}.reverse: slot and position fit, nothing to recover"
    assert (said["changed"], said["whole"]) == (True, False)
    assert "the forward stream fills from public.toy" in banyan(toys, "status").stdout
    toys.start_stream("forward")
    done = banyan(toys, *recover, "--direction", "forward", "--force")  # of a live one, and waits until all is read
    assert done.returncode == 0, done.stderr
    assert "public.toy: done, 1 rows" in done.stdout
    with psycopg.connect(toys.service) as connection:
        found = connection.execute("SELECT count(*) FROM toys WHERE label = 'while it was lost'").fetchone()
    assert found == (1,)


def test_rows_are_read_again_from_the_side_that_owns_them(toys: Toys) -> None:
    with psycopg.connect(toys.legacy) as connection:
        connection.execute("INSERT INTO toy (name, price_cents) SELECT 'toy ' || n, n FROM generate_series(1, 100) n")
    with psycopg.connect(toys.service) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("ALTER TABLE toys DISABLE TRIGGER ALL")
    until(lambda: _count(toys.service, "SELECT count(*) FROM toys") == 100, "the rows to arrive")
    with psycopg.connect(toys.service) as connection:
        connection.execute("UPDATE toys SET price = 0 WHERE id % 2 = 0; DELETE FROM toys WHERE id = 7")
    looked = json.loads(banyan(toys, "snapshot", toys.domain, "--dry-run", "--json").stdout)
    assert (looked["stream"], looked["dry_run"]) == (f"{toys.domain}.forward", True)
    assert _count(toys.service, "SELECT count(*) FROM banyan.snapshot WHERE NOT fills") == 0
    done = banyan(toys, "snapshot", toys.domain, "--table", "toy", "--to", "50", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    [table] = json.loads(done.stdout)["tables"]
    assert (table["state"], table["rows"], table["table"]) == ("done", 50, "public.toy")
    assert _count(toys.service, "SELECT count(*) FROM toys WHERE price = 0") == 25
    said = banyan(toys, "snapshot", toys.domain, "--keys", "52,54", "--yes")
    assert said.stdout.startswith("public.toy: done, 2 rows"), said.stderr
    assert _count(toys.service, "SELECT count(*) FROM toys WHERE price = 0") == 23
    assert json.loads(banyan(toys, "history", "--json").stdout.splitlines()[-1])["verb"] == "snapshot"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--keys", "5", "--from", "1"], 2, "give one of the two"),
        (["--table", "nothing", "--yes"], 1, "has no source table nothing: it has public.toy"),
        (["--keys", "x", "--yes"], 1, "invalid input syntax for type bigint"),
        ([], 2, "nobody can be asked here: say --yes"),
    ],
)
def test_a_wrong_re_snapshot_is_refused_in_one_line(toys: Toys, options: list[str], code: int, message: str) -> None:
    said = banyan(toys, "snapshot", toys.domain, *options)
    assert said.returncode == code
    assert message in said.stderr
    assert _count(toys.service, "SELECT count(*) FROM banyan.snapshot WHERE NOT fills") == 0


def _count(dsn: str, query: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return int(connection.execute(query).fetchone()[0])  # type: ignore[index]
