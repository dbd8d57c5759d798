"""A rehearsal writes what the other side owns, and no way of ending its transaction keeps any of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from banyan.servers import Postgres
from cdc.guard.install import install
from cdc.guard.ownership import REFUSED, set_owner
from cdc.guard.waves import WHOLE, Wave
from cdc.mapping import Mapping
from tests.fixtures.servers import create_database
from tests.integration.cdc_guard.conftest import SCHEMA, TWO_WAVES
from tests.integration.cdc_guard.test_guard import WRITES, hand_over

Root = psycopg.Connection[Any]
App = Callable[[], "psycopg.Connection[Any]"]
NEVER = "BN423"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Of its own: it knows prepared transactions."""
    folder = tmp_path_factory.mktemp("rehearsals")
    settings = {"fsync": "off", "max_prepared_transactions": "5"}
    server = Postgres(data=folder / "data", log=folder / "log", settings=settings).start()
    yield server
    server.stop()


@pytest.fixture(params=[WHOLE, TWO_WAVES], ids=["one wave", "two waves"])
def root(cluster: Postgres, mapping: Mapping, request: pytest.FixtureRequest) -> Iterator[Root]:
    """The monolith's database while all waves are the service's, as superuser; the application is role `clerk`."""
    waves: tuple[Wave, ...] = request.param
    with psycopg.connect(create_database(cluster, "rehearsal"), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = 'clerk'").fetchone() is None:
            connection.execute("CREATE ROLE clerk LOGIN PASSWORD 'clerk'")
        connection.execute(SCHEMA)
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON item, note TO clerk")
        install(connection, mapping, "legacy", waves)
        for wave in waves:
            hand_over(connection, wave.wave)
        yield connection


@pytest.fixture
def app(cluster: Postgres, root: Root) -> Iterator[App]:
    opened: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        where = {"host": "127.0.0.1", "port": cluster.port, "dbname": root.info.dbname}
        opened.append(psycopg.connect(**where, user="clerk", password="clerk", autocommit=True))  # type: ignore[arg-type]
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def everything(root: Root) -> list[tuple[Any, ...]]:
    return root.execute("SELECT * FROM item ORDER BY id").fetchall() + root.execute("SELECT * FROM note").fetchall()


@pytest.mark.parametrize("write", WRITES)
def test_a_rehearsal_writes_what_the_other_side_owns_and_sees_it(root: Root, app: App, write: str) -> None:
    before, clerk = everything(root), app()
    clerk.execute("BEGIN")
    clerk.execute("SELECT banyan.rehearse()")
    assert clerk.execute(write).rowcount != 0
    assert everything(clerk) != before
    clerk.execute("ROLLBACK")
    assert everything(root) == before
    with pytest.raises(psycopg.Error) as refused:
        clerk.execute(write)
    assert refused.value.sqlstate == REFUSED, "the next transaction of the session is none"


def test_its_commit_is_refused(root: Root, app: App) -> None:
    before, clerk = everything(root), app()
    clerk.execute("BEGIN")
    clerk.execute("SELECT banyan.rehearse()")
    clerk.execute("UPDATE item SET qty = 9")
    with pytest.raises(psycopg.Error, match="a rehearsal cannot be committed") as refused:
        clerk.execute("COMMIT")
    assert (refused.value.sqlstate, everything(root)) == (NEVER, before)
    assert root.execute("SELECT count(*) FROM banyan.rehearsal").fetchone() == (0,)


def test_it_cannot_be_committed_even_where_this_side_owns_the_rows(root: Root, app: App) -> None:
    for (wave,) in root.execute("SELECT wave FROM banyan.ownership").fetchall():
        set_owner(root, "shop", wave, "legacy", 2, 3)
    before, clerk = everything(root), app()
    clerk.execute("BEGIN")
    clerk.execute("SELECT banyan.rehearse()")
    clerk.execute("UPDATE item SET qty = 9")
    with pytest.raises(psycopg.Error, match="a rehearsal cannot be committed"):
        clerk.execute("COMMIT")
    assert everything(root) == before
    assert clerk.execute("UPDATE item SET qty = 9").rowcount == 100


GATE = "SELECT banyan.rehearse()"
WRITE = "UPDATE item SET qty = 9"
UNDO = "ROLLBACK TO a"
ATTACKS = {
    "a setting alone": ["SET banyan.rehearsal = on", WRITE],
    "a setting of the transaction": ["BEGIN", "SET LOCAL banyan.rehearsal = on", WRITE, "COMMIT"],
    "outside of a transaction": [GATE, WRITE],
    "in one statement": [f"WITH gate AS ({GATE}), w AS ({WRITE} RETURNING id) SELECT * FROM gate, w"],
    "in one message": [f"{GATE}; {WRITE}"],
    "commit": ["BEGIN", GATE, WRITE, "COMMIT"],
    "commit and chain": ["BEGIN", GATE, WRITE, "COMMIT AND CHAIN", "COMMIT"],
    "end": ["BEGIN", GATE, WRITE, "END"],
    "a begin inside": ["BEGIN", GATE, WRITE, "BEGIN", "COMMIT"],
    "two phases": ["BEGIN", GATE, WRITE, "PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'"],
    "gate in a savepoint that is rolled back": ["BEGIN", "SAVEPOINT a", GATE, "ROLLBACK TO a", WRITE, "COMMIT"],
    "write before the gate is rolled back": ["BEGIN", "SAVEPOINT a", GATE, WRITE, "ROLLBACK TO a", "COMMIT"],
    "write in a savepoint of its own": [
        "BEGIN", "SAVEPOINT a", GATE, "SAVEPOINT b", WRITE, "RELEASE b", "ROLLBACK TO a", "RELEASE a", "COMMIT",
    ],
    "gate released, outer rolled back": [
        "BEGIN", "SAVEPOINT a", "SAVEPOINT b", GATE, "RELEASE b", WRITE, "ROLLBACK TO a", "COMMIT",
    ],
    "gate again after its roll-back": ["BEGIN", "SAVEPOINT a", GATE, "ROLLBACK TO a", GATE, WRITE, "COMMIT"],
    "the setting outlives the gate": [
        "BEGIN", "SAVEPOINT a", GATE, "ROLLBACK TO a", "SET LOCAL banyan.rehearsal = on", WRITE, "COMMIT",
    ],
    "the gate twice": ["BEGIN", GATE, "SAVEPOINT a", GATE, WRITE, "ROLLBACK TO a", WRITE, "COMMIT"],
    "constraints immediate": ["BEGIN", GATE, WRITE, "SET CONSTRAINTS ALL IMMEDIATE", "COMMIT"],
    "constraints immediate before": ["BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", GATE, WRITE, "COMMIT"],
    "constraints immediate in a savepoint": [
        "BEGIN", GATE, WRITE, "SAVEPOINT a", "SET CONSTRAINTS ALL IMMEDIATE", "ROLLBACK TO a", "COMMIT",
    ],
    "constraints immediate, caught": [
        "BEGIN", GATE, WRITE,
        "DO $$ BEGIN SET CONSTRAINTS ALL IMMEDIATE; EXCEPTION WHEN OTHERS THEN NULL; END $$",
        "SET CONSTRAINTS ALL DEFERRED", "COMMIT",
    ],
    "constraints immediate by name": ["BEGIN", GATE, WRITE, "SET CONSTRAINTS banyan.banyan_never IMMEDIATE", "COMMIT"],
    "the gate caught": [
        "BEGIN", "SET CONSTRAINTS ALL IMMEDIATE",
        "DO $$ BEGIN PERFORM banyan.rehearse(); EXCEPTION WHEN OTHERS THEN NULL; END $$", WRITE, "COMMIT",
    ],
    "a block that commits": [f"DO $$ BEGIN PERFORM banyan.rehearse(); {WRITE}; COMMIT; END $$"],
    "replica": ["BEGIN", "SAVEPOINT a", "SET session_replication_role = replica", UNDO, GATE, WRITE, "COMMIT"],
    "the row deleted": ["BEGIN", GATE, WRITE, "SAVEPOINT a", "DELETE FROM banyan.rehearsal", UNDO, "COMMIT"],
    "the table truncated": ["BEGIN", GATE, WRITE, "SAVEPOINT a", "TRUNCATE banyan.rehearsal", UNDO, "COMMIT"],
    "the row forged": [
        "BEGIN", "SET LOCAL banyan.rehearsal = on", "SAVEPOINT a",
        "INSERT INTO banyan.rehearsal VALUES (pg_current_xact_id())", "ROLLBACK TO a", WRITE, "COMMIT",
    ],
    "the trigger disabled": [
        "BEGIN", GATE, WRITE, "SAVEPOINT a", "ALTER TABLE banyan.rehearsal DISABLE TRIGGER ALL", UNDO, "COMMIT",
    ],
    "a truncate": ["BEGIN", GATE, "TRUNCATE item", "COMMIT"],
    "serializable": ["BEGIN ISOLATION LEVEL SERIALIZABLE", GATE, WRITE, "COMMIT"],
    "a cursor that is held": ["BEGIN", GATE, "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM item", WRITE, "COMMIT"],
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_of_it_is_ever_kept(root: Root, app: App, attack: list[str]) -> None:
    before, clerk = everything(root), app()
    for statement in attack:
        with suppress(psycopg.Error):
            clerk.execute(statement)
    clerk.close()
    assert everything(root) == before
    assert root.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone() == (0,)
    assert root.execute("SELECT count(*) FROM banyan.rehearsal").fetchone() == (0,)


def test_another_session_is_not_let_in_by_it(root: Root, app: App) -> None:
    clerk, other = app(), app()
    clerk.execute("BEGIN")
    clerk.execute(GATE)
    other.execute("BEGIN")
    other.execute("SET LOCAL banyan.rehearsal = on")
    with pytest.raises(psycopg.Error) as refused:
        other.execute("UPDATE item SET qty = 9")
    assert refused.value.sqlstate == REFUSED


def test_a_superuser_under_replica_cannot_commit_it_either(root: Root) -> None:
    before = everything(root)
    root.execute("BEGIN")
    root.execute("SET LOCAL session_replication_role = replica")
    root.execute(GATE)
    root.execute(WRITE)
    with pytest.raises(psycopg.Error, match="a rehearsal cannot be committed"):
        root.execute("COMMIT")
    assert everything(root) == before


def test_a_switch_does_not_wait_for_it(root: Root, app: App) -> None:
    """The row of ownership is not locked: this side becomes the owner while a rehearsal is under way."""
    clerk = app()
    clerk.execute("BEGIN")
    clerk.execute(GATE)
    clerk.execute(WRITE)
    root.execute("SET lock_timeout = '100ms'")
    for (wave,) in root.execute("SELECT wave FROM banyan.ownership").fetchall():
        assert set_owner(root, "shop", wave, "legacy", 2, 3) == 3
    with pytest.raises(psycopg.Error, match="a rehearsal cannot be committed"):
        clerk.execute("COMMIT")


def test_it_gives_way_before_anybody_else_is_the_victim_of_a_deadlock(root: Root, app: App) -> None:
    name = f"toy_{uuid.uuid4().hex}"
    root.execute("SELECT pg_replication_origin_create(%s)", (name,))
    root.execute("SELECT pg_replication_origin_session_setup(%s)", (name,))
    root.execute("BEGIN")
    root.execute("UPDATE item SET qty = 5 WHERE id = 1")
    clerk = app()
    clerk.execute("BEGIN")
    clerk.execute(GATE)
    clerk.execute("UPDATE item SET qty = 9 WHERE id = 2")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        clerk.execute("UPDATE item SET qty = 9 WHERE id = 1")
    clerk.execute("ROLLBACK")
    assert root.execute("UPDATE item SET qty = 5 WHERE id = 2").rowcount == 1
    root.execute("COMMIT")


def test_who_may_not_write_the_tables_may_not_rehearse(root: Root) -> None:
    root.execute("CREATE ROLE guest")
    try:
        root.execute("GRANT SELECT ON item TO guest")
        root.execute("SET ROLE guest")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            root.execute(GATE)
    finally:
        root.execute("RESET ROLE")
        root.execute("DROP OWNED BY guest")
        root.execute("DROP ROLE guest")
