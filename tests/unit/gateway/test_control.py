"""The client of the admin API, figures, the stored table and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.control import stored
from gateway.control.audit import Audit
from gateway.control.client import AdminClient
from gateway.control.figures import Figures, percentile_ms
from gateway.control.spread import commit_time
from gateway.control.status import status
from gateway.control.table import encode_table
from gateway.errors import AdminRefused, AdminUnauthorized, AdminUnreachable, SettingsRefused, VersionConflict
from gateway.meter import Meter
from gateway.settings import LONGEST_SOCKET_PATH, Address, Settings, from_environment
from gateway.shadow.policy import marks_of
from tests.unit.gateway.tables import table, wave


def client(handler: Any) -> AdminClient:
    return AdminClient("http://gateway", "secret-token", transport=httpx.MockTransport(handler))


def test_a_change_carries_version_actor_and_reason() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"version": 8, "workers": {"applied": 2, "total": 2}, "ms": 1.5})

    applied = client(answer).patch_domain("library", 7, "ann", "because", wave=1, hold=True)
    assert (applied.version, applied.everywhere, applied.ms) == (8, True, 1.5)
    (request,) = seen
    assert request.headers["if-match"] == '"7"'
    assert request.headers["banyan-actor"] == "ann"
    assert request.headers["authorization"] == "Bearer secret-token"
    assert msgspec.json.decode(request.content) == {"hold": True, "reason": "because", "wave": 1}
    client(answer).put_table(table(), 7, "ann", "line\nbreak")
    assert seen[1].headers["banyan-reason"] == "line?break"


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (401, AdminUnauthorized, "GATEWAY_ADMIN_TOKEN"),
        (412, VersionConflict, "version 9, not 7"),
        (422, AdminRefused, "too many"),
        (500, AdminRefused, "500"),
    ],
)
def test_errors_say_what_to_do(code: int, error: type[Exception], words: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(code, json={"detail": "too many", "version": 9})

    with pytest.raises(error, match=words):
        client(answer).put_table(table(), 7, "ann", "because")


def test_an_unreachable_gateway_is_named() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(AdminUnreachable, match="http://gateway does not answer"):
        client(answer).table()


def test_the_stored_table_survives_and_a_broken_one_falls_back_to_the_first(tmp_path: Path) -> None:
    kept, first = tmp_path / "state" / "table.json", tmp_path / "first.json"
    with pytest.raises(SettingsRefused, match="set GATEWAY_TABLE"):
        stored.load(kept, None)
    first.write_bytes(encode_table(table()))
    assert stored.load(kept, first) == table()
    stored.save(kept, table(wave(phase="canary")))
    assert stored.load(kept, first) == table(wave(phase="canary"))
    kept.write_bytes(b"{half")
    assert stored.load(kept, first) == table()
    with pytest.raises(SettingsRefused, match="unusable"):
        stored.load(kept, None)
    assert [path.name for path in kept.parent.iterdir()] == ["table.json"], "no temporary file is left"


def test_a_table_that_is_on_its_way_to_the_disk_is_found_by_who_starts_meanwhile(tmp_path: Path) -> None:
    kept = tmp_path / "table.json"
    newer = msgspec.structs.replace(table(wave(phase="canary")), version=8)
    stored.announce(kept, stored.prepare(kept, newer))
    with pytest.raises(SettingsRefused):
        stored.load(kept, None)  # whoever removed the stored table wants none
    stored.save(kept, table())
    stored.announce(kept, stored.prepare(kept, newer))
    assert stored.load(kept, None) == newer
    (tmp_path / "table.next").write_bytes(b"")  # what a machine that lost power may find
    assert stored.load(kept, None) == table()
    stored.announce(kept, stored.prepare(kept, newer))
    stored.save(kept, newer)
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


def test_the_audit_keeps_what_differed(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    assert audit.newest(5) == []
    audit.add("ann", "go", table(), msgspec.structs.replace(table(wave(phase="canary")), version=8))
    audit.add("bob", "nothing", table(), table())
    first, second = audit.newest(5)
    assert (first["actor"], first["reason"]) == ("ann", "go")
    assert first["before"]["domains"]["library"]["waves"][0]["phase"] == "legacy"
    assert first["after"]["domains"]["library"]["waves"][0]["phase"] == "canary"
    assert second["after"] == {"version": 7}


def snapshot(pid: int, requests: int, failures: int = 0, breaker: str = "closed") -> dict[str, Any]:
    meter = Meter()
    cell = meter.cell("library", "service", "books.list")
    for _ in range(requests):
        cell.observe(200, 0.01)
    for _ in range(failures):
        cell.observe(502, 0.5)
    meter.count("library", "held")
    mark = marks_of(table().domains["library"])["books.list"]
    counts = {"compared": 3, "mismatched": 1, "twice": 1, "unsettled": 0, "fields": [["$.title", "type", 1, 0]]}
    compared = {"domain": "library", "operation": "books.list", "mark": mark, **counts}
    stale = {**compared, "mark": "other rules"}
    return meter.snapshot() | {
        "pid": pid,
        "shadow": {"operations": [compared, stale]},
        "breakers": [{"domain": "library", "side": "service", "class": "read", "state": breaker}],
        "doors": [{"domain": "library", "side": "service", "in_flight": 3, "waiting": 2}],
        "pools": {"lending": {"servers": 2, "healthy": 2, "ejected": 1, "ejections": 4, "limit": 40.0}},
        "health": {"lending": breaker == "closed", "legacy": True},
        "version": 7, "connections": 1, "active": 0, "held_now": 0,
    }  # fmt: skip


def test_counters_grow_over_workers_and_their_restarts() -> None:
    figures = Figures()
    figures.take(0.0, [snapshot(1, 10), snapshot(2, 5)])
    figures.take(2.0, [snapshot(1, 20), None])
    assert figures.totals().side("library", "service").count == 25
    figures.take(4.0, [snapshot(3, 1, 4, "open"), snapshot(2, 5)])
    told = status(table(), figures, 2)["domains"]["library"]
    assert told["requests"]["service"]["total"] == 20 + 5 + 1 + 4
    assert told["requests"]["service"]["per_s"] == pytest.approx(15 / 4, abs=0.01)
    assert told["requests"]["service"]["errors_per_s"] == 1
    assert told["held"] == 3
    shadow = told["shadow"]
    assert (shadow["compared"], shadow["mismatched"], shadow["regressed"]) == (9, 3, 1)
    (field,) = shadow["regressions"]
    assert (field["operation"], field["field"], field["raw"], field["noise"]) == ("books.list", "$.title", 3, 0)
    assert told["breakers"] == {"legacy": "closed", "service": "open"}
    assert told["health"] == {"legacy": True, "service": False}
    assert told["crowd"]["service"] == {"in_flight": 6, "waiting": 4, "limit": 80.0, "servers": [1, 2]}
    assert told["crowd"]["legacy"] == {"in_flight": 0, "waiting": 0, "limit": None, "servers": [0, 0]}


def test_percentiles_are_interpolated_in_their_bucket() -> None:
    meter = Meter()
    cell = meter.cell("d", "legacy", "o")
    for _ in range(99):
        cell.observe(200, 0.010)
    cell.observe(200, 2.0)
    median, tail = percentile_ms(cell.histogram, 0.5), percentile_ms(cell.histogram, 0.995)
    assert median is not None
    assert tail is not None
    assert 6.3 <= median <= 10
    assert 1500 <= tail <= 2600
    assert percentile_ms([0] * len(cell.histogram), 0.5) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"commit_at":"2026-01-01T00:00:00+00:00"}', 1767225600.0),
        (b'{"commit_at":1767225600.5}', 1767225600.5),
        (b'{"commit_at":"2030-01-01T00:00:00Z"}', None),
        (b'{"commit_at":null}', None),
        (b"{}", None),
        (b"nonsense", None),
    ],
)
def test_watermarks_of_any_shape_are_read_or_left_out(value: bytes, expected: float | None) -> None:
    assert commit_time(value, now=1767225700.0) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"GATEWAY_ADMIN_TOKEN": "short"}, "GATEWAY_ADMIN_TOKEN"),
        ({"GATEWAY_LISTEN": "8000"}, "GATEWAY_LISTEN must be host:port"),
        ({"GATEWAY_LISTEN": "a:99999"}, "GATEWAY_LISTEN"),
        ({"GATEWAY_WORKERS": "0"}, "GATEWAY_WORKERS must be within 1..64"),
        ({"GATEWAY_NODES": "0"}, "GATEWAY_NODES must be within 1..1000"),
        ({"GATEWAY_CLOCK_SKEW": "-1"}, "GATEWAY_CLOCK_SKEW must be within 0..10"),
        ({"GATEWAY_WORKERS": "many"}, "GATEWAY_WORKERS must be a number"),
    ],
)
def test_bad_settings_are_named(given: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsRefused, match=words):
        from_environment({"GATEWAY_ADMIN_TOKEN": "x" * 16} | given)


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    found = from_environment({"GATEWAY_ADMIN_TOKEN": "x" * 16, "GATEWAY_LISTEN": "[::1]:80", "GATEWAY_WORKERS": "3"})
    assert (found.listen, found.workers) == (Address("::1", 80), 3)
    deep = Settings(state_dir=tmp_path / ("d" * 120))
    assert len(str(deep.socket(0))) <= LONGEST_SOCKET_PATH
