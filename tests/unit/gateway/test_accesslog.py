"""The access log: whole JSON lines, in order, and never a wait for whoever reads them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import accesslog
from gateway.accesslog import AccessLog


def lines(written: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(written).decode().splitlines()]


def add(log: AccessLog, path: bytes = b"/items", status: int = 200, request_id: bytes = b"id-1") -> None:
    log.add(b"GET", path, status, 0.01234, "shop", "legacy", "phase", request_id)


def test_a_line_says_what_was_asked_and_decided() -> None:
    written: list[bytes] = []
    log = AccessLog(1.0, written.append)
    add(log)
    log.close()
    (line,) = lines(written)
    assert line.pop("at") > 1.7e9
    assert line == {
        "method": "GET", "path": "/items", "status": 200, "ms": 12.34, "domain": "shop", "side": "legacy",
        "reason": "phase", "request_id": "id-1",
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
