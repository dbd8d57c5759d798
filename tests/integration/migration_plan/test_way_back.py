"""The way back is tried with real rows before the writes leave; what would be refused of them stops the switch."""

from __future__ import annotations

import psycopg
import pytest

from migration_plan import verbs
from migration_plan.errors import Refused
from migration_plan.gates.measure import way_back
from migration_plan.gates.measured import WayBack
from migration_plan.journey import Stand
from tests.integration.migration_plan.toy import INSERT, Toys


def execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_vitess_16794_a_reverse_that_cannot_write_is_found_before_the_switch(toys: Toys) -> None:
    """Switched though the reverse could not run, which is found out only when somebody wants to go back."""
    with psycopg.connect(toys.legacy) as connection:
        connection.execute(INSERT["legacy"], ["the first"])
    toys.equal()
    toys.put_stand(Stand("canary", 50))
    # The monolith's own rows fit; one with an id of the service's would not.
    execute(toys.legacy, "ALTER TABLE toy ADD CONSTRAINT small CHECK (id < 1000000)")
    with toys.context() as context, pytest.raises(Refused, match=r"way-back: public\.toy refuses .* \"small\""):
        verbs.switch(context, toys.domain)
    execute(toys.legacy, "ALTER TABLE toy DROP CONSTRAINT small", "ALTER TABLE toy ENABLE ROW LEVEL SECURITY")
    with toys.context() as context:
        assert way_back(context, toys.domain, "legacy") == WayBack(rows=2)  # its own key, and a new one
        assert way_back(context, toys.domain, "service") == WayBack(rows=1)
        looked = verbs.switch(context, toys.domain, dry_run=True)
        assert looked.refusal == []
        low, high = looked.predicted_interval_ms or (0, 0)
        assert 0 < low <= (looked.predicted_pause_ms or 0) <= high
        assert looked.rollback_loses == []
        assert verbs.switch(context, toys.domain).owner == "service"
    assert toys.names("legacy") == toys.names("service") == ["the first"]
    for dsn in (toys.legacy, toys.service):
        with psycopg.connect(dsn) as connection:
            left = "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE %s"
            assert connection.execute(left, [f"%{toys.domain}%rehearsal"]).fetchone() == (0,)


def test_a_row_that_somebody_holds_is_not_waited_for(toys: Toys) -> None:
    with psycopg.connect(toys.legacy) as connection:
        connection.execute(INSERT["legacy"], ["the first"])
    toys.equal()
    with psycopg.connect(toys.legacy) as busy, toys.context() as context:
        busy.execute("SELECT * FROM toy FOR UPDATE")
        tried = way_back(context, toys.domain, "legacy")
    assert tried.rows == 0
    assert "lock timeout" in (tried.why or "")
