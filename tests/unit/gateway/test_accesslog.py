"""The access log: whole JSON lines, in order, and never a wait for whoever reads them."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import accesslog
from gateway.accesslog import AccessLog


def lines(written: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(written).decode().splitlines()]


def add(
    log: AccessLog, path: bytes = b"/items", status: int = 200, request_id: bytes = b"id-1", trouble: Any = None
) -> None:
    """Of an exchange that is over, as far as the log looks at it."""
    request = SimpleNamespace(method=b"GET", path=path, given_id=request_id, head=b"", low=b"")
    decision = SimpleNamespace(banner=b"", domain="shop", side="legacy", reason="phase")
    exchange = SimpleNamespace(
        request=request, decision=decision, route=SimpleNamespace(id="items.list"), status=status,
        endpoint=SimpleNamespace(authority=b"a:1"), attempts=1, body=SimpleNamespace(size=3), sent=99, key=None,
        started=10.0, answered=10.002, waited=0.001, trouble=trouble, head=b"", request_id=request_id, trace=None,
    )  # fmt: skip
    log.add(cast("Any", exchange), 0.01234)


def test_a_line_says_what_was_asked_and_decided() -> None:
    written: list[bytes] = []
    log = AccessLog(1.0, written.append)
    add(log)
    log.close()
    (line,) = lines(written)
    assert line.pop("at") > 1.7e9
    assert line == {
        "method": "GET", "path": "/items", "status": 200, "ms": 12.34, "domain": "shop", "side": "legacy",
        "reason": "phase", "request_id": "id-1", "operation": "items.list", "upstream": "a:1", "attempts": 1,
        "bytes_in": 3, "bytes_out": 99, "waited_ms": 1.0, "upstream_ms": 1.0, "bucket": None, "trace_id": "",
    }  # fmt: skip


PRINTABLE = st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F))


@given(path=PRINTABLE, request_id=PRINTABLE)
def test_whatever_a_client_sends_stays_inside_its_string(path: bytes, request_id: bytes) -> None:
    written: list[bytes] = []
    log = AccessLog(1.0, written.append)
    add(log, path, request_id=request_id)
    log.close()
    line = json.loads(b"".join(written).decode())
    assert (line["path"], line["request_id"]) == (path.decode("latin-1"), request_id.decode("latin-1"))


def test_failures_are_kept_where_the_rest_is_left_out() -> None:
    written: list[bytes] = []
    log = AccessLog(0.0, written.append)
    for status in (200, 404, 500, 503):
        add(log, status=status)
    log.close()
    assert [line["status"] for line in lines(written)] == [500, 503]


def test_a_reader_that_is_stuck_costs_lines_and_not_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog, "MOST_WAITING", 10)
    written: list[bytes] = []
    stuck, begun = threading.Event(), threading.Event()

    def write(data: bytes) -> None:
        begun.set()
        stuck.wait(10)
        written.append(data)

    log = AccessLog(1.0, write)
    add(log)
    log.flush()
    begun.wait(10)
    for _ in range(25):
        add(log)
        log.flush()  # returns at once
    stuck.set()
    log.close()
    found = lines(written)
    assert len([line for line in found if "status" in line]) == 11
    assert found[-1] == {"at": found[-1]["at"], "event": "access log lines dropped", "count": 15}
