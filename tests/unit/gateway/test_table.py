"""A bad route table is refused whole, with every reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.control.change import DomainChange
from gateway.control.rules import ambiguous
from gateway.control.table import Operation, RouteTable, Upstream, decode_table, encode_table
from gateway.errors import TableRefused
from tests.unit.gateway.tables import OPERATIONS, table, wave


def reasons(found: RouteTable) -> str:
    return "; ".join(found.problems())


def test_a_table_survives_the_way_through_json() -> None:
    assert decode_table(encode_table(table())) == table()


@pytest.mark.parametrize(
    ("waves", "reason"),
    [
        ([wave(0, 0, 500), wave(1, 400, 1024)], "waves 0 and 1 overlap"),
        ([wave(0, 0, 500), wave(1, 600, 1024)], "buckets 500..600 belong to none"),
        ([wave(0, 10, 1024)], "they begin at bucket 10"),
        ([wave(0, 0, 1000)], "they end at bucket 1000"),
        ([wave(0, 0, 512), wave(0, 512, 1024)], "names a wave twice"),
        ([wave(canary_percent=101)], "canary_percent 101 is not within 0..100"),
        ([wave(canary_percent=-1)], "canary_percent -1 is not within 0..100"),
        ([wave(phase="retired", owner="legacy")], "a retired wave is owned by the service"),
        ([wave(epoch=-1)], "epoch -1 is negative"),
    ],
)
def test_bad_waves(waves: list, reason: str) -> None:  # type: ignore[type-arg]
    assert reason in reasons(table(*waves))


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (Operation("books.list", "GET", "/other", "read"), "the id is used twice"),
        (Operation("x", "GET", "/books/{other}", "read"), "overlap"),
        (Operation("x", "GET", "/{any}/new", "read"), "overlap"),
        (Operation("x", "BREW", "/tea", "read"), "unknown method 'BREW'"),
        (Operation("x", "POST", "/tea", "read"), "a read cannot be a POST"),
        (Operation("x", "GET", "tea", "read"), "does not begin with /"),
        (Operation("x", "GET", "/tea/{id}-{n}", "read"), "neither literal nor {parameter}"),
        (Operation("x", "GET", "/tea/{id}/{id}", "read"), "names a parameter twice"),
        (Operation("x", "GET", "/tea/{id}", "read", ["path:n"]), "names no parameter"),
        (Operation("x", "GET", "/tea", "read", ["body:n"]), "is not path:, query:, header:, cookie: or jwt:"),
        (Operation("x", "PUT", "/tea", "write", try_timeout=1), "neither a read nor declared idempotent"),
        (Operation("x", "DELETE", "/tea", "write", try_timeout=1), "neither a read nor declared idempotent"),
    ],
)
def test_bad_operations(operation: Operation, reason: str) -> None:
    assert reason in reasons(table(operations=[*OPERATIONS, operation]))


@pytest.mark.parametrize("url", ["ftp://a:1", "http://", "a:1", "http://a:1/path", "http://u:p@a:1", "http://a:99999"])
def test_bad_urls(url: str) -> None:
    bad = msgspec.structs.replace(table(), upstreams={**table().upstreams, "lending": Upstream([url])})
    assert "url must be http://host:port" in reasons(bad)


def test_all_that_is_wrong_is_told_at_once() -> None:
    bad = msgspec.structs.replace(table(wave(0, 0, 5, canary_percent=200)), upstreams={})
    with pytest.raises(TableRefused) as caught:
        bad.validated()
    assert len(caught.value.reasons) >= 4
    assert "upstream 'legacy' is missing" in str(caught.value)
    assert "unknown upstream 'lending'" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("version", "x"), "Expected `int`"),
        (("extra", 1), "unknown field `extra`"),
        (("domains", {"library": {"service": "lending", "waves": [], "phase": "legacy"}}), "unknown field `phase`"),
    ],
)
def test_json_of_another_shape_is_refused(change: tuple, reason: str) -> None:  # type: ignore[type-arg]
    document = msgspec.to_builtins(table()) | dict([change])
    with pytest.raises(TableRefused, match=reason):
        decode_table(msgspec.json.encode(document))


def test_an_unknown_phase_is_refused() -> None:
    text = encode_table(table()).replace(b'"phase": "legacy"', b'"phase": "shadows"')
    with pytest.raises(TableRefused, match="Invalid enum value 'shadows'"):
        decode_table(text)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("/x/{id}", "/x/new", False),
        ("/x/{id}", "/x/{name}", True),
        ("/{a}/y", "/x/{b}", True),
        ("/x/{id}", "/x/{id}/y", False),
        ("/x", "/x", True),
        ("/x/{a}/z", "/x/y/{b}", True),
        ("/x/{a}/{b}", "/x/y/{b}", False),
    ],
)
def test_templates_that_no_rule_could_tell_apart(a: str, b: str, expected: bool) -> None:
    assert ambiguous(a, b) is ambiguous(b, a) is expected


def test_a_change_touches_the_named_wave_only() -> None:
    before = table(wave(0, 0, 512), wave(1, 512, 1024))
    after = DomainChange("why", wave=1, phase="canary", canary_percent=5).apply(before, "library")
    assert [w.phase for w in after.domains["library"].waves] == ["legacy", "canary"]
    everywhere = DomainChange("why", hold=True).apply(before, "library")
    assert [w.hold for w in everywhere.domains["library"].waves] == [True, True]


@pytest.mark.parametrize("change", [DomainChange("why"), DomainChange("why", wave=9, hold=True)])
def test_a_change_of_nothing_is_refused(change: DomainChange) -> None:
    with pytest.raises(TableRefused):
        change.apply(table(), "library")


@pytest.mark.parametrize("idempotent", [True, False, "key"])
def test_what_makes_an_operation_idempotent_survives_the_way_through_json(idempotent: Any) -> None:
    before = table(operations=[Operation("x", "POST", "/tea", "write", idempotent=idempotent)])
    assert decode_table(encode_table(before)) == before


def test_idempotent_for_a_reason_unknown_is_refused() -> None:
    found = encode_table(table(operations=[Operation("x", "POST", "/tea", "write", idempotent="key")]))
    with pytest.raises(TableRefused, match="idempotent"):
        decode_table(found.replace(b'"key"', b'"hope"'))
