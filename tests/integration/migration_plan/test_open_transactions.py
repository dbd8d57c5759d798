"""The age of open transactions: hidden only from whoever may not see it."""

from __future__ import annotations

import threading

import psycopg
import pytest

from migration_plan.gates.measure import OPEN_TRANSACTIONS


@pytest.fixture
def toys(database: str) -> str:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE toys (id bigint GENERATED ALWAYS AS IDENTITY)")
    return database


def look(connection: psycopg.Connection) -> tuple[float, bool]:
    age, hidden = connection.execute(OPEN_TRANSACTIONS, [["public.toys"]]).fetchone()
    return age, hidden


def test_transactions_that_end_while_one_looks_are_not_taken_for_hidden_ones(toys: str) -> None:
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(toys, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("INSERT INTO toys DEFAULT VALUES")

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        with psycopg.connect(toys, autocommit=True) as connection:
            hidden = sum(look(connection)[1] for _ in range(1500))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert hidden == 0


def test_an_open_transaction_has_an_age_for_those_who_may_see_it_and_is_hidden_from_others(toys: str) -> None:
    with psycopg.connect(toys) as writer, psycopg.connect(toys, autocommit=True) as reader:
        writer.execute("INSERT INTO toys DEFAULT VALUES")
        age, hidden = look(reader)
        assert age > 0
        assert not hidden
        reader.execute("CREATE ROLE stranger_to_toys")
        try:
            reader.execute("SET ROLE stranger_to_toys")
            assert look(reader)[1]
        finally:
            reader.execute("RESET ROLE; DROP ROLE stranger_to_toys")
