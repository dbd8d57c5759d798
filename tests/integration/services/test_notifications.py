"""Notifications are sent at once, again when the server refused, after quiet hours, and never by a dry run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from litestar.testing import AsyncTestClient

from banyan.servers import Postgres
from services.chassis.database import create_engine
from services.chassis.localtime import to_utc
from services.chassis.metrics import Metrics
from services.notifications import mailer
from services.notifications.sending import Sender
from services.notifications.service import notifications
from tests.integration.services.conftest import Client, settings
from tests.integration.services.mail import MailServer, mail_server
from tests.integration.services.processes import BACK_OFFICE, migrated

NOTE = {"customer_id": 1, "channel": "E", "subject": "Hoi é", "body": "Dag!\n.\nTot ziens"}


@pytest.fixture
def smtp() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def dsn(service_postgres: Postgres) -> str:
    made = migrated(service_postgres, "notifications")
    with psycopg.connect(made) as connection:
        connection.execute("INSERT INTO customer_refs (id, email) VALUES (1, 'one@example.net')")
    return made


@pytest.fixture
async def client(dsn: str, smtp: MailServer) -> AsyncIterator[Client]:
    async with AsyncTestClient(notifications(settings("notifications", dsn, smtp_url=smtp.url))) as client:
        client.headers.update(BACK_OFFICE)
        yield client


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def test_a_message_is_sent_before_the_answer(client: Client, dsn: str, smtp: MailServer) -> None:
    answer = await client.post("/api/notifications", json=NOTE)
    assert (answer.status_code, answer.json()["status"], answer.json()["recipient"]) == (201, "S", "one@example.net")
    (mail,) = smtp.taken
    assert (mail["To"], mail["Subject"]) == ("one@example.net", "Hoi é")
    assert mail.get_content().replace("\r\n", "\n") == NOTE["body"] + "\n"
    assert rows(dsn, "SELECT done_at IS NOT NULL, error FROM outbox") == [(True, None)]
    assert rows(dsn, "SELECT consumer FROM inbox") == [("mailer",)]


async def test_a_refused_message_is_answered_failed_and_sent_later(client: Client, dsn: str, smtp: MailServer) -> None:
    smtp.refuses = True
    answer = await client.post("/api/notifications", json=NOTE)
    assert (answer.status_code, answer.json()["status"], answer.json()["sent"]) == (201, "F", None)
    assert answer.json()["error"].startswith("SMTPRecipientsRefused: ")
    assert rows(dsn, "SELECT attempts, available_at > now() FROM outbox WHERE done_at IS NULL") == [(1, True)]
    smtp.refuses = False
    rows(dsn, "UPDATE outbox SET available_at = now()")
    await until(lambda: rows(dsn, "SELECT state, error FROM messages") == [("sent", None)])
    assert len(smtp.taken) == 1
    history = (await client.get("/api/notifications")).json()["notifications"]
    assert [(message["status"], message["error"]) for message in history] == [("S", None)]


async def test_a_dry_run_sends_nothing_and_keeps_nothing(client: Client, dsn: str, smtp: MailServer) -> None:
    answer = await client.post("/api/notifications", json=NOTE, headers={"Banyan-Dry-Run": "1"})
    assert (answer.status_code, answer.json()["status"]) == (201, "S")
    assert smtp.taken == []
    assert rows(dsn, "SELECT 1 FROM messages UNION ALL SELECT 2 FROM outbox UNION ALL SELECT 3 FROM inbox") == []


async def test_nothing_is_sent_when_the_other_side_owns_the_messages(
    client: Client, dsn: str, smtp: MailServer
) -> None:
    rows(
        dsn,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'not here' USING ERRCODE = 'BN421',
                DETAIL = '{"domain":"notifications","wave":0,"owner":"legacy","epoch":1}';
        END $$;
        CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON messages FOR EACH STATEMENT EXECUTE FUNCTION refuse()
        """,
    )
    answer = await client.post("/api/notifications", json=NOTE)
    assert (answer.status_code, answer.headers["Banyan-Owner"], smtp.taken) == (421, "legacy", [])
    assert rows(dsn, "SELECT * FROM outbox") == []


async def test_a_message_in_quiet_hours_waits_for_their_end(dsn: str, smtp: MailServer) -> None:
    rows(
        dsn,
        """
        INSERT INTO preferences (customer_id, email, sms, push, quiet_from, quiet_to)
        VALUES (1, true, false, false, '22:00', '07:00');
        INSERT INTO messages (customer_id, channel, recipient, subject, body, state)
        VALUES (1, 'email', 'one@example.net', 's', 'b', 'queued')
        """,
    )
    engine = create_engine(settings("notifications", dsn))
    sender = Sender(engine, Metrics("test"), mailer.over(smtp.url))
    assert await sender.sweep(to_utc(datetime(2024, 7, 2, 6, 59))) == 0
    assert rows(dsn, "SELECT state FROM messages") == [("queued",)]
    assert await sender.sweep(to_utc(datetime(2024, 7, 2, 7, 0))) == 1
    assert await sender.sweep(datetime.now(UTC)) == 0
    assert rows(dsn, "SELECT state FROM messages") == [("sent",)]
    assert len(smtp.taken) == 1
    await engine.dispose()


async def test_a_message_that_the_monolith_left_queued_is_sent_by_the_running_service(
    client: Client, dsn: str, smtp: MailServer
) -> None:
    rows(
        dsn,
        "INSERT INTO messages (id, customer_id, channel, recipient, subject, body, state)"
        " VALUES (7, 1, 'email', 'one@example.net', 's', 'b', 'queued')",
    )
    await until(lambda: rows(dsn, "SELECT state FROM messages") == [("sent",)])
    assert [mail["To"] for mail in smtp.taken] == ["one@example.net"]
