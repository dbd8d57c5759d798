"""Operations that differ by a header or a query parameter: the narrowest wins, what has no order is refused."""

from __future__ import annotations

from itertools import combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.overlaps import ambiguous, clashes
from gateway.control.table import Condition, Operation, RouteTable, decode_table, encode_table
from gateway.errors import TableRefused
from gateway.http1.head import parse_request
from gateway.routing.conditions import all_met, exclude_each_other, includes
from gateway.routing.router import Router
from tests.unit.gateway.tables import table


def header(name: str, **given: object) -> Condition:
    return Condition(f"header:{name}", **given)  # type: ignore[arg-type]


def query(name: str, **given: object) -> Condition:
    return Condition(f"query:{name}", **given)  # type: ignore[arg-type]


def op(name: str, *when: Condition, path: str = "/books", method: str = "GET") -> Operation:
    return Operation(name, method, path, "read" if method == "GET" else "write", when=list(when))


def found(router: Router, line: str, *headers: str) -> str:
    request = parse_request("\r\n".join([f"{line} HTTP/1.1", "Host: a", *headers, "\r\n"]).encode())
    return router.match(request.method, request.path, request)[0].id


VERSIONED = [
    op("any"),
    op("v2", header("X-Version", prefix="2")),
    op("v2.draft", header("x-version", prefix="2"), query("draft", present=True)),
    op("v21", header("x-version", exact="2.1"), query("draft", present=False)),
    op("named", path="/books/{id}"),
    op("new.beta", header("x-beta", present=True), path="/books/new"),
]


@pytest.mark.parametrize(
    ("line", "headers", "expected"),
    [
        ("GET /books", (), "any"),
        ("GET /books", ("X-Version: 1",), "any"),
        ("GET /books", ("X-VERSION: 2.7",), "v2"),
        ("GET /books", ("X-Version: 2.1",), "v21"),
        ("GET /books?draft=", ("X-Version: 2.1",), "v2.draft"),
        ("GET /books?%64raft=1", ("X-Version: 2",), "v2.draft"),
        ("GET /books?draft=1", (), "any"),
        ("HEAD /books", ("X-Version: 2",), "v2"),
        ("GET /books", ("X-Version: 2.1", "X-Version: 1"), "any"),
        ("GET /books/new", ("X-Beta: 1",), "new.beta"),
        ("GET /books/new", (), "named"),
        ("GET /books/7", ("X-Beta: 1",), "named"),
    ],
)
def test_the_narrowest_operation_answers(line: str, headers: tuple[str, ...], expected: str) -> None:
    for operations in (VERSIONED, VERSIONED[::-1]):
        assert found(Router(table(operations=operations).validated()), line, *headers) == expected


def test_a_path_whose_conditions_nobody_meets_belongs_to_no_operation() -> None:
    assert found(Router(table(operations=[op("beta", header("x-beta", present=True))])), "GET /books") == "default"


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ((), (), True),
        ((header("a", present=True),), (), False),
        ((header("a", exact="1"),), (header("a", exact="2"),), False),
        ((header("a", exact="1"),), (header("A", exact="1"),), True),
        ((header("a", exact="12"),), (header("a", prefix="1"),), False),
        ((header("a", exact="1"),), (header("b", exact="1"),), True),
        ((header("a", exact="1"), header("b", exact="1")), (header("b", exact="1"),), False),
        ((header("a", present=True),), (header("a", present=False),), False),
        ((header("a", present=True),), (query("a", present=True),), True),
        ((query("a", present=True),), (query("A", present=True),), True),
        ((header("a", prefix="ab"),), (header("a", prefix="a"),), False),
        ((header("a", prefix="ab"),), (header("a", prefix="b"),), False),
    ],
)
def test_operations_without_an_order_are_refused_with_both_names(
    one: tuple[Condition, ...], other: tuple[Condition, ...], refused: bool
) -> None:
    problems = table(operations=[op("first", *one), op("second", *other)]).problems()
    assert bool(problems) is refused
    if refused:
        assert "operations first (GET /books) and second (GET /books) overlap" in problems[0]


def test_paths_that_cross_are_refused_unless_their_conditions_exclude_each_other() -> None:
    def problems(one: Condition, other: Condition) -> list[str]:
        return table(operations=[op("a", one, path="/{x}/y"), op("b", other, path="/x/{y}")]).problems()

    assert "neither path is the more specific one" in problems(header("h", exact="1"), header("h", present=True))[0]
    assert problems(header("h", exact="1"), header("h", exact="2")) == []


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (Condition("cookie:a", exact="1"), "is not header: or query:"),
        (Condition("header:a b", exact="1"), "is not header: or query:"),
        (Condition("header:", exact="1"), "is not header: or query:"),
        (Condition("header:a"), "needs one of exact, prefix and present"),
        (Condition("header:a", exact="1", prefix="1"), "needs one of exact, prefix and present"),
        (Condition("header:a", prefix=""), "a text has 1 to 200 characters"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(condition: Condition, reason: str) -> None:
    assert reason in "; ".join(table(operations=[op("x", condition)]).problems())


def test_conditions_that_exclude_each_other_in_one_operation_are_refused() -> None:
    bad = op("x", header("a", exact="1"), header("a", exact="2"))
    assert "operation x of library: no request can meet all of its conditions" in table(operations=[bad]).problems()


def test_conditions_survive_the_way_through_json_and_a_typo_in_one_is_refused() -> None:
    before = table(operations=VERSIONED)
    assert decode_table(encode_table(before)) == before
    assert b'"when"' not in encode_table(table()), "tables without conditions are as they were"
    with pytest.raises(TableRefused, match="unknown field `prefixx`"):
        decode_table(encode_table(before).replace(b'"prefix"', b'"prefixx"'))


VALUES = st.sampled_from(["", "1", "12", "2", "21"])
CONDITIONS = st.builds(
    lambda name, kind, value: Condition(
        f"header:{name}", **{kind: value != "" if kind == "present" else value or "1"}  # type: ignore[arg-type]
    ),
    st.sampled_from("ab"), st.sampled_from(["exact", "prefix", "present"]), VALUES,
)  # fmt: skip
REQUESTS = st.lists(st.tuples(st.sampled_from("ab"), VALUES), max_size=4)


@given(st.lists(CONDITIONS, min_size=1, max_size=3), st.lists(CONDITIONS, min_size=1, max_size=3), REQUESTS)
def test_what_is_said_of_two_sets_of_conditions_holds_for_every_request(
    one: list[Condition], other: list[Condition], given: list[tuple[str, str]]
) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in given)
    request = parse_request(f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    meets_one, meets_other = all_met(one)(request), all_met(other)(request)
    if includes(one, other) and meets_one:
        assert meets_other
    if exclude_each_other(one, other):
        assert not (meets_one and meets_other)


@given(st.permutations(VERSIONED), REQUESTS)
def test_the_order_in_the_table_changes_nothing(operations: list[Operation], given: list[tuple[str, str]]) -> None:
    lines = [f"X-Version: {value}" for _, value in given]
    lines += [f"X-Beta: {value}" for name, value in given if name == "b"]
    shuffled: RouteTable = msgspec.structs.replace(table(operations=list(operations)))
    for path in ("/books", "/books/new", "/books?draft=1"):
        expected = found(Router(table(operations=VERSIONED)), f"GET {path}", *lines)
        assert found(Router(shuffled), f"GET {path}", *lines) == expected


SEGMENT = st.sampled_from(["a", "b", "{x}", "{y}"])
PATHS = st.lists(SEGMENT, min_size=1, max_size=3, unique_by=lambda s: s if s.startswith("{") else object()).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.lists(PATHS, max_size=12))
def test_no_pair_that_overlaps_is_overlooked(paths: list[str]) -> None:
    operations = [op(f"o{number}", path=path) for number, path in enumerate(paths)]
    found = {(one.id, other.id) for one, other, _ in clashes(operations, lambda operation: operation)}
    expected = {(one.id, other.id) for one, other in combinations(operations, 2) if ambiguous(one.path, other.path)}
    assert found == expected
