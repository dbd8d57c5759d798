"""The audit of devices and notifications finds what either database lost or doubled, whichever form it keeps it in."""

from __future__ import annotations

import psycopg
import pytest

from load.audit import audit
from load.facts import Fact, FactMemory, Facts

LEGACY = """
CREATE TABLE device (id bigint, serial text, customer_id bigint);
CREATE TABLE schedule (device_id bigint, slots text);
CREATE TABLE ack (device_id bigint, ref text, state char(1), observed timestamp);
CREATE TABLE notification (customer_id bigint, subject text, body text);
CREATE TABLE notification_pref (customer_id bigint, email char(1), sms char(1), push char(1), quiet_from varchar(5),
                                quiet_to varchar(5));
INSERT INTO device VALUES (7, 'S-1', 11), (99, 'not ours', 11);
INSERT INTO schedule VALUES (7, '0000-0500 C2500;0500-2400 H0');
INSERT INTO ack VALUES (7, 'a', 'S', '2026-07-01 12:00:00'), (99, 'a', 'S', '2026-07-01 12:00:00');
INSERT INTO notification VALUES (5, 'hello 1', 'text'), (6, 'not ours', 'text');
INSERT INTO notification_pref VALUES (5, 'Y', 'N', 'Y', '22:00', '06:30');
"""
SERVICE = """
CREATE TABLE devices (id bigint, serial text, customer_id bigint);
CREATE TABLE schedules (device_id bigint, slots jsonb);
CREATE TABLE acks (device_id bigint, ref text, state text, observed_at timestamptz);
CREATE TABLE messages (customer_id bigint, subject text, body text);
CREATE TABLE preferences (customer_id bigint, email bool, sms bool, push bool, quiet_from time, quiet_to time);
INSERT INTO devices VALUES (7, 'S-1', 11);
INSERT INTO schedules VALUES (7, '[{"from":"00:00","to":"05:00","mode":"charge","power_w":2500},
                                   {"from":"05:00","to":"24:00","mode":"hold","power_w":0}]');
INSERT INTO acks VALUES (7, 'a', 'succeeded', '2026-07-01 10:00:00Z');
INSERT INTO messages VALUES (5, 'hello 1', 'text');
INSERT INTO preferences VALUES (5, true, false, true, '22:00', '06:30');
"""


def accepted(domain: str) -> Facts:
    memory = FactMemory(domain)
    if domain == "devices":
        memory.own(7)
        memory.note(Fact("devices", 7), "S-1 of 11", certain=True)
        memory.note(Fact("schedules", 7), "0000-2400 H0", certain=True)
        memory.note(Fact("schedules", 7), "0000-0500 C2500;0500-2400 H0", certain=True)
        memory.note(Fact("acks", 7, "a"), "S 2026-07-01T12:00:00", certain=True)
    else:
        memory.own(5)
        memory.note(Fact("notices", 5, "hello 1"), "text", certain=True)
        memory.note(Fact("preferences", 5), "YNY 22:00 06:30", certain=True)
    return memory.copy()


@pytest.fixture
def sides(database: str, service_database: str) -> dict[str, str]:
    for dsn, tables in ((database, LEGACY), (service_database, SERVICE)):
        with psycopg.connect(dsn) as connection:
            connection.execute(tables)
    return {"legacy": database, "service": service_database}


@pytest.mark.parametrize(
    ("domain", "values"),
    [("devices", {"devices": 1, "schedules": 1, "acks": 1}), ("notifications", {"notices": 1, "preferences": 1})],
)
def test_two_forms_of_the_same_rows_are_clean_and_rows_of_others_are_not_looked_at(sides, domain, values):
    report = audit(accepted(domain), *sides.values(), wait_s=0)
    assert report.clean, report.samples
    assert report.values == values


@pytest.mark.parametrize(
    ("domain", "side", "statement", "found"),
    [
        ("devices", "legacy", "DELETE FROM device WHERE id = 7", (1, 0, 0)),
        ("devices", "legacy", "UPDATE schedule SET slots = '0000-2400 H0'", (1, 0, 0)),
        ("devices", "legacy", "INSERT INTO ack SELECT * FROM ack WHERE device_id = 7", (0, 0, 1)),
        ("devices", "service", "UPDATE schedules SET slots = '[]'", (0, 1, 0)),
        ("devices", "service", "UPDATE acks SET observed_at = observed_at + interval '1 hour'", (0, 1, 0)),
        ("devices", "service", "UPDATE acks SET state = 'failed'", (0, 1, 0)),
        ("devices", "service", "INSERT INTO acks VALUES (7, 'b', 'failed', now())", (0, 0, 1)),
        ("notifications", "legacy", "DELETE FROM notification WHERE customer_id = 5", (1, 0, 0)),
        ("notifications", "legacy", "UPDATE notification_pref SET quiet_from = NULL", (1, 0, 0)),
        ("notifications", "service", "INSERT INTO messages SELECT * FROM messages", (0, 0, 1)),
        ("notifications", "service", "UPDATE messages SET body = 'other'", (0, 1, 0)),
        ("notifications", "service", "UPDATE preferences SET push = false", (0, 1, 0)),
    ],
)
def test_what_one_side_lost_or_doubled_is_found(sides, domain, side, statement, found):
    with psycopg.connect(sides[side]) as connection:
        assert connection.execute(statement).rowcount == 1
    report = audit(accepted(domain), *sides.values(), wait_s=0)
    assert (report.lost_legacy, report.lost_service, report.doubled) == found


def test_a_write_of_unknown_outcome_may_be_there_or_not(sides):
    facts = accepted("notifications")
    for statement in ("SELECT 1", "DELETE FROM notification", "INSERT INTO notification VALUES (5, 'hello 1', 'text')"):
        with psycopg.connect(sides["legacy"]) as connection:
            connection.execute(statement)
        facts.values[Fact("notices", 5, "hello 1")] = FactMemory("notifications").of(Fact("", 0)).perhaps("text")
        assert audit(facts, *sides.values(), wait_s=0).clean
