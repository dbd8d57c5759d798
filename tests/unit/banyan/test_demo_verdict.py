"""The demonstration's verdict fails for each thing that it promises."""

import pytest

from banyan.commands.demo import verdict

WELL = {
    "failed": 0, "lost_writes": 0, "doubled_writes": 0, "stale_reads": 0, "requests_per_s": 250.0,
    "requests_per_s_wanted": 200.0, "fallbacks_when_service_killed": 12, "verify_clean": True, "invoices_equal": True,
}  # fmt: skip


def test_all_well_is_no_problem():
    assert verdict(WELL) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("failed", 1), ("lost_writes", 1), ("doubled_writes", 1), ("stale_reads", 1), ("requests_per_s", 199.0),
        ("fallbacks_when_service_killed", 0), ("verify_clean", False), ("invoices_equal", False),
    ],
)  # fmt: skip
def test_each_broken_promise_is_named(name, value):
    assert len(verdict({**WELL, name: value})) == 1
