"""The status table says what it means without its colours, and fits the terminal that it is shown on."""

import io
import time
from dataclasses import dataclass
from typing import Any

import pytest
from rich.console import Console

from banyan.commands.status_views import show_status
from cdc.snapshot.standing import Standing
from migration_plan.status import DomainStatus, Status, StreamStatus, VerifyStatus, WaveStatus

WAVE = WaveStatus(0, 0, 1024, "canary", 50, "legacy", 12, None, None, None)
RUNNING = StreamStatus("streaming", alive=True, lag_ms=1234.0, parked=0, slot="reserved")
BEHIND = StreamStatus(
    "streaming", alive=True, lag_ms=900.0, parked=0, slot="extended",
    retained_bytes=1_500_000_000, lag_bytes=340_000_000, room_bytes=500_000_000,
)  # fmt: skip
WELL = {"legacy": True, "service": True}
CLOSED = {"legacy": "closed", "service": "closed"}


@dataclass
class Shown:
    out: str
    err: str

    def row(self, domain: str) -> str:
        return next(line for line in self.out.splitlines() if line.startswith(domain))


def domain(name: str = "toys", **more: Any) -> DomainStatus:
    fields: dict[str, Any] = {
        "waves": [WAVE], "streams": {"forward": RUNNING, "reverse": RUNNING},
        "verify": VerifyStatus(True, 0, 1300), "requests": {}, "breakers": CLOSED, "health": WELL, "shadow": {},
        "counters": {}, "problems": [],
    }  # fmt: skip
    return DomainStatus(name, "canary", 50, "legacy", 12, **{**fields, **more})


def shown(*domains: DomainStatus, width: int = 200) -> Shown:
    out, err = io.StringIO(), io.StringIO()
    status = Status(time.time(), "ann", 3, 1, list(domains), [], [], [], True)
    show_status(status, Console(file=out, width=width), Console(file=err, width=width))
    return Shown(out.getvalue(), err.getvalue())


def test_health_is_told_in_words_for_each_side():
    assert shown(domain()).row("toys").rstrip().endswith("legacy up, service up")
    ill = domain(health={"legacy": True, "service": False})
    assert shown(ill).row("toys").rstrip().endswith("legacy up, service DOWN")


def test_lag_is_told_in_time_and_bytes_and_what_wal_the_slots_keep():
    row = shown(domain(streams={"forward": BEHIND, "reverse": RUNNING})).row("toys")
    assert "900 ms 340 MB" in row
    assert "1.5 GB" in row
    assert "1234 ms" in row


def test_a_fill_and_what_is_read_again_are_told_with_rate_and_time_left():
    fills = Standing("public.toy", 2500, 10_000, 2, fills=True, rate=500.0, eta_s=15.0)
    again = Standing("public.toys", 10, 100, 1, fills=False, waits="the source is busy")
    streams = {
        "forward": StreamStatus("snapshot", True, 5.0, parked=0, slot="reserved", snapshot=fills),
        "reverse": StreamStatus("streaming", True, 5.0, parked=0, slot="reserved", snapshot=again),
    }
    found = shown(domain(streams=streams))
    assert "fills, 25 %" in found.row("toys")
    lines = found.out.splitlines()
    assert (
        "toys: the forward stream fills from public.toy and 1 more: 2,500 of about 10,000 rows, 500 rows/s,"
        " about 15 s left" in lines
    )
    said = "toys: the reverse stream reads again public.toys: 10 of about 100 rows, waits: the source is busy"
    assert said in lines


def test_a_halted_stream_is_told_as_such():
    halted = StreamStatus("halted", alive=False, lag_ms=9.0, parked=0, slot="reserved", problem="it is halted by …")
    assert "halted" in shown(domain(streams={"forward": halted, "reverse": RUNNING})).row("toys")


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_row_a_domain_fits_the_width_and_says_where_it_stands(width: int):
    names = ("pricing", "devices", "notifications")
    found = shown(*(domain(name) for name in names), width=width)
    assert max(map(len, found.out.splitlines())) <= width
    for name in names:
        row = found.row(name)
        assert "canary 50 %" in row
        assert row.count("1234 ms") == 2
        assert "clean, 22 min" in row
    assert len(found.out.splitlines()) == 5


@pytest.mark.parametrize("width", [80, 120, 200])
def test_what_is_not_well_is_told_at_every_width(width: int):
    ill = domain(health={"legacy": True, "service": False}, breakers={"legacy": "closed", "service": "open"})
    said = " ".join(shown(ill, width=width).out.split())
    assert "service DOWN" in said
    assert "open" in said


@pytest.mark.parametrize("width", [80, 200])
def test_a_stream_without_slot_and_one_that_stands_still_are_told_in_words(width: int):
    gone = StreamStatus("streaming", False, 90_000.0, slot="missing", problem="its slot is missing; fill again")
    silent = StreamStatus("streaming", False, 7000.0, parked=0, slot="reserved")
    row = shown(domain(streams={"forward": gone, "reverse": silent}), width=width).row("toys")
    assert "slot missing" in row
    assert "silent" in row


def test_at_eighty_columns_the_sides_are_told_once_for_all_domains():
    assert "all sides up, breakers closed" in shown(domain(), domain("games"), width=80).out
