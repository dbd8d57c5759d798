"""The rule for noise, the counts by field, and what a sample shows."""

from __future__ import annotations

import json

import msgspec
import pytest

from gateway.control.compared import Compared
from gateway.control.comparison import Comparison, Thresholds, Tolerance, Unordered, problems_of_comparison
from gateway.control.verdict import judge
from gateway.errors import TableRefused
from gateway.shadow.compare import Difference, compare
from gateway.shadow.policy import marks_of, policies_of
from gateway.shadow.rules import Rules
from gateway.shadow.samples import (
    HIDDEN,
    KEPT,
    KEPT_BYTES,
    OF_ONE_FIELD,
    PAUSE,
    Samples,
    shown_answer,
    shown_fields,
    shown_target,
)
from gateway.shadow.tally import KNOWN_AFTER, MOST_FIELDS, OTHER, Tally
from tests.unit.gateway.answers import answer
from tests.unit.gateway.tables import table


@pytest.mark.parametrize(
    ("raw", "compared", "noise", "twice", "verdict"),
    [
        (10, 1000, 0, 100, "regression"),
        (1, 1000, 0, 1000, "regression"),  # 0.1 %
        (3, 10_000, 0, 1000, "rare"),  # 0.03 % is not more than 0.03 %
        (4, 10_000, 0, 1000, "regression"),
        (1000, 1000, 100, 100, "noise"),
        (500, 1000, 48, 100, "noise"),
        (1000, 1000, 60, 100, "regression"),  # twice as often as legacy with itself: relative 25 %
        (1000, 1000, 67, 100, "noise"),  # relative 19.8 %
        (0, 1000, 5, 100, "noise"),
        (0, 0, 0, 0, "rare"),
        (5, 10, 0, 0, "regression"),  # never asked twice: nothing speaks for noise
    ],
)
def test_a_field_regresses_when_the_sides_differ_clearly_more_than_legacy_with_itself(
    raw: int, compared: int, noise: int, twice: int, verdict: str
) -> None:
    assert judge(raw, compared, noise, twice, Thresholds()) == verdict


def test_the_thresholds_are_the_plan_s() -> None:
    assert judge(10, 1000, 0, 100, Thresholds(absolute=1.0)) == "rare"
    assert judge(1000, 1000, 60, 100, Thresholds(relative=30)) == "noise"


def difference(field: str) -> Difference:
    return Difference(field, "primitive", 1, 2)


def test_fields_are_counted_once_per_answer_and_the_workers_are_added_up() -> None:
    tally = Tally()
    tally.add([difference("$.a[*]"), difference("$.a[*]"), difference("$.b")])
    tally.add([])
    tally.add_noise([difference("$.b")])
    total = Compared()
    for _ in range(2):
        total.add(tally.snapshot())
    assert (total.compared, total.twice) == (4, 2)
    assert total.fields == {"$.a[*]": ["primitive", 2, 0], "$.b": ["primitive", 2, 2]}
    again = Compared()
    again.add(total.as_snapshot())
    assert again == total


def test_a_body_with_any_number_of_names_fills_no_memory() -> None:
    tally = Tally()
    for number in range(10 * MOST_FIELDS):
        tally.add([difference(f"$.prices.{number}")])
    assert len(tally.fields) == MOST_FIELDS + 1
    assert tally.fields[OTHER] == [9 * MOST_FIELDS, 0]


def test_noise_is_known_only_after_legacy_was_asked_twice_often_enough() -> None:
    tally = Tally()
    for turn in range(KNOWN_AFTER):
        assert not tally.is_noise("$.at", Thresholds()), turn
        tally.add([difference("$.at")])
        tally.add_noise([difference("$.at")])
    assert tally.is_noise("$.at", Thresholds())
    assert not tally.is_noise("$.price", Thresholds())
    for _ in range(2 * KNOWN_AFTER):
        tally.add([difference("$.at")])
        tally.add_noise([])
    assert not tally.is_noise("$.at", Thresholds()), "data that changes now and then is waited for"


def sample(field: str, at: float = 0.0, size: int = 10) -> dict[str, object]:
    return {"at": at, "domain": "d", "operation": "o", "fields": [{"field": field}], "body": "x" * size}


def test_samples_are_bounded_in_number_and_bytes_and_one_field_does_not_push_out_the_others() -> None:
    kept = Samples()
    kept.add(sample("$.rare"))
    for at in range(100):
        kept.add(sample("$.often", at))
    fields = [one["fields"][0]["field"] for one in kept]
    assert fields == ["$.rare"] + ["$.often"] * OF_ONE_FIELD
    assert not kept.wants(99 + PAUSE, "d", "o", "$.often")
    assert kept.wants(100 + PAUSE, "d", "o", "$.often")
    assert kept.wants(0, "d", "o", "$.rare")
    for number in range(2 * KEPT):
        kept.add(sample(f"$.{number}"))
    assert len(kept) == KEPT
    for number in range(10):
        kept.add(sample(f"$.big{number}", size=KEPT_BYTES // 4))
    assert len(kept) == 3


def test_a_sample_shows_no_secret() -> None:
    rules = Rules(Comparison(redact=("$.owner.name", "$.notes"), headers=("Location",)))
    body = {
        "id": 7, "owner": {"name": "Ann", "age": 3}, "notes": ["a"], "access_token": "t0p",
        "keys": [{"api-key": "k3y"}],
        "Password": "pw", "deep": {"session_id": {"x": "s3ss"}},
    }  # fmt: skip
    said = answer(json.dumps(body), Location="/x", Set_Cookie="session=abc", Authorization="Bearer b34r")
    shown = msgspec.json.encode(shown_answer(said, rules)).decode()
    for secret in ("Ann", "t0p", "k3y", '"pw"', "s3ss", "abc", "b34r", '["a"]'):
        assert secret not in shown
    assert json.loads(json.loads(shown)["body"])["owner"] == {"name": HIDDEN, "age": 3}
    assert json.loads(shown)["headers"] == {"content-type": "application/json", "location": "/x"}
    other = answer(json.dumps({**body, "owner": {"name": "Bob"}, "access_token": "n3w"}))
    fields = msgspec.json.encode(shown_fields(compare(said, other, rules), rules)).decode()
    assert HIDDEN in fields
    for secret in ("Ann", "Bob", "t0p", "n3w"):
        assert secret not in fields
    inside = shown_fields([Difference("$.owner", "missing", {"name": "Ann"}, "(missing)")], rules)
    assert inside[0]["legacy"] == f'{{"name":"{HIDDEN}"}}'
    assert shown_target(b"/a?id=1&access_token=abc&b") == f"/a?id=1&access_token={HIDDEN}&b"


def test_a_body_that_is_not_json_or_is_long_is_told_by_its_hash() -> None:
    page = shown_answer(answer("<input value=secret>", media_type="text/html"), Rules(Comparison()))
    assert page["body"].startswith("20 bytes, sha256 ")
    long = shown_answer(answer(json.dumps(["x" * 70_000])), Rules(Comparison()))
    assert long["body"].startswith("70004 bytes, sha256 ")


def test_bad_rules_of_comparison_are_named() -> None:
    rules = Comparison(
        ignore=("items", "$", "$.a b"),
        tolerances=(Tolerance("$.p"), Tolerance("$.q", absolute=-1)),
        unordered=(Unordered("$..x"),),
        headers=("Set-Cookie", "a b"),
    )
    assert {where for where, _ in problems_of_comparison(rules)} == {
        *("ignore[0]", "ignore[1]", "ignore[2]", "unordered[0]"),
        *("tolerances[0]", "tolerances[1]", "headers[0]", "headers[1]"),
    }


def test_dry_runs_need_an_upstream_that_rehearses() -> None:
    with pytest.raises(TableRefused, match="shadow_writes needs an upstream that rehearses: 'lending'"):
        table(shadow_writes=10).validated()
    with pytest.raises(TableRefused, match="shadow_noise 101 is not within"):
        table(shadow_noise=101).validated()
    with pytest.raises(TableRefused, match=r"domain library: compare.ignore\[0\]: 'x' is not a path"):
        table(compare=Comparison(ignore=("x",))).validated()


def test_a_domain_that_shadows_nothing_has_no_policy_and_other_rules_begin_anew() -> None:
    assert policies_of(table()) == {}
    first = marks_of(table(shadow_percent=1).domains["library"])
    assert first == marks_of(table(shadow_percent=50).domains["library"])
    for changed in ({"shadow_round": 1}, {"compare": Comparison(ignore=("$.x",))}):
        assert all(first[op] != mark for op, mark in marks_of(table(**changed).domains["library"]).items())
