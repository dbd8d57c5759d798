"""What differs between two answers, field by field, and what the rules of the plan let pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.control.comparison import Comparison, Tolerance, Unordered, both
from gateway.shadow.compare import MOST_DIFFERENCES, compare, compare_in_slices
from gateway.shadow.rules import PLAIN, Rules
from tests.unit.gateway.answers import answer


def told(legacy: str, service: str, **rules: Any) -> list[str]:
    found = compare(answer(legacy), answer(service), Rules(Comparison(**rules)))
    return sorted(f"{one.field} {one.kind}" for one in found)


@pytest.mark.parametrize(
    ("legacy", "service", "differences"),
    [
        ('{"a":1,"b":2}', '{"b":2, "a":1}', []),
        ('{"a":1}', '{"a":1.0}', []),
        ('{"a":1}', '{"a":2}', ["$.a primitive"]),
        ('{"a":1}', '{"a":"1"}', ["$.a type"]),
        ('{"a":1}', '{"a":true}', ["$.a type"]),
        ('{"a":null}', '{"a":{}}', ["$.a type"]),
        ('{"a":1}', "{}", ["$.a missing"]),
        ("{}", '{"a":null}', ["$.a extra"]),
        ('{"a":[1,2]}', '{"a":[2,1]}', ["$.a order"]),
        ('{"a":[1]}', '{"a":[1,2]}', ["$.a length"]),
        ('{"a":[1,2]}', '{"a":[1,3]}', ["$.a[*] primitive"]),
        ('{"a":[true,1]}', '{"a":[1,true]}', ["$.a order"]),
        ('[{"x":1,"y":1},{"x":1,"y":1}]', '[{"x":2,"y":1},{"x":1}]', ["$[*].x primitive", "$[*].y missing"]),
        ('{"a":1,"b":1,"c":{"d":1}}', '{"a":2,"b":1,"c":{"d":2}}', ["$.a primitive", "$.c.d primitive"]),
        ("plain", "plain", []),
        ("plain", "other", ["body primitive"]),
        ('{"a":1}', "not json", ["body primitive"]),
    ],
)
def test_every_difference_is_told_with_its_kind(legacy: str, service: str, differences: list[str]) -> None:
    assert told(legacy, service) == differences


def test_status_content_type_and_named_headers_are_compared() -> None:
    one = answer("{}", 200, "application/json; charset=utf-8", ETag='"1"', Location="/a")
    same = answer("{}", 200, "Application/JSON;charset=UTF-8", ETag='"2"', Location="/a")
    assert compare(one, same) == []
    other = answer("{}", 404, "text/html", ETag='"2"')
    found = compare(one, other, Rules(Comparison(headers=("ETag", "Location"))))
    assert [(d.field, d.kind) for d in found] == [
        ("status", "primitive"),
        ("header.content-type", "primitive"),
        ("header.etag", "primitive"),
        ("header.location", "missing"),
    ]
    assert compare(answer(b"", 204, ""), answer(b"", 204, "text/plain")) == [], "nothing has no type"


@pytest.mark.parametrize(
    ("path", "differences"),
    [
        ("$.items[*].at", ["$.id primitive"]),
        ("$.items", ["$.id primitive"]),
        ("$.**.at", ["$.id primitive"]),
        ("$.*[*].at", ["$.id primitive"]),
        ("$.id", ["$.items[*].at primitive"]),
        ("$.item", ["$.id primitive", "$.items[*].at primitive"]),
        ("$.*", []),
    ],
)
def test_ignored_paths_hide_what_is_at_and_beneath_them(path: str, differences: list[str]) -> None:
    assert told('{"id":1,"items":[{"at":1}]}', '{"id":2,"items":[{"at":2}]}', ignore=(path,)) == differences


def test_an_ignored_field_may_also_be_missing_or_extra() -> None:
    assert told('{"a":1}', '{"b":1}', ignore=("$.a", "$.b")) == []


@pytest.mark.parametrize(
    ("legacy", "service", "near"),
    [
        ("1.00", "1.01", True), ("1.00", "1.02", False), ("100", "100.9", True), ("-1", "1", False),
        ("0", "0.005", True),
        ('"1.00"', '"1.01"', True), ('"1.00"', '"1.5"', False), ('"x"', '"y"', False), ("true", "1", False),
        ('"1e999999999"', "1", False), ('"NaN"', '"NaN "', False),
    ],
)  # fmt: skip
def test_numbers_may_differ_by_their_tolerance(legacy: str, service: str, near: bool) -> None:
    rule = Tolerance("$.price", absolute=0.01, relative=1)
    assert (told(f'{{"price":{legacy}}}', f'{{"price":{service}}}', tolerances=(rule,)) == []) is near


def test_an_unordered_list_is_matched_by_its_key() -> None:
    rule = (Unordered("$.items", "id"),)
    one = '{"items":[{"id":1,"v":1},{"id":2,"v":2},{"id":3,"v":3}]}'
    other = '{"items":[{"id":3,"v":3},{"id":1,"v":9},{"id":4,"v":4}]}'
    assert told(one, other, unordered=rule) == ["$.items[*] extra", "$.items[*] missing", "$.items[*].v primitive"]
    assert told('{"items":[1,2,2]}', '{"items":[2,1,2]}', unordered=(Unordered("$.items"),)) == []
    assert told('{"items":[1,2,2]}', '{"items":[2,1,1]}', unordered=(Unordered("$.items"),)) == [
        "$.items[*] extra",
        "$.items[*] missing",
    ]


def test_the_rules_of_an_operation_add_to_its_domain_s() -> None:
    domain = Comparison(ignore=("$.a",), tolerances=(Tolerance("$.p", absolute=1),))
    operation = Comparison(ignore=("$.b",), tolerances=(Tolerance("$.p", absolute=5),))
    rules = Rules(both(domain, operation))
    assert compare(answer('{"a":1,"b":1,"p":1}'), answer('{"a":2,"b":2,"p":5}'), rules) == []


def test_names_from_the_outside_cannot_look_like_structure() -> None:
    assert told('{"a.b[0]":1}', '{"a.b[0]":2}') == ["$.a_b_0_ primitive"]
    long = "x" * 5000
    (found,) = compare(answer(json.dumps({long: {long: {long: {long: 1}}}})), answer(json.dumps({long: {long: 1}})))
    assert len(found.field) < 300


def test_what_is_told_of_one_pair_is_bounded_and_deep_bodies_do_no_harm() -> None:
    one, other = {str(n): n for n in range(5000)}, {str(n): -n - 1 for n in range(5000)}
    assert len(compare(answer(json.dumps(one)), answer(json.dumps(other)))) == MOST_DIFFERENCES
    deep = "[" * 50_000 + "1" + "]" * 50_000
    assert [found.field for found in compare(answer(deep), answer(deep.replace("1", "2")))] == ["body"]


async def test_a_large_comparison_lets_others_go_on() -> None:
    import asyncio

    one, other = [{"v": n, "w": 0} for n in range(4000)], [{"v": n, "w": 1} for n in range(3999)] + [{"v": 0}]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    rules = Rules(Comparison(ignore=("$[*].w",)))
    found = await compare_in_slices(answer(json.dumps(one)), answer(json.dumps(other)), rules)
    task.cancel()
    assert [one.field for one in found] == ["$[*].v"]
    assert turns > 20


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab.[]", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(values, values)
def test_a_body_equals_itself_and_differences_are_the_same_from_both_ends(one: Any, other: Any) -> None:
    left, right = answer(json.dumps({"v": one})), answer(json.dumps({"v": other}, sort_keys=True))
    assert compare(left, answer(json.dumps({"v": one}, indent=1))) == []
    there, back = compare(left, right), compare(right, left)
    turned = {"missing": "extra", "extra": "missing"}
    assert sorted((d.field, turned.get(d.kind, d.kind)) for d in there) == sorted((d.field, d.kind) for d in back)
    assert bool(there) == (_strict(one) != _strict(other))


def _strict(value: Any) -> Any:
    """Equality as JSON has it: true is not 1, 1 is 1.0."""
    if isinstance(value, dict):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_strict(inner) for inner in value]
    return (type(value), value) if isinstance(value, bool) else value


def test_plain_rules_ignore_nothing() -> None:
    assert not PLAIN.ignores("$.a")
