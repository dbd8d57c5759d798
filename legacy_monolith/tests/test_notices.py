"""E-mail inside the request: a real SMTP conversation, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import psycopg
import pytest
from flask import Flask

from legacy_monolith import seed
from legacy_monolith.cron import queued
from legacy_monolith.notifications.preferences import Preferences
from legacy_monolith.tests.conftest import BACKOFFICE_KEY
from legacy_monolith.tests.smtp_sink import SmtpSink

BACKOFFICE = {"X-Api-Key": BACKOFFICE_KEY}
NIGHT, DAY = datetime(2024, 5, 2, 23, 0), datetime(2024, 5, 3, 12, 0)


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as server:
        yield server
        server.shutdown()


def notice(customer: int, **changes: object) -> dict[str, object]:
    return {"customer_id": customer, "channel": "E", "subject": "Prijs é", "body": "Nu goedkoop", **changes}


def customer_of(dsn: str) -> int:
    seed.seed(dsn, 1, "s")
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT id FROM customer").fetchone()
    assert row is not None
    return row[0]


def test_mail_arrives_before_the_answer(legacy_database: str, make_app: Callable[..., Flask], sink: SmtpSink) -> None:
    customer = customer_of(legacy_database)
    got = (
        make_app(smtp_url=sink.url).test_client().post("/api/notifications", json=notice(customer), headers=BACKOFFICE)
    )
    assert (got.status_code, got.json["status"]) == (201, "S")
    [message] = sink.received
    assert "To: customer-0001@example.net" in message
    assert "Nu goedkoop" in message


@pytest.mark.parametrize("to", ["refused@example.net", None])
def test_mail_that_fails_is_kept_with_the_reason(
    legacy_database: str, make_app: Callable[..., Flask], sink: SmtpSink, to: str | None
) -> None:
    customer = customer_of(legacy_database)
    url = sink.url if to else "smtp://127.0.0.1:1"
    got = (
        make_app(smtp_url=url)
        .test_client()
        .post("/api/notifications", json=notice(customer, to=to), headers=BACKOFFICE)
    )
    assert (got.status_code, got.json["status"], got.json["sent"]) == (201, "F", None)
    assert got.json["error"]
    assert sink.received == []


def test_what_waited_for_the_end_of_quiet_hours_is_sent_once(
    legacy_database: str, make_app: Callable[..., Flask], sink: SmtpSink
) -> None:
    customer = customer_of(legacy_database)
    app = make_app(smtp_url=sink.url)
    with psycopg.connect(legacy_database) as connection:
        connection.execute("UPDATE notification_pref SET quiet_from = '22:30', quiet_to = '07:00'")
        connection.execute(
            "INSERT INTO notification (customer_id, channel, recipient, subject, body, status, created)"
            " VALUES (%s, 'E', 'a@example.net', 's', 'b', 'Q', %s)",
            (customer, NIGHT),
        )
    engine = app.extensions["engine"]
    assert [queued.send(engine, sink.url, at) for at in (NIGHT, DAY, DAY)] == [0, 1, 0]
    assert len(sink.received) == 1
    with psycopg.connect(legacy_database) as connection:
        assert connection.execute("SELECT status, sent FROM notification").fetchone() == ("S", DAY)


@pytest.mark.parametrize(
    ("since", "until", "at", "quiet"),
    [
        ("22:00", "07:00", "23:59", True),
        ("22:00", "07:00", "00:00", True),
        ("22:00", "07:00", "07:00", False),
        ("22:00", "07:00", "21:59", False),
        ("12:00", "13:00", "12:00", True),
        ("12:00", "13:00", "13:00", False),
        (None, None, "03:00", False),
    ],
)
def test_quiet_hours_may_go_over_midnight(since: str | None, until: str | None, at: str, quiet: bool) -> None:
    hours, minutes = map(int, at.split(":"))
    moment = datetime(2024, 5, 2, hours, minutes)
    assert Preferences(quiet_from=since, quiet_to=until).is_quiet(moment) is quiet
