"""Where a request goes, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.table import Condition, Operation
from gateway.errors import SettingsRefused
from gateway.http1.head import parse_request
from gateway.routing.bucket import bucket
from gateway.routing.decision import decide
from gateway.routing.explain import explain
from gateway.routing.router import Router
from tests.unit.gateway.tables import table, wave


def ask(router: Router, line: str, *headers: str, **state: Any) -> tuple[str, str, bool]:
    """(side, reason, hold) of a request."""
    head = "\r\n".join([f"{line} HTTP/1.1", "Host: a", *headers]) + "\r\n\r\n"
    request = parse_request(head.encode())
    route, values = router.match(request.method, request.path)
    slot = route.slot_for(route.key_of(request, values))
    is_read = request.method == b"GET" if route.is_read is None else route.is_read
    found = decide(slot, is_read=is_read, **state)
    return found.side, found.reason, found.hold


def test_the_bucket_is_the_contracts() -> None:
    # docs/architecture.md §3: the first 8 digits that md5sum prints, modulo 1024
    assert [bucket(key) for key in ("", "a", "4711", "é")] == [217, 441, 180, 407]


CASES = [
    # wave, request, headers, state, (side, reason, hold)
    ({"phase": "legacy"}, "GET /books", (), {}, ("legacy", "phase", False)),
    ({"phase": "shadow"}, "GET /books", (), {}, ("legacy", "phase", False)),
    ({"phase": "canary", "canary_percent": 100}, "GET /books", ("X-Reader: 1",), {}, ("service", "canary", False)),
    ({"phase": "canary", "canary_percent": 0}, "GET /books", ("X-Reader: 1",), {}, ("legacy", "canary", False)),
    ({"phase": "canary", "canary_percent": 100}, "GET /books", (), {}, ("legacy", "canary", False)),
    ({"phase": "canary", "canary_percent": 100}, "GET /books", ("Cookie: card=9",), {}, ("service", "canary", False)),
    ({"phase": "service", "owner": "service"}, "GET /books", (), {}, ("service", "phase", False)),
    ({"phase": "retired", "owner": "service"}, "GET /books", (), {}, ("service", "phase", False)),
    ({"phase": "canary", "canary_percent": 100}, "POST /books/1/loans", (), {}, ("legacy", "owner", False)),
    ({"phase": "service", "owner": "service"}, "POST /books/1/loans", (), {}, ("service", "owner", False)),
    ({"owner": "moving"}, "POST /books/1/loans", (), {}, ("legacy", "owner", True)),
    ({"hold": True}, "POST /books/1/loans", (), {}, ("legacy", "owner", True)),
    ({"hold": True}, "GET /books", (), {}, ("legacy", "phase", False)),
    ({}, "GET /v2/books", (), {}, ("service", "native", False)),
    ({"hold": True}, "POST /v2/loans", (), {}, ("service", "native", True)),
    ({}, "GET /elsewhere", (), {}, ("legacy", "default", False)),
    ({"phase": "service", "owner": "service"}, "DELETE /books", (), {}, ("legacy", "default", False)),
    ({"phase": "canary", "canary_percent": 100}, "GET /books/1", (), {"pinned": True}, ("legacy", "pin", False)),
    ({"phase": "service", "owner": "moving"}, "GET /books/1", (), {"pinned": True}, ("service", "phase", False)),
    ({"phase": "canary", "owner": "moving", "canary_percent": 100}, "GET /books/1", (), {"pinned": True},
     ("legacy", "pin", False)),
    ({"phase": "legacy"}, "GET /books/1", (), {"pinned": True}, ("legacy", "phase", False)),
    (
        {"phase": "service", "owner": "service"}, "GET /books", (), {"service_usable": False},
        ("legacy", "breaker-open", False),
    ),
    (
        {"phase": "retired", "owner": "service"}, "GET /books", (), {"service_usable": False},
        ("service", "phase", False),
    ),
    ({}, "GET /v2/books", (), {"service_usable": False}, ("service", "native", False)),
]  # fmt: skip


@pytest.mark.parametrize(("state", "line", "headers", "facts", "expected"), CASES)
def test_decisions(state: Any, line: str, headers: Any, facts: Any, expected: Any) -> None:
    assert ask(Router(table(wave(**state))), line, *headers, **facts) == expected


@given(st.text(max_size=20), st.integers(0, 100), st.integers(0, 100))
def test_a_canary_that_grows_keeps_everybody_it_had(key: str, one: int, other: int) -> None:
    small, large = sorted((one, other))
    slots = [
        Router(table(wave(phase="canary", canary_percent=percent))).match(b"GET", b"/books")[0].slot_for(key)
        for percent in (small, large)
    ]
    if slots[0].read.side == "service":
        assert slots[1].read.side == "service"


def test_the_share_of_a_canary_is_what_was_asked_for() -> None:
    route, _ = Router(table(wave(phase="canary", canary_percent=10))).match(b"GET", b"/books")
    assert sum(slot.read.side == "service" for slot in route.slots) == 103  # bucket < 102.4


def test_each_wave_is_decided_by_its_own_phase() -> None:
    router = Router(table(wave(0, 0, 512, phase="service", owner="service"), wave(1, 512, 1024)))
    for key in map(str, range(50)):
        expected = "service" if bucket(key) < 512 else "legacy"
        assert ask(router, f"GET /books/{key}")[0] == expected
        assert ask(router, f"POST /books/1/loans?reader={key}")[0] == expected


def test_without_a_key_the_service_reads_only_when_every_wave_is_there() -> None:
    arrived = {"phase": "service", "owner": "service"}
    assert ask(Router(table(wave(0, 0, 5, **arrived), wave(1, 5, 1024))), "GET /books")[0] == "legacy"
    assert ask(Router(table(wave(0, 0, 5, **arrived), wave(1, 5, 1024, **arrived))), "GET /books")[0] == "service"


def test_without_a_key_a_write_is_held_while_any_wave_is() -> None:
    router = Router(table(wave(0, 0, 5), wave(1, 5, 1024, hold=True)))
    assert ask(router, "POST /books/1/loans") == ("legacy", "owner", True)


@pytest.mark.parametrize(("second", "upstream"), [("shadow", "lending"), ("legacy", None)])
def test_without_a_key_a_write_is_rehearsed_while_every_wave_does_it(second: str, upstream: str | None) -> None:
    waves = wave(0, 0, 5, phase="shadow"), wave(1, 5, 1024, phase=second)
    route, _ = Router(table(*waves, shadow_writes=100)).match(b"POST", b"/books/1/loans")
    assert route.slot_for(None).write.shadow == upstream


@pytest.mark.parametrize(
    ("method", "path", "operation", "values"),
    [
        (b"GET", b"/books", "books.list", []),
        (b"HEAD", b"/books", "books.list", []),
        (b"GET", b"/books/new", "books.new", []),
        (b"GET", b"/books/n%65w", "books.new", []),
        (b"GET", b"/books/12", "books.get", [b"12"]),
        (b"GET", b"/books/a%2Fb", "books.get", [b"a/b"]),
        (b"POST", b"/books/new/loans", "books.lend", [b"new"]),
        (b"GET", b"/books/", "default", []),
        (b"GET", b"/books/12/", "default", []),
        (b"GET", b"/BOOKS", "default", []),
        (b"PUT", b"/books", "default", []),
        (b"OPTIONS", b"*", "default", []),
    ],
)
def test_matching(method: bytes, path: bytes, operation: str, values: list[bytes]) -> None:
    route, found = Router(table()).match(method, path)
    assert (route.id, list(found)) == (operation, values)


def test_a_write_is_also_known_by_its_path_though_another_key_comes_first() -> None:
    put = Operation("seats.put", "PUT", "/seats/{id}", "write", ["header:x-reader", "path:id"])
    get = Operation("seats.get", "GET", "/chair/{number}", "read", ["path:number"])
    router = Router(table(operations=[put, get]))

    def identities(line: str, *headers: str) -> set[bytes]:
        request = parse_request("\r\n".join([f"{line} HTTP/1.1", "Host: a", *headers, "\r\n"]).encode())
        route, values = router.match(request.method, request.path)
        return set(route.identities_of(request, values))

    assert identities("PUT /seats/7", "X-Reader: me") == {b"me", b"7"}
    assert identities("PUT /seats/7") == identities("GET /chair/7") == {b"7"}
    assert identities("GET /chair/7", "X-Reader: me") == {b"me", b"7"}


def test_explain_says_side_and_reason() -> None:
    found = explain(table(wave(phase="canary", canary_percent=100)), "GET", "/books", ["X-Reader: 42"], None)
    lines = list(found.lines())
    assert "side: service" in lines
    assert "reason: canary" in lines
    assert "key: '42', bucket 744" in lines
    assert "canary: this bucket is in it" in lines
    assert "or: legacy (fallback) when the service fails before its answer begins" in lines
    assert "or: legacy (pin) after a write of this client, until the sync has passed it" in lines


@pytest.mark.parametrize(
    ("method", "path", "near"),
    [
        ("PUT", "/books", ["books.list of library (GET /books): another method, GET"]),
        ("GET", "/books/", ["books.list of library (GET /books): the path ends with /"]),
        ("GET", "/Books", ["books.list of library (GET /books): upper and lower case differ"]),
        ("GET", "/book/7", ["books.get of library (GET /books/{id}): 'book' where it has 'books'"]),
        ("GET", "/elsewhere/at/all", []),
    ],
)
def test_explain_lists_the_operations_that_a_request_just_misses(method: str, path: str, near: list[str]) -> None:
    found = explain(table(), method, path, [], None)
    assert (found.side, found.reason, found.operation) == ("legacy", "default", "default")
    assert found.near_misses[: len(near)] == near
    assert near or not found.near_misses


def test_explain_says_which_condition_is_not_met() -> None:
    beta = Operation("beta", "GET", "/tea", "read", when=[Condition("header:x-beta", exact="1")])
    found = explain(table(operations=[beta]), "GET", "/tea", [], None)
    assert found.near_misses == ["beta of library (GET /tea): the request does not meet header:x-beta = '1'"]
    assert explain(table(operations=[beta]), "GET", "/tea", ["X-Beta: 1"], None).operation == "beta"


def test_explain_says_who_gets_a_write_when_the_table_is_old() -> None:
    found = explain(table(wave(hold=True)), "POST", "/books/1/loans", [], "7")
    assert (found.side, found.reason, found.hold) == ("legacy", "owner", True)
    assert [(a.side, a.reason) for a in found.alternatives] == [("service", "rerouted")]


def test_what_explain_says_is_what_the_gateway_does() -> None:
    waves = [wave(0, 0, 300, phase="service", owner="service"), wave(1, 300, 1024, phase="canary", canary_percent=30)]
    router = Router(table(*waves))
    for key in map(str, range(200)):
        found = explain(table(*waves), "GET", f"/books/{key}", [], None)
        assert (found.side, found.reason) == ask(router, f"GET /books/{key}")[:2]


def test_explain_refuses_what_the_gateway_would() -> None:
    with pytest.raises(SettingsRefused, match="400"):
        list(explain(table(), "GET", "/a/../b", [], None))
