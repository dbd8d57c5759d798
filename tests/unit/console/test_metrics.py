"""The console's own metrics."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from console.history import History
from console.hub import Hub
from console.metrics import exposition, registry
from console.poller import Poller
from console.readings import Ledger, Part, Verification


def test_the_drift_of_the_newest_comparison_is_a_metric_where_the_ledger_knows_it() -> None:
    poller = Poller(None, History(1), 1.0)  # type: ignore[arg-type]
    hub = Hub(1)
    assert b"banyan_console_verify_drift{" not in exposition(registry(poller, hub))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    found = {"pricing": Verification(at, False, 100, 3), "devices": Verification(at, None, None, None)}
    poller.readings = replace(poller.readings, ledger=Part(value=Ledger((), found), at=at))
    said = exposition(registry(poller, hub)).decode()
    assert 'banyan_console_verify_drift{domain="pricing"} 3.0' in said
    assert 'drift{domain="devices"}' not in said
