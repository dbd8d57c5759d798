"""Runs of the same month at the same moment: one makes the invoice, the others find it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from legacy_monolith.billing.run import run
from legacy_monolith.settings import sqlalchemy_url
from legacy_monolith.tests.test_billing_amounts import Books

RUNNERS, MONTHS = 6, [f"{year}-{month:02d}" for year in range(2024, 2044) for month in range(1, 13)]


def test_runs_at_the_same_moment_make_one_invoice_and_fail_nobody(legacy_database: str) -> None:
    with psycopg.connect(legacy_database, autocommit=True) as connection:
        customer = Books(connection).customer
    engine = create_engine(sqlalchemy_url(legacy_database), pool_size=RUNNERS)
    together = threading.Barrier(RUNNERS, timeout=10)

    def bill(_: int) -> list[int]:
        made = []
        with Session(engine) as session:
            for month in MONTHS:
                together.wait()
                made.append(len(run(session, month, customer).created))
                session.commit()
        return made

    with ThreadPoolExecutor(RUNNERS) as pool:
        counts = list(pool.map(bill, range(RUNNERS)))
    engine.dispose()
    assert [sum(of_month) for of_month in zip(*counts, strict=True)] == [1] * len(MONTHS)
