"""The minute job: imbalance price to battery commands, and notices that waited."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from legacy_monolith import localtime
from legacy_monolith.cron import commands, decide, queued

log = logging.getLogger("legacy")

NAME = "minute"
AREA = "NL"

_CLAIM = text(
    "INSERT INTO cron_run (job, minute, hour_flag, host) VALUES (:job, :minute, :hour_flag, :host)"
    " ON CONFLICT DO NOTHING RETURNING job"
)
_RESULT = text("UPDATE cron_run SET result = :result WHERE job = :job AND minute = :minute AND hour_flag = :hour_flag")
_FORGET = text("DELETE FROM cron_run WHERE minute < :before")
_NEWEST = text("SELECT ts, hour_flag, eur_mwh FROM imbalance_price WHERE area = :area ORDER BY id DESC LIMIT 1")

#: Rows of cron_run are kept this many days.
_KEEP_DAYS = 7


@dataclass(frozen=True, slots=True)
class Ran:
    mode: str | None
    written: int
    foreign: int
    sent: int

    def __str__(self) -> str:
        what = {"C": "charge", "D": "discharge", None: "no command"}[self.mode]
        return f"{what}: {self.written} commands, {self.foreign} devices owned elsewhere, {self.sent} notices sent"


def run(engine: Engine, smtp_url: str | None, now: datetime, *, again: bool = False) -> Ran | None:
    """One run at the UTC instant `now`; None when another worker has this minute, unless `again`."""
    minute, flag = localtime.to_local(now.replace(second=0, microsecond=0))
    key = {"job": NAME, "minute": minute, "hour_flag": flag}
    with engine.begin() as connection:
        mine = connection.execute(_CLAIM, {**key, "host": socket.gethostname()[:80]}).scalar() is not None
    if not mine and not again:
        return None
    with engine.begin() as connection:
        mode = _mode(connection.execute(_NEWEST, {"area": AREA}).one_or_none(), now)
        written, foreign = commands.write(connection, mode, now) if mode else (0, 0)
    sent = queued.send(engine, smtp_url, localtime.to_local(now.replace(microsecond=0))[0])
    done = Ran(mode, written, foreign, sent)
    with engine.begin() as connection:
        connection.execute(_RESULT, {**key, "result": str(done)})
        connection.execute(_FORGET, {"before": minute - timedelta(days=_KEEP_DAYS)})
    log.info("cron", extra={"fields": {"job": NAME, "result": str(done)}})
    return done


def _mode(price: Any, now: datetime) -> str | None:
    if price is None or not decide.is_fresh(price.ts, price.hour_flag, now.astimezone(UTC)):
        return None
    return decide.mode(price.eur_mwh)
