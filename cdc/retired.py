"""Domains that have left for good (`banyan complete`): what their streams carry from then on.

Both databases know it by banyan.retired, so that every process finds it, whenever it starts. The reverse stream is
over. Of the forward stream the reference data is left, which the monolith keeps; without any it is over too. A process
of a stream that is over stays and waits: whoever keeps processes would start it again and again.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, cast

import psycopg
import structlog
from psycopg import sql

from cdc.apply.route import DomainMapping
from cdc.apply.session import connect, translated_errors
from cdc.config import Stream
from cdc.mapping import Mapping
from cdc.status import Status

# Seconds between two looks of a process whose stream is over.
LOOK = 5.0

MARKS = """
CREATE TABLE IF NOT EXISTS banyan.retired (domain text PRIMARY KEY, retired_at timestamptz NOT NULL DEFAULT now())
"""
GRANT = "GRANT USAGE ON SCHEMA banyan TO {0}; GRANT SELECT ON banyan.retired TO {0}"

log = structlog.get_logger("cdc")


def mark(connection: psycopg.Connection[Any], domain: str) -> None:
    """From here on the streams carry what is left. Again it changes nothing. Needs the owner of schema banyan."""
    with connection.transaction():
        connection.execute(MARKS)
        for (role,) in connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname IN ('banyan_cdc', 'banyan_ctl')"
        ).fetchall():
            connection.execute(sql.SQL(GRANT).format(sql.Identifier(role)))
        connection.execute("INSERT INTO banyan.retired (domain) VALUES (%s) ON CONFLICT DO NOTHING", [domain])


def is_retired(connection: psycopg.Connection[Any], domain: str) -> bool:
    row = connection.execute("SELECT to_regclass('banyan.retired') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return False
    found = connection.execute("SELECT EXISTS (SELECT FROM banyan.retired WHERE domain = %s)", [domain]).fetchone()
    return found is not None and bool(found[0])


def remaining(mapping: DomainMapping) -> DomainMapping:
    """The tables that the monolith keeps."""
    kept = tuple(table for table in cast("Mapping", mapping).tables if table.direction == "forward")
    return cast("DomainMapping", replace(cast("Mapping", mapping), tables=kept))


class Retirement:
    """Of one running stream."""

    def __init__(self, target_dsn: str) -> None:
        self._target_dsn = target_dsn

    def stand(self, stream: Stream, mapping: DomainMapping, status: Status, stop: threading.Event) -> DomainMapping:
        """What the stream carries; blocks until `stop` when that is nothing any more. Raises: Transient."""
        with connect(self._target_dsn, f"banyan-cdc {stream.name} look") as target, translated_errors():
            if not is_retired(target, stream.domain):
                return mapping
        left = remaining(mapping)
        if stream.direction == "forward" and left.tables:
            return left
        status.state, status.problem = "retired", ""
        log.info("stream over", stream=stream.name, why=f"{stream.domain} is retired")
        while not stop.wait(LOOK):
            pass
        return mapping
