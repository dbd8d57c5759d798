"""Why the guard reads ownership with FOR SHARE: the cheaper ways let a transaction with an old snapshot write.

Each form of the guard meets (1) a REPEATABLE READ writer whose snapshot is older than the fence, and (2) a writer whose
transaction is open when the fence comes. The forms that leak are shown to leak, so that nobody "optimises" the guard
into one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pytest

from cdc.guard.errors import FenceTimeout
from cdc.guard.install import install
from cdc.guard.ownership import fence, set_owner
from cdc.guard.waves import WHOLE
from tests.integration.cdc_guard.conftest import SCHEMA, TWO_WAVES

Connect = Callable[..., psycopg.Connection]


@dataclass(frozen=True)
class Form:
    read: str
    fence_first: str
    old_snapshot_leaks: bool
    fence_waits: bool


FORMS = {
    "for share": Form("SELECT owner INTO o FROM own FOR SHARE", "", old_snapshot_leaks=False, fence_waits=True),
    "for key share": Form("SELECT owner INTO o FROM own FOR KEY SHARE", "", old_snapshot_leaks=True, fence_waits=False),
    "plain read, fence locks the table": Form(
        "SELECT owner INTO o FROM own",
        "LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE",
        old_snapshot_leaks=True,
        fence_waits=True,
    ),
    "advisory lock and plain read": Form(
        "PERFORM pg_advisory_xact_lock_shared(42); SELECT owner INTO o FROM own",
        "SELECT pg_advisory_xact_lock(42)",
        old_snapshot_leaks=True,
        fence_waits=True,
    ),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, connect: Connect) -> Form:
    chosen = FORMS[request.param]
    connect().execute(
        f"""
        CREATE TABLE own (dom text PRIMARY KEY, owner text);
        INSERT INTO own VALUES ('d', 'here');
        CREATE TABLE t (id int);
        CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE o text;
        BEGIN
            {chosen.read};
            IF o <> 'here' THEN RAISE EXCEPTION USING ERRCODE = 'BN421'; END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER g BEFORE INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION g();
        """
    )
    return chosen


def close(connection: psycopg.Connection, form: Form) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '200ms'")
        if form.fence_first:
            connection.execute(form.fence_first)
        connection.execute("UPDATE own SET owner = 'moving'")


def old_snapshot(connect: Connect) -> psycopg.Connection:
    """A transaction that has looked around, and has not written yet."""
    writer = connect(autocommit=False)
    writer.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    writer.execute("SELECT count(*) FROM pg_class")
    return writer


def test_a_writer_with_an_old_snapshot(form: Form, connect: Connect) -> None:
    writer = old_snapshot(connect)
    close(connect(), form)
    if form.old_snapshot_leaks:
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit()
        assert connect().execute("SELECT count(*) FROM t").fetchone() == (1,), "it wrote behind the fence"
    else:
        with pytest.raises(psycopg.errors.SerializationFailure):
            writer.execute("INSERT INTO t VALUES (1)")


def test_the_fence_and_a_writer_whose_transaction_is_open(form: Form, connect: Connect) -> None:
    writer = connect(autocommit=False)
    writer.execute("INSERT INTO t VALUES (1)")
    if form.fence_waits:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            close(connect(), form)
    else:
        close(connect(), form)
        writer.commit()
        assert connect().execute("SELECT count(*) FROM t").fetchone() == (1,), "it committed behind the fence"


@pytest.mark.parametrize("waves", [WHOLE, TWO_WAVES], ids=["one wave", "two waves"])
@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_the_guard_itself_stops_a_writer_with_an_old_snapshot(connect: Connect, mapping, waves, level) -> None:
    control = connect()
    control.execute(SCHEMA)
    install(control, mapping, "legacy", waves)
    writer = connect(autocommit=False)
    writer.isolation_level = level
    writer.execute("SELECT count(*) FROM item")
    for wave in waves:
        fenced = fence(control, "shop", wave.wave, 1, 300)
        set_owner(control, "shop", wave.wave, "service", fenced.epoch, fenced.epoch)

    with pytest.raises(psycopg.errors.SerializationFailure):
        writer.execute("UPDATE item SET qty = 77")
    writer.rollback()
    assert control.execute("SELECT count(*) FROM item WHERE qty = 77").fetchone() == (0,)


#: Every way to write; the last two past what guards of other kinds look at.
WRITES = [
    "INSERT INTO item VALUES (777, 777, 77)",
    "UPDATE item SET qty = 77",
    "DELETE FROM item",
    "INSERT INTO item VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET qty = 77",
    "MERGE INTO item USING (VALUES (1)) v(id) ON item.id = v.id WHEN MATCHED THEN UPDATE SET qty = 77",
    "WITH gone AS (DELETE FROM item RETURNING *) SELECT count(*) FROM gone",
    "SET LOCAL session_replication_role = replica; UPDATE item SET qty = 77",
    "TRUNCATE item",
]


@pytest.mark.parametrize("waves", [WHOLE, TWO_WAVES], ids=["one wave", "two waves"])
def test_no_way_to_write_gets_behind_the_fence_of_the_guard_itself(connect: Connect, mapping, waves) -> None:
    """Both columns of the matrix: with an old snapshot, and while the transaction is open when the fence comes."""
    control = connect()
    control.execute(SCHEMA)
    install(control, mapping, "legacy", waves)
    rows = control.execute("SELECT * FROM item ORDER BY id").fetchall()
    for write in WRITES:
        open_one = connect(autocommit=False)
        open_one.execute(write)
        with pytest.raises(FenceTimeout):
            fence(control, "shop", 0, 1, 50)
        open_one.rollback()
    writers = [old_snapshot(connect) for _ in WRITES]
    for wave in waves:
        fenced = fence(control, "shop", wave.wave, 1, 300)
        set_owner(control, "shop", wave.wave, "service", fenced.epoch, fenced.epoch)
    for write, writer in zip(WRITES, writers, strict=True):
        with pytest.raises(psycopg.DatabaseError) as refused:
            writer.execute(write)
        assert refused.value.sqlstate in ("40001", "BN421"), write
        writer.rollback()
        with pytest.raises(psycopg.DatabaseError) as refused:
            connect().execute(f"BEGIN; {write}; COMMIT")
        assert refused.value.sqlstate == "BN421", write
    assert control.execute("SELECT * FROM item ORDER BY id").fetchall() == rows
