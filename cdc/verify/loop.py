"""Compares domains over and over, throttled, each in a thread of its own, and keeps what comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
import structlog

from cdc.errors import CdcError, first_line
from cdc.mapping import Direction, MappingError
from cdc.mapping import Mapping as DomainMapping
from cdc.retired import is_retired, remaining
from cdc.verify import state
from cdc.verify.report import Report
from cdc.verify.run import Patience, verify
from cdc.verify.state import Kept
from cdc.verify.touches import Carrier

# Rows a second and domain: a few percent of a core at either database.
RATE = 5_000.0
# From the end of a pass to the next one, and after a failed one, seconds. A pass costs connections and a slot, so those
# of small domains shall not follow each other closely; a gate asks for minutes (verify_fresh_s).
PAUSE_S, AFTER_FAILURE_S = 60.0, 10.0
# Before the first pass, seconds: when a whole stack starts, it can wait.
DELAY_S = 15.0
NOTE_EVERY_S = 1.0

log = structlog.get_logger("cdc.verify")


@dataclass(slots=True)
class Loop:
    """One domain. `kept` is the newest state that was read, for metrics."""

    mapping: DomainMapping
    legacy_dsn: str
    service_dsn: str
    carriers: Mapping[Direction, Carrier]
    rate: float | None = RATE
    pause_s: float = PAUSE_S
    delay_s: float = 0.0
    kept: Kept | None = None
    problem: str = ""
    _noted_at: float = field(default=0.0)

    def run(self, stop: threading.Event) -> None:
        stop.wait(self.delay_s)
        while not stop.is_set():
            try:
                if not self.left():
                    stop.wait(self.pause_s)
                    continue
                self.once()
                stop.wait(self.pause_s)
            except (CdcError, MappingError, psycopg.Error) as error:
                self.problem = first_line(error)
                log.warning("no comparison", domain=self.mapping.domain, error=self.problem)
                self._tell_problem()
                stop.wait(AFTER_FAILURE_S)

    def left(self) -> bool:
        """Whether there is anything to compare; of a retired domain the reference data. Raises: psycopg.Error."""
        with _connect(self.service_dsn) as service:
            if is_retired(service, self.mapping.domain):
                self.mapping = cast("DomainMapping", remaining(self.mapping))
        return bool(self.mapping.tables)

    def once(self) -> Report:
        """One pass. Raises: Transient, VerifyError, MappingError, psycopg.Error."""
        domain = self.mapping.domain
        with _connect(self.service_dsn) as service, _connect(self.legacy_dsn) as legacy:
            began = state.begin(service, domain)
            filled = state.fills(legacy, service, domain)

            def progress(table: str, rows: int, of: int) -> None:
                now = time.monotonic()
                if now - self._noted_at >= NOTE_EVERY_S:
                    self._noted_at = now
                    state.at(service, domain, table, rows)
                    self.kept = state.read(service, domain)

            report = verify(
                self.legacy_dsn,
                self.service_dsn,
                self.mapping,
                carriers=self.carriers,
                rate=self.rate,
                patience=Patience(),
                progress=progress,
            )
            state.end(service, report, began, filled)
            self.kept, self.problem = state.read(service, domain), ""
        told = {"rows": report.rows, "requeued": report.rechecked, "drift": report.drift, "unsettled": report.unsettled}
        if report.clean:
            log.info("compared", domain=domain, **told)
        else:
            samples = [str(found) for found in report.samples[:10]]
            log.error("not equal", domain=domain, **told, stalled=report.stalled, samples=samples)
        return report

    def _tell_problem(self) -> None:
        try:
            with _connect(self.service_dsn) as service:
                state.problem(service, self.mapping.domain, self.problem)
        except psycopg.Error:
            log.warning("the problem could not be kept", domain=self.mapping.domain)


def _connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="banyan-verify state")
