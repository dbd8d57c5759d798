"""The ledger on a real PostgreSQL: rows stay, tampering shows, one controller at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from migration_plan.context import Context
from migration_plan.errors import Busy, NotPrepared, Unreachable
from migration_plan.journey import SHADOW, Stand
from migration_plan.ledger import Entry, Ledger, State, install
from migration_plan.plan import load


@pytest.fixture
def dsn(database: str) -> str:
    install(database)
    install(database)
    return database


def entry(step: str = "hold", **more: object) -> Entry:
    return Entry(domain="toys", verb="switch", step=step, run_id="r1", actor="ann", wave=0, epoch=3, **more)  # type: ignore[arg-type]


def fill(dsn: str, count: int = 5) -> None:
    with Ledger(dsn, "ann") as ledger:
        for number in range(count):
            ledger.append([entry(str(number), measured={"ms": 1.25, "text": "é", "whole": 2.0, "none": None})])


def tamper(dsn: str, statement: str) -> None:
    """What only somebody with the table's owner rights can do."""
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE ledger DISABLE TRIGGER ledger_append_only")
        connection.execute(statement)
        connection.execute("ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_append_only")


@pytest.mark.parametrize("statement", ["UPDATE ledger SET actor = 'bob'", "DELETE FROM ledger", "TRUNCATE ledger"])
def test_rows_cannot_be_changed_or_removed(dsn: str, statement: str) -> None:
    fill(dsn, 1)
    with psycopg.connect(dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute(statement)


def test_an_untouched_chain_holds(dsn: str) -> None:
    fill(dsn)
    with Ledger(dsn, "ann") as ledger:
        checked = ledger.check()
    assert checked.holds
    assert checked.rows == 5


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE ledger SET actor = 'bob' WHERE id = 3", "row 3 was changed"),
        ("""UPDATE ledger SET measured = '{"ms": 9}' WHERE id = 2""", "row 2 was changed"),
        ("UPDATE ledger SET at = at + interval '1 microsecond' WHERE id = 5", "row 5 was changed"),
        ("DELETE FROM ledger WHERE id = 2", "row 2 is missing"),
        ("DELETE FROM ledger WHERE id = 5", "its head is row 5"),
        ("UPDATE ledger SET prev_hash = repeat('a', 64) WHERE id = 4", "row 4 does not follow row 3"),
    ],
)
def test_tampering_shows_at_its_row(dsn: str, statement: str, why: str) -> None:
    fill(dsn)
    tamper(dsn, statement)
    with Ledger(dsn, "ann") as ledger:
        checked = ledger.check()
    assert not checked.holds
    assert why in str(checked.why)


def test_writers_at_the_same_time_form_one_chain(dsn: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fill(dsn, 10), range(4)))
    with Ledger(dsn, "ann") as ledger:
        checked = ledger.check()
        assert checked.holds, checked.why
        assert checked.rows == 40


def test_rows_come_back_as_they_were_written(dsn: str) -> None:
    written = entry(measured={"ms": 12.5, "list": [1, "a"]}, reason="because")
    with Ledger(dsn, "ann") as ledger:
        [row] = ledger.append([written])
        assert ledger.history("toys") == [row]
        assert row.entry == written
        assert ledger.history("games") == []


def test_a_row_and_the_stand_it_leads_to_are_written_together(dsn: str) -> None:
    with Ledger(dsn, "ann") as ledger:
        ledger.append([entry()], [State("toys", 0, SHADOW, "legacy", 1)])
        ledger.append([entry()], [State("toys", 0, Stand("canary", 10), "legacy", 1)])
        state = ledger.states()["toys", 0]
        assert state.stand == Stand("canary", 10)
        with pytest.raises(psycopg.errors.NotNullViolation):
            ledger.append([entry()], [State("toys", 0, SHADOW, None, 1)])  # type: ignore[arg-type]
        assert len(ledger.history()) == 2


def test_two_controllers_cannot_steer_one_domain(dsn: str) -> None:
    with Ledger(dsn, "ann") as first, Ledger(dsn, "bob") as second:
        with first.lease("toys"):
            with pytest.raises(Busy, match="banyan ann is at work on toys"), second.lease("toys"):
                pass
            with second.lease("games"):
                pass
        with second.lease("toys"):
            pass


def test_a_controller_that_dies_leaves_the_domain_free(dsn: str) -> None:
    first = Ledger(dsn, "ann")
    lease = first.lease("toys")
    lease.__enter__()
    first.close()
    with Ledger(dsn, "bob") as second, second.lease("toys"):
        pass


def cut(dsn: str, actor: str) -> None:
    """What a restarted server or a broken network does to a controller's connection."""
    with psycopg.connect(dsn) as connection:
        [[ended]] = connection.execute(
            "SELECT bool_or(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            [f"banyan {actor}"],
        ).fetchall()
    assert ended


def test_a_controller_that_lost_its_lease_does_not_go_on_without_it(dsn: str) -> None:
    with Context(load(), {"BANYAN_LEDGER_DSN": dsn}, "ann") as context:
        with context.ledger().lease("toys"):
            cut(dsn, "ann")
            with pytest.raises(Unreachable):
                context.ledger().states()
            with Ledger(dsn, "bob") as second, second.lease("toys"):
                pass
            with pytest.raises(Unreachable, match="the lease of toys: run the same command again"):
                context.ledger()
        assert context.ledger().states() == {}


def test_a_look_connects_again_by_itself(dsn: str) -> None:
    with Context(load(), {"BANYAN_LEDGER_DSN": dsn}, "ann") as context:
        context.ledger().states()
        cut(dsn, "ann")
        with pytest.raises(Unreachable):
            context.ledger().states()
        assert context.ledger().states() == {}


def test_a_missing_ledger_says_prepare(database: str) -> None:
    with Ledger(database, "ann") as ledger, pytest.raises(NotPrepared, match="banyan prepare"):
        ledger.history()


def test_a_dead_server_says_so_without_the_password() -> None:
    with pytest.raises(Unreachable, match="banyan up") as caught:
        Ledger("postgresql://ann:secret@127.0.0.1:1/none", "ann")
    assert "secret" not in str(caught.value)


def test_the_server_notices_within_seconds_that_a_controller_s_machine_is_gone(dsn: str) -> None:
    """Its lease is a lock of its connection: the system's own two hours would keep everybody else away."""
    with Ledger(dsn, "ann") as ledger:
        shown = [
            ledger._query(f"SHOW tcp_keepalives_{name}", [])[0][f"tcp_keepalives_{name}"]
            for name in ("idle", "interval", "count")
        ]
    assert [int(value.rstrip("s")) for value in shown] == [5, 2, 3]


def test_a_holder_that_was_overtaken_can_write_nothing_more(dsn: str) -> None:
    with Ledger(dsn, "ann") as first, first.lease("toys"):
        first.append([entry()])
        with psycopg.connect(dsn) as connection:  # as after a proxy that gave its lock away
            connection.execute("UPDATE lease SET epoch = epoch + 1, holder = 'bob' WHERE domain = 'toys'")
        with pytest.raises(Busy, match="bob has taken over toys"):
            first.append([entry()])
        assert len(first.history()) == 1


def begun(step: str) -> Entry:
    return Entry(domain="toys", wave=0, verb="switch", step=step, run_id="run-1", actor="ann")


def test_a_holder_that_is_silent_while_its_writes_wait_is_overtaken(dsn: str) -> None:
    """As one whose network is gone: nobody accepts the writes until somebody ends its fence."""
    with Ledger(dsn, "ann") as first, first.lease("toys"):
        first.append([begun("cross.begin")])
        with Ledger(dsn, "bob") as second, second.lease("toys", silent_s=0.2):
            assert first.closed or _closes(first)
            assert first.lost == "toys"
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT epoch, holder FROM lease").fetchall() == [(2, "bob")]


def _closes(ledger: Ledger) -> bool:
    with pytest.raises(Unreachable):
        ledger.states()
    return ledger.closed


@pytest.mark.parametrize("step", ["switch.begin", "verify.begin", "abort.done"])
def test_a_holder_whose_writes_do_not_wait_is_left_alone(dsn: str, step: str) -> None:
    with Ledger(dsn, "ann") as first, first.lease("toys"):
        first.append([begun("hold.begin"), begun(step)])
        with (
            Ledger(dsn, "bob") as second,
            pytest.raises(Busy, match="ann is at work"),
            second.lease("toys", silent_s=0.1),
        ):
            pass
        assert first.states() == {}


def test_a_holder_that_goes_on_in_its_switch_is_left_alone(dsn: str) -> None:
    with Ledger(dsn, "ann") as first, first.lease("toys"):
        first.append([begun("hold.begin")])

        def go_on() -> None:
            first.append([begun("cross.begin")])

        goes_on = threading.Timer(0.2, go_on)
        goes_on.start()
        with Ledger(dsn, "bob") as second, pytest.raises(Busy), second.lease("toys", silent_s=1.0):
            pass
        goes_on.join()
        assert first.states() == {}


def test_each_lease_of_a_domain_has_a_higher_epoch(dsn: str) -> None:
    with Ledger(dsn, "ann") as first, Ledger(dsn, "bob") as second:
        for ledger in (first, second, first):
            with ledger.lease("toys"):
                pass
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT epoch, holder FROM lease").fetchall() == [(3, "ann")]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_head SET id = id - 1",
        "UPDATE ledger_head SET hash = repeat('0', 64)",
        "DELETE FROM ledger_head",
        "TRUNCATE ledger_head",
    ],
)
def test_the_head_cannot_be_set_back(dsn: str, statement: str) -> None:
    fill(dsn, 2)
    with psycopg.connect(dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute(statement)
