"""A domain leaves the monolith for good; and what refuses that, on a running toy stack with reference data."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from cdc import errors as cdc_errors
from cdc import mapping as mappings
from cdc import retire
from cdc.runner import Runner
from cdc.verify.loop import Loop
from migration_plan import verbs
from migration_plan.errors import Frozen, Refused, Unfinished
from migration_plan.ledger import Entry
from migration_plan.switch.adapters import GuardTable
from tests.integration.migration_plan.test_commands import banyan, step
from tests.integration.migration_plan.toy import Toys, until

pytestmark = pytest.mark.long  # a domain leaves for good, again and again, each time on a fresh toy stack

REFERENCE = """
  - legacy: public.maker
    service: public.makers
    direction: forward
    key: {legacy: [id], service: [id]}
    columns: [id, name]
"""
MAKERS = "CREATE TABLE {} (id bigint PRIMARY KEY, name text NOT NULL)"
READER = 'ROWS = "SELECT t.id FROM toy t JOIN maker m ON m.id = t.id"\n'
PASSING = ("served", "shadow", "errors")  # a week, and the traffic of clients


@pytest.fixture
def moved(bare: Toys) -> Toys:
    """At its service, with a table that the monolith keeps for others to refer to."""
    with (bare.folder / "toys.yaml").open("a") as mapping:
        mapping.write(REFERENCE)
    for dsn, table in ((bare.legacy, "maker"), (bare.service, "makers")):
        with psycopg.connect(dsn) as connection:
            connection.execute(MAKERS.format(table))
    with psycopg.connect(bare.legacy) as connection:
        connection.execute("INSERT INTO toy (name, price_cents) SELECT 'toy ' || n, n FROM generate_series(1, 20) n")
    with bare.context() as context:
        verbs.prepare(context, [bare.domain])
    bare.start_stream("forward")
    bare.start_stream("reverse")
    bare.start_gateway()
    until(bare.healthy, "both upstreams to be healthy")
    with bare.context() as context:
        verbs.shadow(context, bare.domain)
        verbs.canary(context, bare.domain, 50, forced=["shadow", "errors"])
        verbs.switch(context, bare.domain)
    return bare


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "pages.py").write_text('ROWS = "SELECT id FROM maker"\n')
    return folder


def makers(toys: Toys) -> list[str]:
    with psycopg.connect(toys.service) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM makers ORDER BY id").fetchall()]


def tables(toys: Toys) -> set[str]:
    with psycopg.connect(toys.legacy) as connection:
        rows = connection.execute("SELECT relname FROM pg_class WHERE relname ^@ 'toy'").fetchall()
    return {name for (name,) in rows}


def slots(toys: Toys) -> set[str]:
    with psycopg.connect(toys.legacy) as legacy, psycopg.connect(toys.service) as service:
        query = "SELECT slot_name FROM pg_replication_slots WHERE slot_name ~ %s AND database = current_database()"
        rows = [c.execute(query, [f"^banyan_{toys.domain}_"]).fetchall() for c in (legacy, service)]
    return {str(name).rpartition("_")[2] for found in rows for (name,) in found}


def add(toys: Toys, name: str) -> int:
    return httpx.post(f"{toys.env['BANYAN_GATEWAY_URL']}/toys", content=name, timeout=10).status_code


def test_a_frozen_domain_stays(moved: Toys, code: Path) -> None:
    with moved.context() as context:
        verbs.freeze(context, moved.domain, reason="nobody goes on tonight")
        looked = verbs.complete(context, moved.domain, source=code, forced=["served"], dry_run=True)
        assert any("is frozen by" in said for said in looked.refusal)
        with pytest.raises(Frozen, match="nobody goes on tonight"):
            verbs.complete(context, moved.domain, source=code, forced=["served"])
        assert "toy" in tables(moved)


def test_a_domain_leaves_for_good(moved: Toys, code: Path) -> None:
    named = ("--confirm", moved.domain, "--source", str(code), "--force-gate", "served")
    looked = banyan(moved, "complete", moved.domain, "--dry-run", *named)
    assert looked.returncode == 0, looked.stderr
    assert "rename the monolith's tables to public.toy_retired" in looked.stdout
    assert "service is healthy" in looked.stdout, "the one that will be alone is looked at"
    answer = step(moved, "complete", *named)
    assert (answer["before"], answer["after"]) == ("service", "retired")
    assert "toy" not in tables(moved)
    assert "toy_retired" in tables(moved)
    until(lambda: slots(moved) == {"forward"}, "only the forward stream's slot")
    with moved.context() as context:
        assert context.admin().table().domains[moved.domain].waves[0].phase == "retired"

    with psycopg.connect(moved.legacy) as connection:
        connection.execute("INSERT INTO maker VALUES (1, 'ann')")
    until(lambda: makers(moved) == ["ann"], "reference data still comes")
    assert add(moved, "after") == 201

    back = banyan(moved, "rollback", moved.domain, "--yes")
    assert back.returncode == 1
    assert "no way back" in back.stderr
    again = banyan(moved, "complete", moved.domain, "--yes", *named)
    assert (again.returncode, again.stdout) == (0, f"{moved.domain}: already retired, nothing to do\n")
    assert banyan(moved, "prepare", "--all").returncode == 0
    assert "retired" in banyan(moved, "verify", moved.domain, "--yes").stderr
    assert "no step is left" in banyan(moved, "preflight", moved.domain).stdout


def test_processes_that_start_later_find_that_it_has_left(moved: Toys, code: Path) -> None:
    with moved.context() as context:
        verbs.complete(context, moved.domain, source=code, forced=PASSING[:1])
    stream, stop = moved.stream("reverse"), threading.Event()
    mapping = mappings.load(moved.folder / "toys.yaml")
    runner = Runner(stream, mapping, moved.service, moved.legacy)
    thread = threading.Thread(target=runner.run, args=[stop], daemon=True)
    thread.start()
    until(lambda: runner.status.state == "retired", "the reverse stream's process to wait")
    assert runner.status.ready(), "whoever keeps processes shall not start it again and again"
    assert runner.status.alarms() == []
    stop.set()
    thread.join(5)
    loop = Loop(mapping, moved.legacy, moved.service, {})
    assert loop.left()
    assert [table.legacy for table in loop.mapping.tables] == ["public.maker"]
    moved.stop_stream("forward")
    moved.start_stream("forward")
    with psycopg.connect(moved.legacy) as connection:
        connection.execute("INSERT INTO maker VALUES (2, 'bob')")
    until(lambda: makers(moved) == ["bob"], "reference data comes after a restart, too")


def test_while_the_monolith_reads_its_tables_it_stays_unless_they_stay_too(moved: Toys, code: Path) -> None:
    (code / "report.py").write_text(READER)
    with moved.context() as context:
        with pytest.raises(Refused, match=r"report.py \(query public.toy: app/report.py:1 \(with maker\)\)"):
            verbs.complete(context, moved.domain, source=code, forced=PASSING[:1])
        done = verbs.complete(context, moved.domain, source=code, forced=PASSING[:1], accept_readers=True)
    assert done.after == "retired"
    assert "toy" in tables(moved)
    assert slots(moved) == {"forward", "reverse"}
    assert add(moved, "fed") == 201
    until(lambda: "fed" in moved.names("legacy"), "the monolith's readers are fed")
    with moved.context() as context:
        assert not verbs.complete(context, moved.domain, source=code).changed
        (code / "report.py").unlink()
        assert verbs.complete(context, moved.domain, source=code).changed, "the last reader is gone"
    assert "toy" not in tables(moved)
    assert slots(moved) == {"forward"}


def test_it_is_refused_too_early_and_when_nobody_has_read_the_code(moved: Toys) -> None:
    with moved.context() as context:
        looked = verbs.complete(context, moved.domain, dry_run=True)
        assert any(why.startswith("served: ") and "at least 7.0 days" in why for why in looked.refusal)
        assert any(why.startswith("readers: ") and "--source" in why for why in looked.refusal)
        with pytest.raises(Refused, match="served: "):
            verbs.complete(context, moved.domain)
        ready = verbs.preflight(context, moved.domain)
    assert [result.verb for result in ready.steps] == ["rollback", "complete"]
    assert not ready.ready
    assert "toy" in tables(moved)


def test_nobody_completes_a_domain_by_yes_alone(toys: Toys) -> None:
    done = banyan(toys, "complete", toys.domain, "--yes")
    assert done.returncode == 2
    assert f"--confirm {toys.domain}" in done.stderr
    other = banyan(toys, "complete", toys.domain, "--yes", "--confirm", "games")
    assert other.returncode == 2
    early = banyan(toys, "complete", toys.domain, "--yes", "--confirm", toys.domain)
    assert early.returncode == 1
    assert "is completed at its service" in early.stderr


def test_a_run_that_breaks_off_is_ended_by_the_next(moved: Toys, code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: Callable[..., list[str]] = retire.rename

    def busy(*_: object) -> list[str]:
        raise cdc_errors.TargetRefused("the database went away")

    monkeypatch.setattr(retire, "rename", busy)
    with moved.context() as context:
        with pytest.raises(Unfinished, match="run the command again"):
            verbs.complete(context, moved.domain, source=code, forced=PASSING[:1])
        monkeypatch.setattr(retire, "rename", kept)
        assert verbs.complete(context, moved.domain).message.endswith("public.toy_retired now")
        rows = [row.entry.step for row in context.ledger().history(moved.domain, verb="complete")]
    assert rows == ["complete.begin", "complete.begin", "complete.done"]


def test_a_switch_that_was_left_before_the_point_of_no_return_is_taken_back(toys: Toys) -> None:
    with toys.context() as context:
        assert verbs.abort(context, toys.domain).changed is False
        GuardTable(context, toys.domain, 0, "legacy").fence(toys.ownership()["legacy"][1])
        looked = verbs.abort(context, toys.domain, dry_run=True)
        assert looked.steps[0].startswith("1 owner := legacy in both databases")
        assert verbs.abort(context, toys.domain).owner == "legacy"
    assert {owner for owner, _ in toys.ownership().values()} == {"legacy"}


def test_past_the_point_of_no_return_only_forward_is_possible(toys: Toys) -> None:
    with toys.context() as context:
        legacy, service = (GuardTable(context, toys.domain, 0, side) for side in ("legacy", "service"))  # type: ignore[arg-type]
        fenced = legacy.fence(legacy.read().epoch)
        service.set_owner("service", service.read().epoch, fenced.epoch)
        with pytest.raises(Refused, match=f"only forward is possible: `banyan switch {toys.domain}` ends it"):
            verbs.abort(context, toys.domain)
        assert verbs.abort(context, toys.domain, dry_run=True).refusal


def test_a_step_of_reads_that_was_left_half_done_is_taken_back(toys: Toys) -> None:
    with toys.context() as context:
        verbs.shadow(context, toys.domain)
        rows = context.ledger().history(toys.domain, verb="shadow")
        begin = next(row.entry for row in rows if row.entry.step == "shadow.begin")
        assert verbs.abort(context, toys.domain).changed is False
        context.ledger().append([Entry(**{name: getattr(begin, name) for name in Entry.__slots__})])
        done = verbs.abort(context, toys.domain, reason="its controller died")
        assert (done.before, done.after) == ("shadow", "legacy")
        assert context.admin().table().domains[toys.domain].waves[0].phase == "legacy"


def test_preflight_measures_and_changes_nothing(toys: Toys) -> None:
    done = banyan(toys, "preflight", toys.domain)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the switch has nothing in its way" in done.stdout
    toys.stop_stream("reverse")
    refused = banyan(toys, "preflight", toys.domain, "--json")
    assert refused.returncode == 1
    with toys.context() as context:
        assert context.ledger().states()[toys.domain, 0].stand.phase == "legacy"


def test_a_step_by_somebody_else_is_refused_with_who_may(toys: Toys) -> None:
    plan = toys.folder / "plan.yaml"
    mapping = "    mapping: toys.yaml\n"
    plan.write_text(plan.read_text().replace(mapping, f"{mapping}    approvers: [bob]\n"))
    done = banyan(toys, "shadow", toys.domain, "--yes")
    assert done.returncode == 1
    assert f"ann may not shadow {toys.domain}; the plan's approvers are: bob" in done.stderr
    assert banyan(toys, "shadow", toys.domain, "--dry-run").returncode == 1
    assert banyan(toys, "rollback", toys.domain, "--yes").returncode == 0, "the way back is open to everybody"
