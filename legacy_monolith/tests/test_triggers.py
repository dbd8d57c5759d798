"""The summary of a day's prices stays right, whoever writes them and however many at once."""

from __future__ import annotations

import threading
from datetime import date
from typing import Any

import psycopg
from alembic import command

from legacy_monolith.migrate import config

ADD = (
    "INSERT INTO price (area, ts, hour_flag, eur_mwh, source, updated)"
    " VALUES ('NL', timestamp '2024-05-02' + %s * interval '1 hour', 'N', %s, 't', '2024-05-02')"
)
DAY = date(2024, 5, 2)


def summary(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    rows = connection.execute("SELECT day, min_eur_mwh::int, max_eur_mwh::int, hours FROM price_daily ORDER BY day")
    return rows.fetchall()


def test_it_follows_inserts_updates_moves_and_deletes(legacy_database: str) -> None:
    with psycopg.connect(legacy_database, autocommit=True) as connection:
        for hour, price in enumerate((5, -3, 8)):
            connection.execute(ADD, (hour, price))
        assert summary(connection) == [(DAY, -3, 8, 3)]
        connection.execute("UPDATE price SET eur_mwh = 4 WHERE eur_mwh = -3")
        assert summary(connection) == [(DAY, 4, 8, 3)]
        connection.execute("UPDATE price SET ts = ts + interval '1 day' WHERE eur_mwh = 8")
        assert summary(connection) == [(DAY, 4, 5, 2), (date(2024, 5, 3), 8, 8, 1)]
        connection.execute("DELETE FROM price WHERE ts < '2024-05-03'")
        assert summary(connection) == [(date(2024, 5, 3), 8, 8, 1)]


def test_a_new_day_that_two_transactions_fill_at_once_counts_both(legacy_database: str) -> None:
    with psycopg.connect(legacy_database) as first, psycopg.connect(legacy_database) as second:
        first.execute(ADD, (0, 1))
        waiting = threading.Thread(target=lambda: (second.execute(ADD, (1, 9)), second.commit()))
        waiting.start()
        with psycopg.connect(legacy_database, autocommit=True) as watcher:
            while not watcher.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                assert waiting.is_alive()
            first.commit()
            waiting.join(10)
            assert summary(watcher) == [(DAY, 1, 9, 2)]


def test_it_fires_for_replicated_rows_when_it_is_told_to(legacy_database: str) -> None:
    """The sync applies rows with session_replication_role = replica; the summary must follow them."""
    with psycopg.connect(legacy_database, autocommit=True) as connection:
        connection.execute("ALTER TABLE price ENABLE ALWAYS TRIGGER price_daily_insert")
        connection.execute("SET session_replication_role = replica")
        connection.execute(ADD, (0, 7))
        assert summary(connection) == [(DAY, 7, 7, 1)]


def test_a_trigger_that_fires_for_replicated_rows_still_does_after_its_migration(database: str) -> None:
    command.upgrade(config(database), "0005")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE price ENABLE ALWAYS TRIGGER price_daily_refresh")
        command.upgrade(config(database), "0006")
        connection.execute("SET session_replication_role = replica")
        connection.execute(ADD, (0, 7))
        assert summary(connection) == [(DAY, 7, 7, 1)]
        command.downgrade(config(database), "0005")
        connection.execute(ADD, (1, 2))
        assert summary(connection) == [(DAY, 2, 7, 2)]
